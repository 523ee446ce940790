"""How commands print: tables for people, JSON for machines."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aiecs_redis.cli.connection import current

__all__ = [
    "bar",
    "console",
    "counted",
    "emit",
    "fields",
    "human_bytes",
    "human_count",
    "human_seconds",
    "machine",
    "need_command",
    "notes",
    "safe",
    "shown",
    "table",
]


_WIDTH = 200  # of output that no terminal limits


def console() -> Console:
    """For standard output; without colours where there is no terminal, or with NO_COLOR."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDTH
    return Console(highlight=False, width=width)


def notes() -> Console:
    """For standard error: progress and remarks, which are no result."""
    return Console(stderr=True, highlight=False)


def need_command(context: typer.Context) -> None:
    """Without a command, print the help and exit with 2; Typer's own way exits with 0 or with 2."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


def machine() -> bool:
    """Whether JSON is wanted."""
    return current().json


def emit(found: Any) -> None:
    """Print JSON in one line."""
    print(json.dumps(found, default=str, ensure_ascii=False), flush=True)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None
) -> Table:
    """A table whose columns with a name that ends in `>` are aligned to the right."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column.endswith(">")
        made.add_column(column.rstrip(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(shown(cell) for cell in row))
    return made


def safe(value: object) -> str:
    """Text without control characters, which a terminal would obey: keys may have any name."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(value: object) -> str:
    """Text that can be printed: no control characters, and no markup of Rich's."""
    return escape(safe(value))


def human_bytes(value: float) -> str:
    """1536 as "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def human_count(value: float) -> str:
    """12345 as "12,345"."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.1f}"


def counted(value: int, thing: str) -> str:
    """1 and 12345 of "key" as "1 key", "12,345 keys"."""
    return f"{human_count(value)} {thing}{'' if value == 1 else 's'}"


def human_seconds(value: float) -> str:
    """A length of time: "250 µs", "1.5 ms", "3.0 s", "2 h 10 min", "5 d 3 h"."""
    if value < 1e-3:
        return f"{value * 1e6:.0f} µs"
    if value < 1:
        return f"{value * 1e3:.2f} ms"
    if value < 60:
        return f"{value:.1f} s"
    minutes = int(value // 60)
    if minutes < 60:
        return f"{minutes} min {int(value % 60)} s"
    hours = minutes // 60
    if hours < 48:
        return f"{hours} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


def bar(part: float, width: int = 30) -> str:
    """A bar of block characters for a part from 0 to 1."""
    part = min(max(part, 0.0), 1.0)
    full, rest = divmod(round(part * width * 8), 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(width)


def fields(found: Mapping[str, object], title: str | None = None) -> Table:
    """Two columns: names and values."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=False)
    made.add_column(style="bold")
    made.add_column(overflow="fold")
    for name, value in found.items():
        made.add_row(name, shown(value))
    return made
