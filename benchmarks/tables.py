"""Tables as aligned text and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def as_text(self) -> str:
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        text = [self.title]
        for line in lines:
            first, *others = (
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths))
            )
            text.append("  ".join(["  " + first, *others]).rstrip())
        if self.note:
            text.append("  " + self.note)
        return "\n".join(text)

    def as_markdown(self) -> str:
        rule = [":--"] + ["--:"] * (len(self.header) - 1)
        lines = [f"**{self.title}**", ""]
        lines += ["| " + " | ".join(line) + " |" for line in (self.header, rule, *self.rows)]
        if self.note:
            lines += ["", self.note]
        return "\n".join(lines)
