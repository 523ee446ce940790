"""Which of redis-py's tests count, read from classes.txt."""

from __future__ import annotations

import fnmatch
import functools
import re
from pathlib import Path
from typing import NamedTuple

from compat.suite import TESTS

CLASSES = Path(__file__).with_name("classes.txt")


class Rule(NamedTuple):
    """A line of classes.txt: a letter, and what it holds for."""

    letter: str
    pattern: re.Pattern[str]


def _expanded(glob: str) -> list[str]:
    """`a{b,c}` as `ab` and `ac`."""
    found = re.fullmatch(r"(.*)\{(.*)\}(.*)", glob)
    if found is None:
        return [glob]
    return [found[1] + part + found[3] for part in found[2].split(",")]


@functools.cache
def rules() -> tuple[Rule, ...]:
    """The rules in their order: the first that matches holds."""
    found = []
    for line in CLASSES.read_text().splitlines():
        words = line.split("#")[0].split()
        if words:
            letter, glob = words
            found += [Rule(letter, re.compile(fnmatch.translate(g))) for g in _expanded(glob)]
    return tuple(found)


def files_left_out() -> list[re.Pattern[str]]:
    """What is not unpacked."""
    return [rule.pattern for rule in rules() if rule.letter == "X"]


def short(nodeid: str) -> str:
    """A test's name below the folder of the tests."""
    return nodeid[len(TESTS) :] if nodeid.startswith(TESTS) else nodeid


def _matches(nodeid: str, letters: str) -> str | None:
    without_parameters = short(nodeid).split("[")[0]
    for rule in rules():
        if rule.letter in letters and rule.pattern.match(without_parameters):
            return rule.letter
    return None


@functools.cache
def class_of(nodeid: str) -> str:
    """A, B or N."""
    return _matches(nodeid, "ABN") or "A"


def is_any_of(nodeid: str, letters: str) -> bool:
    """Whether the test is of one of the classes, or marked by one of the letters S and P."""
    if class_of(nodeid) in letters:
        return True
    return any(_matches(nodeid, letter) is not None for letter in letters if letter in "SP")
