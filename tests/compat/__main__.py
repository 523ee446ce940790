"""`python -m compat`: redis-py's own asyncio tests on aiecs_redis; see `make compat`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

import aiecs_redis
from aiecs_redis.testing import ServerError
from compat import classes, legs, network, report, servers, suite
from compat.comparing import compare
from compat.errors import CompatError
from compat.running import Run

ROOT = Path(__file__).resolve().parent.parent.parent


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    options.reports.mkdir(parents=True, exist_ok=True)
    try:
        if network.is_private():
            network.raise_loopback()
            return _run(options)
        suite.archive(options.redis)  # a private network has no way out
        if not options.no_namespace:
            network.enter(arguments)
        return _run(options)
    except (CompatError, ServerError) as error:
        print(f"compat: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    without = "" if options.names == "all" else "N"
    without += "S" if options.fast else ""
    if not network.is_private():
        without += "P"
        print("no private network: tests which insist on port 6379 or 16379 are left out")
    with tempfile.TemporaryDirectory(prefix="aiecs-redis-") as name:
        tests = Path(name) / "suite"
        suite.unpack(options.redis, tests, classes.files_left_out())
        scratch = Path(name) / "scratch"
        scratch.mkdir()
        run = Run(tests, scratch, options.reports, options.names, without, options.pytest)
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        print(f"redis-py {options.redis}, Python {version}, redis-server {servers.version()}")
        results = []
        for leg in options.legs or (["default"] if options.fast else legs.USUAL):
            needed = legs.LEGS[leg].exported
            if not hasattr(aiecs_redis, needed):
                print(f"leg {leg} is left out: aiecs_redis has no {needed}", flush=True)
                continue
            results.append(compare(leg, run, options.fast, options.files))
            print(f"leg {leg}: {len(results[-1].outcomes)} tests", flush=True)
    report.write(results, options.reports)
    complete = not (options.files or options.pytest)
    return report.verdict(results, options.fast, complete, options.reports)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m compat",
        description="Runs the asyncio tests of redis-py on aiecs_redis, on local servers. Fails "
        "when a test of what a user sees passes with redis-py and does not with aiecs_redis.",
    )
    parser.add_argument(
        "--legs",
        type=_legs,
        metavar="NAMES",
        help="comma-separated, of: " + ", ".join(legs.LEGS) + f"; default: {','.join(legs.USUAL)}",
    )
    parser.add_argument("--fast", action="store_true", help="a few files of one leg")
    parser.add_argument(
        "--files", action="append", default=[], metavar="GLOB", help="only such test files"
    )
    parser.add_argument(
        "--names",
        choices=("clients", "all"),
        default=os.environ.get("SWAP_NAMES", "clients"),
        help="what to swap in: clients, or pools and connection classes too",
    )
    parser.add_argument(
        "--redis",
        default=suite.default_version(),
        choices=tuple(suite.SHA256),
        help="the version of redis-py to take, default %(default)s",
    )
    parser.add_argument(
        "--no-namespace",
        action="store_true",
        help="use free ports of this machine, even where a private network could be made",
    )
    parser.add_argument(
        "--reports",
        type=Path,
        default=ROOT / "build" / "compat",
        metavar="FOLDER",
        help="where outcomes.json and regressions.txt go, default build/compat",
    )
    parser.add_argument("pytest", nargs="*", help="after --: further options for pytest")
    return parser


def _legs(value: str) -> list[str]:
    chosen = value.split(",")
    for name in chosen:
        if name not in legs.LEGS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(legs.LEGS)}")
    return chosen


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
