"""Reads callgrind's output: the instructions each function spent itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

REPEATABLE = {"PYTHONHASHSEED": "0", "AIECS_REDIS_BUSY_POLL": "0"}
"""Environment of a process that does the same work each time it is counted."""

_NAME = re.compile(r"(?P<kind>fn|ob|cfn|cob)=\((?P<number>\d+)\)(?: (?P<name>.*))?$")

_RECURSION = re.compile(r"'\d+$")  # callgrind counts the levels of a recursive function apart


def read_self_cost(file: Path) -> Counter[str]:
    """Instructions by `function [object]`, without those of the functions it called."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        return self_cost(lines)


def self_cost(lines: Iterable[str]) -> Counter[str]:
    costs: Counter[str] = Counter()
    names: dict[
        tuple[str, str], str
    ] = {}  # callgrind spells a name out once, then gives its number
    current = {"fn": "?", "ob": "?"}
    inclusive = False  # the line after `calls=` is the cost of the callee
    for line in lines:
        named = _NAME.match(line)
        if named:
            kind, number, name = named.group("kind", "number", "name")
            space = kind[-2:]
            if name is not None:
                names[space, number] = _RECURSION.sub("", name.strip())
            if kind in current:
                current[kind] = names[space, number]
        elif line.startswith("calls="):
            inclusive = True
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            if not inclusive:
                key = f"{current['fn']} [{Path(current['ob']).name}]"
                costs[key] += int(line.split()[1])
            inclusive = False
    return costs
