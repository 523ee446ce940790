"""Runs a leg on ours, and what does not pass there on redis-py itself, on the same servers."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import NamedTuple

from compat import legs, running, servers
from compat.classes import class_of, short
from compat.legs import Leg
from compat.running import PASSED, Outcome, Outcomes, Run


class Regression(NamedTuple):
    """A test that passes with redis-py and does not with ours."""

    letter: str
    test: str
    outcome: str
    message: str


class Result(NamedTuple):
    """What became of a leg.

    Attributes:
        name: of the leg.
        outcomes: of all tests, with ours.
        regressions: class A first.
        unstable: tests that passed with ours at the second try only.
        seconds: how long it took.
    """

    name: str
    outcomes: Outcomes
    regressions: list[Regression]
    unstable: list[str]
    seconds: float

    def passed(self, letter: str) -> int:
        """How many tests of the class pass."""
        return sum(
            outcome["outcome"] in PASSED and class_of(test) == letter
            for test, outcome in self.outcomes.items()
        )

    def on_ours(self, native_only: bool = False) -> int:
        """How many class A passes used a client of ours (and no transport of redis-py's)."""
        return sum(
            outcome["outcome"] in PASSED
            and class_of(test) == "A"
            and outcome.get("made", {}).get("ours", 0) > 0
            and not (native_only and outcome.get("reads"))
            for test, outcome in self.outcomes.items()
        )


def compare(name: str, run: Run, fast: bool, chosen: list[str]) -> Result:
    """Run one leg.

    Args:
        name: a key of `legs.LEGS`.
        run: where and how.
        fast: leave out what waits, and all but a few files.
        chosen: globs of test files; empty for all.

    Raises:
        CompatError: the servers or pytest do not start.
    """
    leg = legs.LEGS[name]
    since = time.monotonic()
    files = legs.files(leg, run.suite, fast, chosen)
    ours = _on_servers(name, "ours", run, leg, files)
    unstable: list[str] = []
    failed = [test for test, outcome in ours.items() if _failed(outcome)]
    if failed:
        for test, outcome in _on_servers(name, "again", run, leg, files, failed).items():
            if outcome["outcome"] in PASSED:
                unstable.append(short(test))
                ours[test] = outcome
    not_passed = [test for test, outcome in ours.items() if outcome["outcome"] not in PASSED]
    theirs = _on_servers(name, "redis-py", run, leg, files, not_passed) if not_passed else {}
    regressions = _regressions(ours, theirs)
    return Result(name, ours, regressions, unstable, time.monotonic() - since)


def _failed(outcome: Outcome) -> bool:
    return outcome["outcome"] not in (*PASSED, "skipped", "xfailed")


def _on_servers(
    name: str, tag: str, run: Run, leg: Leg, files: list[str], only: list[str] | None = None
) -> Outcomes:
    """The tests on servers started for them, which nothing else has touched."""
    scratch = run.scratch / f"{name}-{tag}"
    scratch.mkdir()
    if only is not None:
        wanted = {test.split("::")[0] for test in only}
        files = [file for file in files if file in wanted]
    with _servers(leg, run.suite, scratch, files) as urls:
        arguments = ["-m", legs.marker(name, leg), *urls, *leg.options, *files]
        swap = "none" if tag == "redis-py" else "aiecs_redis"
        return running.run(run._replace(scratch=scratch), f"{name}-{tag}", swap, arguments, only)


def _servers(
    leg: Leg, suite: Path, scratch: Path, files: list[str]
) -> contextlib.AbstractContextManager[list[str]]:
    if leg.cluster:
        return servers.cluster(suite, scratch)
    return servers.standalone(suite, scratch, any("sentinel" in file for file in files))


def _regressions(ours: Outcomes, theirs: Outcomes) -> list[Regression]:
    found = []
    for test, outcome in theirs.items():
        own = ours.get(test)
        if own is None:  # of a file that could not even be collected with ours
            own = ours.get(test.split("::")[0], {"outcome": "not collected"})
        if outcome["outcome"] in PASSED:
            message = own.get("message") or ""
            found.append(Regression(class_of(test), short(test), own["outcome"], message))
    return sorted(found)
