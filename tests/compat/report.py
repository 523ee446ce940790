"""What a run says in the end, and whether it was a success."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from compat.comparing import Result
from compat.legs import LEGS

SHOWN = 40
"""Regressions printed; the file has them all."""


def write(results: Sequence[Result], folder: Path) -> None:
    """Keep everything in files: outcomes.json, regressions.txt."""
    everything = {result.name: result.outcomes for result in results}
    (folder / "outcomes.json").write_text(json.dumps(everything, indent=0, sort_keys=True))
    lines = []
    for result in results:
        for letter, test, outcome, message in result.regressions:
            lines.append(f"{letter} {result.name} {test} [{outcome}]")
            lines += [f"      {line[:200]}" for line in message.splitlines()]
    (folder / "regressions.txt").write_text("".join(f"{line}\n" for line in lines))


def table(results: Sequence[Result]) -> str:
    """One row for each leg."""
    head = (
        "leg",
        "class A",
        "on ours",
        "native",
        "class B",
        "lost A",
        "lost B",
        "unstable",
        "time",
    )
    rows = [head]
    for result in results:
        lost = [sum(r.letter == letter for r in result.regressions) for letter in "AB"]
        other = sum(r.letter not in "AB" for r in result.regressions)
        numbers = (result.passed("A"), result.on_ours(), result.on_ours(native_only=True))
        more = (result.passed("B") + result.passed("N"), lost[0], lost[1] + other)
        seconds = f"{result.seconds:.0f} s"
        rows.append((result.name, *map(str, (*numbers, *more, len(result.unstable))), seconds))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def verdict(results: Sequence[Result], fast: bool, complete: bool, folder: Path) -> int:
    """Print the table and what is wrong; return the exit status.

    Args:
        results: of the legs.
        fast: whether it was the fast run.
        complete: whether no files or tests were chosen, so that the floors hold.
        folder: where `write()` wrote.
    """
    print(f"\n{table(results)}\n")
    print(
        "class A: passing tests of what a user sees; on ours: those which made a client of ours;\n"
        "native: those of them which read nothing over redis-py's own connections; class B:\n"
        "passing tests of redis-py's internals; lost: pass with redis-py, and not with ours."
    )
    wrong = []
    for result in results:
        for test in result.unstable:
            print(f"unstable  {result.name}  {test}")
        for letter, test, outcome, message in result.regressions:
            first = message.splitlines()[0].lstrip("E ") if message else ""
            line = f"{letter}  {result.name}  {test}  [{outcome}] {first[:120]}"
            wrong.append((letter != "A", line))
        floor = LEGS[result.name].floor[fast]
        if complete and result.on_ours() < floor:
            text = f"{result.name}: {result.on_ours()} class A tests ran on ours, not {floor}"
            wrong.append((False, text))
    for _, line in sorted(wrong)[:SHOWN]:
        print(line)
    failures = sum(not harmless for harmless, _ in wrong)
    if wrong:
        print(f"all of it: {folder / 'regressions.txt'}")
    print(f"{failures} failures" if failures else "redis-py's tests pass on aiecs_redis")
    return 1 if failures else 0
