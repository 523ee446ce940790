"""`python -m benchmarks.instructions`: has a function of the core come to need more instructions?

Counts, under callgrind, the instructions of each function of aiecs_redis._native per command, and
compares them with those of instructions.json, which hold for one interpreter and compiler each.
For others the reference is counted here and now: of the commit that wrote the file last, built
beside this tree. One process runs all workloads; callgrind writes out and clears its counters
whenever it enters sched_yield(), which marks where the commands of a workload begin and end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import data
from benchmarks.address import Address
from benchmarks.callgrind import REPEATABLE, read_self_cost
from benchmarks.clients import CLIENTS, OURS
from benchmarks.fixed_count import repeat
from benchmarks.server import cluster, is_external, server
from benchmarks.tables import Table
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parent.parent
BASELINE = ROOT / "benchmarks/instructions.json"
MARK = "sched_yield"
COUNTED = {
    "get-1": 1_000,
    "get-50": 10_000,
    "set-50": 10_000,
    "hgetall-50": 2_000,
    "pipeline-100": 20_000,
    "pubsub-listen": 20_000,
    "cluster-get-50": 10_000,
    "cluster-set-50": 10_000,
    "cluster-pipeline-100": 20_000,
}
"""Commands or messages of each workload; so many that its start does not show."""
WARM_UP_PART = 10  # as many, divided by this, before counting

TOLERANCE = 0.02  # by which a workload may grow
SHOWN = 0.003  # of a workload's instructions: by so many a function has to grow to be named
_CLONE = re.compile(r"(\.(part|isra|constprop|cold|lto_priv)(\.\d+)?)+$")

Addresses = dict[bool, Address]
"""Of a server (False), and of a node of a cluster (True)."""

Counts = dict[str, dict[str, float]]
"""Instructions per command, by workload and function."""


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    if options.child:
        asyncio.run(_run_all(json.loads(options.child)))
        return 0
    if shutil.which("valgrind") is None:
        print("valgrind is not installed (Debian: apt install valgrind)", file=sys.stderr)
        return 2
    key = environment()
    baselines = json.loads(BASELINE.read_text("utf-8")) if BASELINE.is_file() else {}
    with servers() as addresses:
        now = count(ROOT, addresses)
        if options.update is not None:
            noted = baselines.setdefault(key, {})
            noted.update(rounded({name: now[name] for name in options.update or COUNTED}))
            BASELINE.write_text(json.dumps(baselines, indent=1, sort_keys=True) + "\n", "utf-8")
            print(f"{BASELINE.name} has the counts of {key}")
            return 0
        if options.against is None and key in baselines:
            before, origin = baselines[key], f"{BASELINE.name}, {key}"
        else:
            commit = _commit(options.against)
            if commit is None:
                print(f"nothing to compare with: {BASELINE.name} has not {key}, and git no history")
                return 2
            before, origin = count_commit(commit, addresses), f"commit {commit[:10]}"
    tables, grown = compare(before, now)
    print("\n\n".join(table.as_text() for table in tables))
    print(f"\ncompared with {origin}; a workload may grow by {TOLERANCE:.0%}")
    for workload in grown:
        print(f"{workload} has grown. If that is meant: make instructions ARGS=--update")
    return 1 if grown else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.instructions",
        description="Compares the instructions that each function needs per command with those "
        "noted in instructions.json, and fails when a workload has grown.",
    )
    parser.add_argument(
        "--update",
        nargs="*",
        choices=tuple(COUNTED),
        metavar="WORKLOAD",
        help="note the counts of this tree, of all workloads or of those named",
    )
    parser.add_argument("--against", metavar="COMMIT", help="compare with a commit, built here")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


def environment() -> str:
    """What the counts depend on besides our own source."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    version = subprocess.run([compiler, "-dumpfullversion"], capture_output=True, text=True)
    named = f"{Path(compiler).name} {version.stdout.strip()}"
    return f"CPython {platform.python_version()}, {named}, {platform.machine()}"


# ---- counting ----


@contextmanager
def servers() -> Iterator[Addresses]:
    """A server and a cluster with what the workloads read."""
    with server() as alone, cluster() as node:
        data.seed(alone)
        data.seed_cluster(node)
        yield {False: alone, True: node}
        if is_external():
            data.clear(alone)


def count(tree: Path, addresses: Addresses) -> Counts:
    """Count all workloads with the extension of this tree."""
    with tempfile.TemporaryDirectory(prefix="instructions-") as folder:
        output = Path(folder) / "counts"
        order = json.dumps([addresses[False], addresses[True]])
        tool = ["valgrind", "--tool=callgrind", f"--dump-before={MARK}"]
        tool += ["--dump-line=no", f"--callgrind-out-file={output}"]
        command = [*tool, sys.executable, "-m", "benchmarks.instructions", "--child", order]
        path = f"{tree}{os.pathsep}{ROOT}"  # the package of the tree, the benchmarks of this one
        child = {**os.environ, **REPEATABLE, "PYTHONPATH": path}
        done = subprocess.run(command, capture_output=True, text=True, env=child, cwd=tree)
        if done.returncode:
            raise SystemExit(f"the run under valgrind failed:\n{done.stderr}")
        # Before the first mark, between it and the second, and so on.
        parts = [Path(f"{output}.{number}") for number in range(1, 2 * len(COUNTED) + 1)]
        return {
            name: per_command(read_self_cost(part), COUNTED[name])
            for name, part in zip(COUNTED, parts[1::2])
        }


def per_command(costs: Counter[str], commands: int) -> dict[str, float]:
    """Of our own object only; the compiler's clones of a function count for it."""
    found: Counter[str] = Counter()
    for name, instructions in costs.items():
        function, _, place = name.rpartition(" [")
        if place.startswith("_native"):
            found[_CLONE.sub("", function)] += instructions
    return {name: instructions / commands for name, instructions in found.items()}


async def _run_all(addresses: Sequence[tuple[str, int]]) -> None:
    alone, node = (Address(*address) for address in addresses)
    for name, commands in COUNTED.items():
        workload = WORKLOADS[name]
        connect = CLIENTS[OURS].connect(cluster=workload.cluster)
        async with workload.connected(connect, node if workload.cluster else alone) as connected:
            operations = [workload.operation(connected, n) for n in range(workload.tasks)]
            each = commands // (workload.tasks * workload.commands)
            await asyncio.gather(*(repeat(one, each // WARM_UP_PART or 1) for one in operations))
            os.sched_yield()
            await asyncio.gather(*(repeat(one, each) for one in operations))
            os.sched_yield()


def count_commit(commit: str, addresses: Addresses) -> Counts:
    """Build the package of a commit in a folder of its own, and count with it."""
    with tempfile.TemporaryDirectory(prefix="instructions-") as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT)]
        subprocess.run(
            [*git, "worktree", "add", "--quiet", "--detach", str(tree), commit], check=True
        )
        try:
            vendored = ROOT / "vendored"
            if vendored.is_dir() and not (tree / "vendored").exists():
                (tree / "vendored").symlink_to(vendored)
            build = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
            subprocess.run(build, check=True, cwd=tree)
            shutil.rmtree(tree / "benchmarks")  # those of this tree are used
            return count(tree, addresses)
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(tree)], check=True)


def _commit(named: str | None) -> str | None:
    """The one named, or the one that wrote the baseline last."""
    if named is not None:
        ask = ["rev-parse", "--verify", f"{named}^{{commit}}"]
    else:
        ask = ["log", "-1", "--format=%H", "--", str(BASELINE)]
    git = ["git", "-C", str(ROOT), *ask]
    found = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    if not found and named is not None:
        raise SystemExit(f"git knows no commit {named!r}")
    return found or None


# ---- comparing ----


def rounded(counts: Counts) -> Counts:
    """As they are kept: tenths of an instruction, without what rounds to none."""
    return {
        workload: {name: round(cost, 1) for name, cost in sorted(functions.items()) if cost >= 0.05}
        for workload, functions in counts.items()
    }


def compare(before: Counts, now: Counts) -> tuple[list[Table], list[str]]:
    """A table of the totals, one of the functions that changed, and the workloads that grew."""
    totals, changes, grown = [], [], []
    for workload, functions in now.items():
        old = before.get(workload, {})
        total, reference = sum(functions.values()), sum(old.values())
        growth = total / reference - 1 if reference else 0.0
        if growth > TOLERANCE:
            grown.append(workload)
        totals.append((workload, f"{reference:,.0f}", f"{total:,.0f}", f"{growth:+.1%}"))
        differences = {
            name: functions.get(name, 0.0) - old.get(name, 0.0)
            for name in functions.keys() | old.keys()
        }
        for name, difference in sorted(differences.items(), key=lambda item: -item[1]):
            if reference and abs(difference) >= max(SHOWN * total, 1.0):
                was, becomes = old.get(name), functions.get(name)
                changes.append(
                    (
                        f"{workload}: {name}",
                        "new" if was is None else f"{was:,.1f}",
                        "gone" if becomes is None else f"{becomes:,.1f}",
                        f"{difference:+,.1f}",
                    )
                )
    header = ("instructions per command", "before", "now", "growth")
    tables = [Table("Of all functions of the core", header, totals)]
    if changes:
        tables.append(Table("Of functions that changed", header, changes))
    return tables, grown


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
