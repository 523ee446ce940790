"""`info`: what the server says of itself."""

from typing import Any, Optional

import typer

from aiecs_redis.cli.connection import connected, run
from aiecs_redis.cli.output import console, emit, fields, machine

SECTIONS = (
    "server",
    "clients",
    "memory",
    "persistence",
    "stats",
    "replication",
    "cpu",
    "errorstats",
    "cluster",
    "keyspace",
)

KNOWN = (*SECTIONS, "commandstats", "latencystats", "modules", "keysizes", "debug", "threads")
"""Sections that may be empty: of a database without keys, say."""


async def _info(wanted: list[str]) -> dict[str, dict[str, Any]]:
    async with connected() as (client, _):
        pipe: Any = client.pipeline(transaction=False)
        for section in wanted:
            pipe.info(section)
        return dict(zip(wanted, await pipe.execute()))


def info(
    section: Optional[str] = typer.Argument(None, help="One section, such as memory; or all."),
) -> None:
    """Show what INFO says, by section."""
    found = run(lambda: _info([section.lower()] if section else list(SECTIONS)))
    if section and section.lower() not in KNOWN and not found[section.lower()]:
        raise ValueError(f"the server has no section {section!r}; try {', '.join(SECTIONS)}")
    if machine():
        emit(found)
        return
    for number, (name, values) in enumerate((n, v) for n, v in found.items() if v):
        if number:
            print()
        console().print(fields(values, title=name.capitalize()))
    if section and not found[section.lower()]:
        print(f"The server says nothing of {section.lower()}.")
