"""Runs the test suite on every Python that is here, with every server that is named.

    .venv/bin/python tools/test_all.py [--python python3.9]... [--server valkey-server]... [TEST...]

All other arguments are pytest's. Each Python gets an environment of its own in build/pythons, and a
build of the extension in place, beside the others'. Without --server the tests use the one that
aiecs_redis.testing finds.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time

import pythons

FOLDER = pythons.ROOT / "build" / "pythons"
PATIENCE = 1800
"""Seconds for one run of the tests."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tools/test_all.py",
        usage="%(prog)s [--python PYTHON]... [--server SERVER]... [ARGUMENT FOR PYTEST]...",
        description=__doc__.splitlines()[0],
        allow_abbrev=False,  # those are pytest's
    )
    parser.add_argument("--python", action="append", help="an interpreter, instead of all found")
    parser.add_argument("--server", action="append", help="a server program, by name or path")
    options, for_pytest = parser.parse_known_args(arguments)
    servers = options.server or [""]
    missing = [server for server in servers if server and shutil.which(server) is None]
    if missing:
        parser.error(f"no such server program: {missing[0]}")
    failed = 0
    for python in options.python or pythons.found():
        version = pythons.version_of(python)
        if not version:
            parser.error(f"{python} is no Python that runs")
        own = pythons.environment(python, FOLDER)
        for server in servers:
            name = f"python{version}" + (f"-{server.rpartition('/')[2]}" if server else "")
            log = FOLDER / f"{name}.log"
            environ = {"AIECS_REDIS_SERVER": server} if server else {}
            since = time.monotonic()
            reason = pythons.pytest(own, for_pytest, log, PATIENCE, **environ)
            failed += reason is not None
            mark = "ok  " if reason is None else "FAIL"
            said = f"{pythons.last_line(log)} ({time.monotonic() - since:.0f} s)"
            print(f"{mark}  {name:28} {said}", flush=True)
            if reason is not None:
                print(f"      {reason}, see {log}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
