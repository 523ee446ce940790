"""Runs the test suite with every supported redis-py that installs, on every Python that is here.

This interpreter gets all versions, each further Python its newest one:

    .venv/bin/python tools/redis_versions.py [--python python3.9]... [--redis 7.4.1]... [TEST...]

A further Python gets an environment of its own in build/redis-versions, and a build of the
extension in place, beside the others'.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "redis-versions"
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
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
    others = found_pythons() if options.python is None else options.python
    for python in others:
        own = environment(python)
        rows.append(run(own, versions(own)[0], options.tests))
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


def found_pythons() -> list[str]:
    """The other Pythons on the PATH, one of each minor version."""
    found = []
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for minor in PYTHONS:
        path = shutil.which(f"python{minor}")
        if minor != own and path is not None and version_of(path).startswith(f"{minor}."):
            found.append(path)
    return found


def version_of(python: str) -> str:
    """Its version; empty for a name that leads nowhere, such as a version manager's."""
    command = [python, "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def environment(python: str) -> str:
    """A virtual environment of that Python with what the tests need; returns its interpreter."""
    folder = FOLDER / f"python{version_of(python)}"
    own = str(folder / "bin" / "python")
    if not Path(own).exists():
        subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "setuptools>=77", "wheel"], check=True)
    subprocess.run([*pip, "--no-build-isolation", "--editable", f"{ROOT}[test]"], check=True)
    build = [own, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(build, check=True, cwd=ROOT)
    return own


def run(python: str, redis: str, tests: list[str]) -> Row:
    """Run the tests with that redis-py before the one that is installed."""
    target = FOLDER / f"redis-{redis}-{version_of(python)}"
    if not (target / "redis" / "__init__.py").exists():
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pip += ["--no-deps", "--target", str(target), f"redis=={redis}"]
        subprocess.run(pip, check=True)
    path = os.pathsep.join([str(target), str(ROOT)])
    used = subprocess.run(
        [python, "-c", "import redis; print(redis.__version__)"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    ).stdout.strip()
    if used != redis:
        return Row(version_of(python), redis, False, f"redis-py {used} was imported instead")
    log = FOLDER / f"{target.name}.log"
    since = time.monotonic()
    with log.open("w") as out:
        try:
            status = subprocess.run(
                [python, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *tests],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": path},
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=PATIENCE,
            ).returncode
        except subprocess.TimeoutExpired:
            status = -1
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    summary = lines[-1].strip("= ") if lines else "no output"
    if status != 0:
        summary = f"{summary} ({time.monotonic() - since:.0f} s), see {log}"
    return Row(version_of(python), redis, status == 0, summary)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
