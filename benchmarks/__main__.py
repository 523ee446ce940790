"""`python -m benchmarks`: every workload on every client, beside the targets."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import data, machine, report
from benchmarks.cell import LOOPS, WrongCell
from benchmarks.clients import CLIENTS
from benchmarks.run import Plan, Run, run
from benchmarks.server import is_external, server
from benchmarks.workloads import NAMES

SECONDS = 1.2
QUICK_SECONDS = 0.4
ROUNDS = 3


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    plan = Plan(
        workloads=_chosen(options.workloads, NAMES),
        clients=_present(_chosen(options.clients, tuple(CLIENTS))),
        loops=LOOPS if options.loop == "both" else (options.loop,),
        rounds=options.rounds,
        seconds=QUICK_SECONDS if options.quick else options.seconds,
    )
    with server() as address:
        data.seed(address)
        try:
            done = run(plan, address, _tell)
        except WrongCell as error:
            _tell(f"a wrong value was returned: {error}")
            return 1
        finally:
            if is_external():
                data.clear(address)
        facts = machine.describe(address, [CLIENTS[name] for name in plan.clients])
    _write(options, plan, done, facts)
    ours_failed = any(cell.client in CLIENTS and CLIENTS[cell.client].ours for cell in done.errors)
    return 1 if ours_failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compares asyncio Redis clients, each cell in a fresh process, in interleaved "
        "rounds, on a redis-server started for the run or that of REDIS_HOST and REDIS_PORT.",
    )
    parser.add_argument(
        "--workloads", metavar="NAMES", help="comma-separated, of: " + ", ".join(NAMES)
    )
    parser.add_argument(
        "--clients", metavar="NAMES", help="comma-separated, of: " + ", ".join(CLIENTS)
    )
    parser.add_argument("--loop", choices=(*LOOPS, "both"), default=LOOPS[0])
    parser.add_argument("--rounds", type=_positive_int, default=ROUNDS)
    parser.add_argument("--seconds", type=_positive, default=SECONDS, help="counted per cell")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SECONDS} seconds per cell")
    parser.add_argument("--json", metavar="FILE", type=Path, help="all raw samples")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="the tables for a README")
    return parser


def _positive(text: str) -> float:
    number = float(text)
    if number <= 0:
        raise argparse.ArgumentTypeError("not above zero")
    return number


def _positive_int(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise argparse.ArgumentTypeError("not above zero")
    return number


def _chosen(text: str | None, names: tuple[str, ...]) -> list[str]:
    if text is None:
        return list(names)
    chosen = text.split(",")
    for name in chosen:
        if name not in names:
            raise SystemExit(f"unknown name {name!r}; known: {', '.join(names)}")
    return chosen


def _present(names: list[str]) -> list[str]:
    present = []
    for name in names:
        reason = CLIENTS[name].missing()
        if reason:
            _tell(f"{name} is left out: {reason}")
        else:
            present.append(name)
    return present


def _write(options: argparse.Namespace, plan: Plan, done: Run, facts: dict[str, str]) -> None:
    tables = report.tables(plan, done)
    setup = "\n".join(f"- {name}: {CLIENTS[name].configuration}." for name in plan.clients)
    circumstances = ", ".join(f"{name} {value}" for name, value in facts.items())
    print("\n\n".join([*(table.as_text() for table in tables), circumstances]))
    for cell, error in done.errors.items():
        print(f"failed: {cell.workload} {cell.client} {cell.loop}: {error}")
    if options.markdown:
        parts = [*(table.as_markdown() for table in tables), setup, circumstances]
        options.markdown.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    if options.json:
        content = {"facts": facts, "plan": vars(plan), **done.as_json()}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
