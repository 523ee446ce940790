"""`latency`: how long the server takes to answer, seen from here."""

import asyncio
import time
from typing import Any

import typer
from redis.exceptions import ResponseError

from aiecs_redis import _checks as checks
from aiecs_redis.cli.connection import connected, run
from aiecs_redis.cli.output import bar, console, emit, fields, human_seconds, machine, table

PARTS = (("median", 0.5), ("90 %", 0.9), ("99 %", 0.99), ("slowest", 1.0))


async def _measure(count: int, interval: float) -> tuple[str, list[float], list[Any]]:
    async with connected() as (client, where):
        anything: Any = client
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            await anything.ping()
            taken.append(time.perf_counter() - began)
            await asyncio.sleep(interval)
        try:
            events = await anything.execute_command("LATENCY", "LATEST")
        except ResponseError:  # not allowed, or not there: the measurement stands for itself
            events = []
    return where, taken, events


def _part(taken: list[float], part: float) -> float:
    return taken[min(len(taken) - 1, int(part * len(taken)))]


def _histogram(taken: list[float]) -> list[tuple[str, str, int]]:
    """Doubling bounds from 16 microseconds."""
    rows: list[tuple[str, str, int]] = []
    bound, position = 16e-6, 0
    while position < len(taken):
        end = position
        while end < len(taken) and taken[end] < bound:
            end += 1
        if end > position or rows:
            rows.append(
                (f"< {human_seconds(bound)}", bar((end - position) / len(taken)), end - position)
            )
        position, bound = end, bound * 2
    return rows


def latency(
    count: int = typer.Option(200, "--count", "-c", min=1, help="How many PINGs."),
    interval: float = typer.Option(0.01, "--interval", "-i", min=0, help="Seconds between."),
) -> None:
    """Measure the round trip of PING; show the server's own latency events too."""
    checks.seconds("--interval", interval, zero=True)
    where, taken, events = run(lambda: _measure(count, interval))
    taken.sort()
    figures = {name: _part(taken, part) for name, part in PARTS}
    figures = {"fastest": taken[0], "mean": sum(taken) / len(taken), **figures}
    if machine():
        millis = {name.replace(" %", "th"): round(v * 1000, 4) for name, v in figures.items()}
        latest = [
            {"event": e[0], "at": e[1], "latest_ms": e[2], "slowest_ms": e[3]} for e in events
        ]
        emit({"server": where, "count": count, "ms": millis, "events": latest})
        return
    shown = {name: human_seconds(value) for name, value in figures.items()}
    console().print(f"{count} round trips to {where}", "", fields(shown), "", sep="\n")
    console().print(table(("", "", "count>"), _histogram(taken)))
    if events:
        rows = [
            (e[0], time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(e[1])), e[2], e[3])
            for e in events
        ]
        console().print("", table(("event of the server", "last", "ms>", "slowest ms>"), rows))
