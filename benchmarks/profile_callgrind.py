"""`python -m benchmarks.profile_callgrind`: instructions per command, by function.

Two runs under callgrind with different numbers of commands; their difference is free of
start-up, connecting and shutting down. Instructions are counted in user space, over all threads
of the client.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks import data
from benchmarks.address import Address
from benchmarks.callgrind import REPEATABLE, read_self_cost
from benchmarks.clients import CLIENTS, OURS
from benchmarks.fixed_count import command_line
from benchmarks.server import cluster, is_external, server
from benchmarks.tables import Table
from benchmarks.workloads import WORKLOADS, is_cluster

WORKLOAD = "get-50"
FEW = 2_000
MANY = 12_000
TOP = 30
OBJECTS = 5


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    if shutil.which("valgrind") is None:
        print("valgrind is not installed (Debian: apt install valgrind)", file=sys.stderr)
        return 2
    if options.few >= options.many:
        print("--few has to be below --many", file=sys.stderr)
        return 2
    on_cluster = is_cluster(options.workload)
    with cluster() if on_cluster else server() as address:
        data.seed_cluster(address) if on_cluster else data.seed(address)
        few = count(options.workload, options.client, address, options.few)
        many = count(options.workload, options.client, address, options.many)
        if is_external() and not on_cluster:
            data.clear(address)
    per_command = difference(few, many, options.many - options.few)
    title = f"Instructions per command, {WORKLOADS[options.workload].title}, {options.client}"
    print(table(title, per_command, options.top).as_text())
    if options.json:
        content = {
            "workload": options.workload,
            "client": options.client,
            "instructions": per_command,
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


def count(workload: str, client: str, address: Address, commands: int) -> Counter[str]:
    """Instructions by function of one process that sends this many commands."""
    with tempfile.TemporaryDirectory(prefix="callgrind-") as folder:
        output = Path(folder) / "callgrind.out"
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}"]
        command = [*tool, *command_line(workload, client, address, commands)]
        environment = {**os.environ, **REPEATABLE}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(f"the run under valgrind failed:\n{done.stderr}")
        return read_self_cost(output)


def difference(few: Counter[str], many: Counter[str], commands: int) -> dict[str, float]:
    """Instructions per command, the costliest function first."""
    more = {name: (many[name] - few[name]) / commands for name in few.keys() | many.keys()}
    return dict(sorted(more.items(), key=lambda item: -item[1]))


def table(title: str, per_command: dict[str, float], top: int) -> Table:
    by_object: dict[str, float] = {}
    for name, instructions in per_command.items():
        place = name[name.rindex("[") :]
        by_object[place] = by_object.get(place, 0.0) + instructions
    objects = sorted(by_object.items(), key=lambda item: -item[1])[:OBJECTS]
    total = sum(per_command.values())
    shown = [("all", total), *objects, *list(per_command.items())[:top]]
    rows = [(name, f"{cost:,.0f}", f"{cost / total:.1%}") for name, cost in shown]
    return Table(title, ("function [object]", "instructions", "part"), rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile_callgrind",
        description="Counts instructions per command under valgrind, and names the functions "
        "they go to.",
    )
    parser.add_argument("--workload", choices=tuple(WORKLOADS), default=WORKLOAD)
    parser.add_argument("--client", choices=tuple(CLIENTS), default=OURS)
    parser.add_argument("--few", type=int, default=FEW, help="commands of the first run")
    parser.add_argument("--many", type=int, default=MANY, help="commands of the second run")
    parser.add_argument("--top", type=int, default=TOP, help="functions to list")
    parser.add_argument("--json", metavar="FILE", type=Path, help="all functions")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
