"""`slowlog`: the commands the server found slow."""

import time
from typing import Any, Optional

import typer
from redis.exceptions import ResponseError

from aiecs_redis.cli.connection import connected, run
from aiecs_redis.cli.output import console, emit, human_seconds, machine, table

SHOWN = 200  # characters of a command


async def _threshold(client: Any) -> Optional[int]:
    """Microseconds from which on a command is noted; None where nobody may ask."""
    name = "slowlog-log-slower-than"
    try:
        return int((await client.config_get(name))[name])
    except (ResponseError, KeyError):  # a managed server refuses CONFIG, and has a SLOWLOG
        return None


async def _slowlog(count: int, reset: bool) -> tuple[list[dict[str, Any]], Optional[int]]:
    async with connected() as (client, _):
        anything: Any = client
        entries = await anything.slowlog_get(count)
        threshold = await _threshold(anything)
        if reset:
            await anything.slowlog_reset()
    return entries, threshold


def slowlog(
    count: int = typer.Option(20, "--count", "-c", min=1, help="How many, the latest first."),
    reset: bool = typer.Option(False, "--reset", help="Empty it afterwards."),
) -> None:
    """Show the slow commands the server has noted (SLOWLOG)."""
    entries, threshold = run(lambda: _slowlog(count, reset))
    found = [
        {
            "id": entry["id"],
            "at": entry["start_time"],
            "microseconds": entry["duration"],
            "command": _text(entry["command"]),
            "client": _text(entry.get("client_address", "")),
            "name": _text(entry.get("client_name", "")),
        }
        for entry in entries
    ]
    if machine():
        emit({"slower_than_microseconds": threshold, "entries": found})
        return
    if not found:
        console().print(_none(threshold))
        return
    rows = [
        (
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["at"])),
            human_seconds(entry["microseconds"] / 1e6),
            entry["client"],
            entry["command"][:SHOWN],
        )
        for entry in found
    ]
    console().print(table(("at", "took>", "client", "command"), rows))


def _none(threshold: Optional[int]) -> str:
    if threshold is None:
        return "The server has noted none."
    if threshold < 0:
        return "The server notes none: slowlog-log-slower-than is negative."
    return f"No command took longer than {human_seconds(threshold / 1e6)}."


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
