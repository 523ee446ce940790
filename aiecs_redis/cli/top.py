"""`top`: what the server does now, again and again."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from aiecs_redis import _checks as checks
from aiecs_redis._server_info import ServerInfo, read_info
from aiecs_redis.cli.connection import connected, run
from aiecs_redis.cli.output import (
    bar,
    console,
    emit,
    fields,
    human_bytes,
    human_count,
    human_seconds,
    machine,
    table,
)

COMMANDS = 12


@dataclass(frozen=True)
class Reading:
    """Two looks at the server, `seconds` apart."""

    before: ServerInfo
    now: ServerInfo
    seconds: float
    calls: Mapping[str, tuple[float, float]]  # command: calls, microseconds since `before`

    def rate(self, name: str) -> float:
        """Increase of a counter, a second; 0 after a restart of the server."""
        more = self.now.number(name) - self.before.number(name)
        return max(more, 0.0) / self.seconds

    @property
    def hit_rate(self) -> Optional[float]:
        hits, misses = self.rate("keyspace_hits"), self.rate("keyspace_misses")
        return hits / (hits + misses) if hits + misses else None

    @property
    def busiest(self) -> list[tuple[str, float, float]]:
        """Commands with calls a second and mean microseconds, by the time they take."""
        used = sorted(self.calls.items(), key=lambda item: -item[1][1])
        return [
            (name, calls / self.seconds, micros / calls)
            for name, (calls, micros) in used[:COMMANDS]
            if calls > 0
        ]

    def as_dict(self) -> dict[str, Any]:
        now = self.now
        return {
            "at": time.time(),
            "ops_per_second": round(self.rate("total_commands_processed"), 1),
            "used_memory": int(now.number("used_memory")),
            "maxmemory": int(now.memory_limit),
            "connected_clients": int(now.number("connected_clients")),
            "blocked_clients": int(now.number("blocked_clients")),
            "hit_rate": self.hit_rate,
            "input_bytes_per_second": round(self.rate("total_net_input_bytes")),
            "output_bytes_per_second": round(self.rate("total_net_output_bytes")),
            "expired_per_second": round(self.rate("expired_keys"), 1),
            "evicted_per_second": round(self.rate("evicted_keys"), 1),
            "ping_ms": round(now.latency * 1000, 3),
            "keys": now.keys,
            "commands": {
                name: {"calls_per_second": round(calls, 1), "mean_us": round(micros, 1)}
                for name, calls, micros in self.busiest
            },
        }


def _calls(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    found = {}
    for name, values in now.items():
        old = before.get(name, {"calls": 0, "usec": 0})
        calls, micros = values["calls"] - old["calls"], values["usec"] - old["usec"]
        if calls > 0 and micros >= 0:
            found[name.replace("cmdstat_", "").replace("|", " ").upper()] = (calls, micros)
    return found


def picture(reading: Reading, where: str) -> Group:
    """The screen."""
    now = reading.now
    uptime = human_seconds(now.number("uptime_in_seconds"))
    title = f"{where}  {now.product} {now.version} {now.text('role')}, up {uptime}"
    memory = human_bytes(now.number("used_memory"))
    ratio = now.memory_ratio
    if ratio is not None:
        memory = f"{bar(ratio, 20)} {ratio:5.1%}  {memory} of {human_bytes(now.memory_limit)}"
    rate = reading.hit_rate
    blocked = int(now.number("blocked_clients"))
    network = (
        f"{human_bytes(reading.rate('total_net_input_bytes'))}/s in, "
        f"{human_bytes(reading.rate('total_net_output_bytes'))}/s out"
    )
    lost = (
        f"{human_count(reading.rate('expired_keys'))}/s expired, "
        f"{human_count(reading.rate('evicted_keys'))}/s evicted"
    )
    keys = ", ".join(f"{name} {human_count(count)}" for name, count in now.keys.items())
    summary = {
        "commands": f"{human_count(reading.rate('total_commands_processed'))}/s",
        "memory": memory,
        "clients": f"{int(now.number('connected_clients'))}, {blocked} blocked",
        "hit rate": f"{rate:.1%}" if rate is not None else "no look-ups",
        "network": network,
        "keys": f"{keys or 'none'}; {lost}",
        "ping": human_seconds(now.latency),
    }
    rows = [
        (name, human_count(calls), human_seconds(micros / 1e6), f"{calls * micros / 1e4:.1f} %")
        for name, calls, micros in reading.busiest
    ]
    busiest = table(("command", "calls/s>", "mean>", "server time>"), rows)
    return Group(Text(title, style="bold"), "", fields(summary), "", busiest)


async def _top(interval: float, count: Optional[int]) -> None:
    async with connected() as (client, where):
        anything: Any = client

        async def look() -> tuple[ServerInfo, Mapping[str, Any]]:
            return await read_info(client), await anything.info("commandstats")

        live = sys.stdout.isatty() and not machine() and count is None
        screen = Live(console=console(), screen=True, auto_refresh=False) if live else None
        with screen or contextlib.nullcontext():
            before, old = await look()
            shown = 0
            # The first picture comes soon.
            pause = min(interval, 0.5) if screen is not None else interval
            while count is None or shown < count:
                await asyncio.sleep(pause)
                now, new = await look()
                reading = Reading(before, now, max(now.at - before.at, 1e-9), _calls(old, new))
                if machine():
                    emit(reading.as_dict())
                elif screen is not None:
                    screen.update(picture(reading, where), refresh=True)
                else:
                    console().print(picture(reading, where), "")
                before, old, pause = now, new, interval
                shown += 1


def top(
    interval: float = typer.Option(2.0, "--interval", "-i", min=0.1, help="Seconds between."),
    count: Optional[int] = typer.Option(None, "--count", "-c", min=1, help="Then stop."),
) -> None:
    """Show what the server does: commands, memory, clients, hit rate. Ctrl-C ends it."""
    checks.seconds("--interval", interval)
    run(lambda: _top(interval, count))
