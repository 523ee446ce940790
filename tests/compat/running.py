"""One run of redis-py's tests by pytest, which goes on after a test that crashes or hangs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiecs_redis
from compat.errors import CompatError

PASSED = ("passed", "xpassed")
HANG = 90.0
"""Seconds without news from pytest, after which the test under way counts as hanging."""

ATTEMPTS = 20
_FINISHED = (0, 1, 5)  # pytest's statuses: all passed, some failed, none collected

Outcome = dict[str, Any]
Outcomes = dict[str, Outcome]


class Run(NamedTuple):
    """How redis-py's tests are to be run.

    Attributes:
        suite: the folder with redis-py's tests.
        scratch: a folder for files of the run.
        reports: a folder for what is to be kept.
        names: what to swap in, see `swapping.py`.
        without: letters of classes.txt of tests that are not run.
        options: further options for pytest.
    """

    suite: Path
    scratch: Path
    reports: Path
    names: str
    without: str
    options: Sequence[str]


def run(
    run: Run,
    tag: str,
    swap: str,
    arguments: Sequence[str],
    only: Iterable[str] | None = None,
) -> Outcomes:
    """Run tests, and return the outcome of each by its node id.

    Args:
        run: where and how.
        tag: names the files of this run.
        swap: "aiecs_redis", or "none" for redis-py itself.
        arguments: for pytest, with the files.
        only: node ids, or whole files, to run; None for all.

    Raises:
        CompatError: pytest does not start.
    """
    log = run.scratch / f"{tag}.jsonl"
    log.touch()
    environment = _environment(run, swap, log)
    selection = run.scratch / f"{tag}.selection.json"
    environment["COMPAT_SELECTION"] = str(selection)
    skip: list[str] = []
    chosen = None if only is None else sorted(only)
    for attempt in range(ATTEMPTS):
        selection.write_text(json.dumps({"only": chosen, "skip": skip, "without": run.without}))
        printed = run.scratch / f"{tag}.{attempt}.txt"
        status, hung = _pytest(run, environment, arguments, log, printed)
        found, under_way, started = _read(log)
        if not started:
            raise CompatError(f"pytest did not start:\n{printed.read_text()[-2000:]}")
        if status in _FINISHED:
            return found
        kept = run.reports / printed.name
        kept.write_text(printed.read_text(errors="replace"))
        if under_way is None:
            raise CompatError(f"pytest ended with status {status} outside of a test, see {kept}")
        how = "hang" if hung else "crash"
        print(f"  {how} (status {status}) in {under_way}, see {kept}", flush=True)
        line = {"event": "test", "id": under_way, "outcome": how}
        line["message"] = f"E   {how}, status {status}, see {kept}"
        with log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        skip = sorted({*found, under_way})
    raise CompatError(f"more than {ATTEMPTS} tests of {tag} crash or hang: {run.reports}")


def _environment(run: Run, swap: str, log: Path) -> dict[str, str]:
    package = Path(aiecs_redis.__file__).resolve().parent.parent
    path = [str(run.suite), str(Path(__file__).resolve().parent.parent), str(package)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "COMPAT_SWAP": swap,
        "COMPAT_NAMES": run.names,
        "COMPAT_LOG": str(log),
    }


def _pytest(
    run: Run, environment: dict[str, str], arguments: Sequence[str], log: Path, printed: Path
) -> tuple[int, bool]:
    """Run pytest once: its status, and whether it was ended for want of news."""
    command = [sys.executable, "-m", "pytest", "-p", "compat.swapping", "-p", "compat.recording"]
    command += ["-q", "--tb=short", "--show-capture=no", "--disable-warnings"]
    command += ["-p", "no:cacheprovider", "--continue-on-collection-errors"]
    # The suite's own settings name modules that are not here, and log every step of its clients.
    command += ["-o", "addopts=", "-o", "log_level=WARNING", "-o", "filterwarnings=always"]
    command += [*run.options, *arguments]
    with printed.open("w") as out:
        process = subprocess.Popen(
            command, cwd=run.suite, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            return _watch(process, log)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _watch(process: subprocess.Popen[bytes], log: Path) -> tuple[int, bool]:
    size, since = -1, time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(0.2), False
        now = log.stat().st_size
        if now != size:
            size, since = now, time.monotonic()
        elif time.monotonic() - since > HANG:
            process.send_signal(signal.SIGABRT)  # faulthandler prints the stacks
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
            process.kill()
            return process.wait(), True


def _read(log: Path) -> tuple[Outcomes, str | None, bool]:
    """Outcomes, the test under way at the end, and whether pytest got as far as the plugin."""
    found: Outcomes = {}
    under_way: str | None = None
    started = False
    for line in log.read_text().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # half a line: written while the process died
        kind = event.pop("event")
        if kind == "session":
            started = True
        elif kind == "start":
            under_way = event["id"]
        elif kind == "test":
            under_way = None
            found[event.pop("id")] = event
    return found, under_way, started
