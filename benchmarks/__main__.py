"""`python -m benchmarks`: every workload on every client; tables, plots, all samples."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import data, machine, profile_cpu, publish, report
from benchmarks.cell import LOOPS
from benchmarks.clients import CLIENTS
from benchmarks.run import Plan, Run, Servers, run
from benchmarks.server import cluster, is_external, server
from benchmarks.workloads import NAMES, SHORT, is_cluster

ROOT = Path(__file__).resolve().parent.parent

SECONDS, ROUNDS, MINUTES = 0.6, 5, 20.0
SHORT_SECONDS, SHORT_ROUNDS, SHORT_MINUTES = 0.4, 3, 4.0


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    if options.render:
        content = json.loads(options.render.read_text(encoding="utf-8"))
        _tell_tables(content)
        _publish(options, content)
        return 0
    plan = _plan(options)
    with _servers(plan) as servers:
        facts = machine.describe(servers.single, [CLIENTS[name] for name in plan.clients])

        def content(done: Run) -> dict[str, Any]:
            return {"facts": facts, "plan": vars(plan), **done.as_json()}

        def keep(done: Run) -> None:
            """A run that is interrupted has its complete rounds."""
            if options.json:
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_text(
                    json.dumps(content(done), indent=1) + "\n", encoding="utf-8"
                )

        done = run(plan, servers, _tell, keep)
    made = content(done)
    _tell_tables(made)
    _publish(options, made)
    ours = {name for name, client in CLIENTS.items() if client.ours}
    return 1 if any(cell.client in ours for cell in done.failures) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compares asyncio Redis clients, each cell in a fresh process, in interleaved "
        "rounds, on a redis-server started for the run or that of REDIS_HOST and REDIS_PORT. All "
        f"workloads take {MINUTES:g} minutes at most, and are published: tables into README.md and "
        f"docs/performance.md, plots and samples into {publish.FOLDER}/.",
    )
    parser.add_argument(
        "--short", action="store_true", help=f"{SHORT_MINUTES:g} minutes; publishes nothing"
    )
    parser.add_argument(
        "--workloads", metavar="NAMES", help="comma-separated, of: " + ", ".join(NAMES)
    )
    parser.add_argument(
        "--clients", metavar="NAMES", help="comma-separated, of: " + ", ".join(CLIENTS)
    )
    parser.add_argument(
        "--loop", choices=(*LOOPS, "both"), help="default: asyncio, some workloads on both"
    )
    parser.add_argument("--rounds", type=_positive_int, help=f"default: {ROUNDS}")
    parser.add_argument("--seconds", type=_positive, help=f"counted per cell; default: {SECONDS:g}")
    parser.add_argument(
        "--minutes", type=_positive, help="for all rounds: they count for less, or are fewer"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="all raw samples")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="the tables")
    parser.add_argument("--plots", metavar="FOLDER", type=Path, help="the plots, as SVG")
    parser.add_argument(
        "--publish", action="store_true", help="also what is not a run of everything"
    )
    parser.add_argument("--no-publish", action="store_true", help="not even a run of everything")
    parser.add_argument(
        "--render", metavar="JSON", type=Path, help="no run: tables and plots of that file"
    )
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    everything = not (options.workloads or options.clients or options.short)
    names = SHORT if options.short and not options.workloads else NAMES
    clients = _present(_chosen(options.clients, tuple(CLIENTS)))
    if everything and not options.no_publish:
        options.publish = True
    if options.publish and options.json is None:
        options.json = ROOT / publish.FOLDER / publish.SAMPLES
    minutes = SHORT_MINUTES if options.short else MINUTES if everything else None
    loop = options.loop or LOOPS[0]
    return Plan(
        workloads=[
            name
            for name in _chosen(options.workloads, names)
            if name not in NAMES or any(CLIENTS[client].takes(name) for client in clients)
        ],
        clients=clients,
        loops=LOOPS if loop == "both" else (loop,),
        rounds=options.rounds or (SHORT_ROUNDS if options.short else ROUNDS),
        seconds=options.seconds or (SHORT_SECONDS if options.short else SECONDS),
        minutes=options.minutes or minutes,
        further_loop=options.loop is None and not options.short and not options.workloads,
    )


@contextlib.contextmanager
def _servers(plan: Plan) -> Iterator[Servers]:
    with contextlib.ExitStack() as stack:
        single = stack.enter_context(server())
        data.seed(single)
        if is_external():
            stack.callback(data.clear, single)
        nodes = None
        if any(is_cluster(name) for name in plan.workloads):
            nodes = stack.enter_context(cluster())
            data.seed_cluster(nodes)
        yield Servers(single, nodes)


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


def _tell_tables(content: dict[str, Any]) -> None:
    found = report.Report(content)
    print("\n\n".join([*(table.as_text() for table in found.tables()), found.circumstances()]))
    for line in found.gaps():
        print(line)


def _publish(options: argparse.Namespace, content: dict[str, Any]) -> None:
    found = report.Report(content)
    if options.markdown:
        parts = [table.as_markdown() for table in found.tables()]
        parts += [found.configurations(), found.circumstances()]
        options.markdown.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    if options.plots:
        publish.write_plots(found, options.plots)
    if options.publish:
        publish.publish(found, ROOT)
        if not options.render and profile_cpu.available():
            _tell("sampling where the CPU time goes")
            try:
                profile_cpu.publish(profile_cpu.profile(profile_cpu.COMMANDS))
            except profile_cpu.ProfileError as error:
                _tell(f"the profile stays as it was: {error}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
