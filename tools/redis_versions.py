"""Runs the test suite with every supported redis-py that installs, on every Python that is here.

This interpreter gets all versions, each further Python the newest that pip installs there:

    .venv/bin/python tools/redis_versions.py [--python python3.9]... [--redis 7.4.1]... [TEST...]

A further Python gets an environment of its own in build/redis-versions, and a build of the
extension in place, beside the others'.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from typing import NamedTuple

import pythons

FOLDER = pythons.ROOT / "build" / "redis-versions"
SUPPORTED = range(7, 9)  # major versions, as in pyproject.toml
PATIENCE = 1200
"""Seconds for one run of the tests."""


class Row(NamedTuple):
    """One run: what was tested, whether it passed, and pytest's last line."""

    python: str
    redis: str
    passed: bool
    summary: str


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tools/redis_versions.py",
        description="Runs the test suite with every redis-py that installs.",
    )
    parser.add_argument("--python", action="append", help="a further Python; default: all found")
    parser.add_argument("--redis", action="append", help="a version, instead of all")
    parser.add_argument("tests", nargs="*", default=["tests"], help="for pytest, default: tests")
    options = parser.parse_args(arguments)
    rows = []
    for version in options.redis or versions(sys.executable):
        rows.append(run(sys.executable, version, options.tests))
        say(rows[-1])
    others = [path for path in pythons.found() if path != sys.executable]
    for python in others if options.python is None else options.python:
        own = pythons.environment(python, FOLDER)
        rows.append(run(own, version_in(own), options.tests))
        say(rows[-1])
    failed = [row for row in rows if not row.passed]
    print(f"{len(rows) - len(failed)} of {len(rows)} combinations pass")
    for row in failed:
        say(row)
    return 1 if failed else 0


def say(row: Row) -> None:
    mark = "ok  " if row.passed else "FAIL"
    print(f"{mark}  Python {row.python:8} redis-py {row.redis:8} {row.summary}", flush=True)


def versions(python: str) -> list[str]:
    """The supported releases of redis-py that this Python can install, newest first."""
    command = [python, "-m", "pip", "index", "versions", "redis", "--disable-pip-version-check"]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    listed = re.search(r"Available versions: (.*)", said)
    if listed is None:
        raise SystemExit(f"redis_versions: pip lists no version of redis: {said.strip()}")
    numbers = [text.strip() for text in listed[1].split(",")]
    return [n for n in numbers if re.fullmatch(r"[\d.]+", n) and int(n.split(".")[0]) in SUPPORTED]


def version_in(python: str, **environ: str) -> str:
    """The redis-py that this Python imports; in a new environment the newest that it takes."""
    command = [python, "-c", "import redis; print(redis.__version__)"]
    environment = {**os.environ, **environ}
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.strip()


def run(python: str, redis: str, tests: list[str]) -> Row:
    """Run the tests with that redis-py before the one that is installed."""
    version = pythons.version_of(python)
    target = FOLDER / f"redis-{redis}-{version}"
    if not (target / "redis" / "__init__.py").exists():
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pip += ["--no-deps", "--target", str(target), f"redis=={redis}"]
        subprocess.run(pip, check=True)
    path = os.pathsep.join([str(target), str(pythons.ROOT)])
    used = version_in(python, PYTHONPATH=path)
    if used != redis:
        return Row(version, redis, False, f"redis-py {used} was imported instead")
    log = FOLDER / f"{target.name}.log"
    since = time.monotonic()
    reason = pythons.pytest(python, tests, log, PATIENCE, PYTHONPATH=path)
    summary = pythons.last_line(log)
    if reason is not None:
        summary = f"{summary} ({reason}, {time.monotonic() - since:.0f} s), see {log}"
    return Row(version, redis, reason is None, summary)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
