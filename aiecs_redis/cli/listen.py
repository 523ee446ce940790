"""`monitor`, `pubsub` and `publish`."""

import time
from typing import Any, Optional

import typer

from aiecs_redis.cli.connection import connected, run
from aiecs_redis.cli.output import emit, machine, notes


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at)) + f"{at % 1:.3f}"[1:]


# --------------------------------------------------------------------- monitor


async def _monitor(count: Optional[int], contains: Optional[str]) -> None:
    async with connected(socket_timeout=None) as (client, where):
        if not machine():
            notes().print(f"Every command {where} receives; this slows it down. Ctrl-C ends it.")
        shown = 0
        anything: Any = client
        async with anything.monitor() as monitor:
            async for command in monitor.listen():
                if contains and contains.lower() not in command["command"].lower():
                    continue
                if machine():
                    known = {key: command[key] for key in ("time", "db", "command")}
                    emit({**known, **_from(command)})
                else:
                    source = _from(command)["client"]
                    text = f"{_clock(command['time'])} [{command['db']} {source}] "
                    print(text + command["command"], flush=True)
                shown += 1
                if shown == count:
                    return


def _from(command: dict[str, Any]) -> dict[str, str]:
    if command["client_type"] == "tcp":
        return {"client": f"{command['client_address']}:{command['client_port']}"}
    return {"client": command["client_type"]}


def monitor(
    count: Optional[int] = typer.Option(None, "--count", "-c", min=1, help="Then stop."),
    contains: Optional[str] = typer.Option(None, "--contains", help="Only commands with this."),
) -> None:
    """Show every command the server receives, as it happens (MONITOR)."""
    run(lambda: _monitor(count, contains))


# ---------------------------------------------------------------------- pubsub


def _named(channels: list[str]) -> None:
    if not all(channels):
        raise ValueError("the name of a channel is empty: give at least one character")


async def _listen(channels: list[str], patterns: list[str], count: Optional[int]) -> None:
    async with connected(socket_timeout=None) as (client, _):
        anything: Any = client
        async with anything.pubsub(ignore_subscribe_messages=True) as pubsub:
            if channels:
                await pubsub.subscribe(*channels)
            if patterns:
                await pubsub.psubscribe(*patterns)
            if not machine():
                notes().print(f"Listening to {', '.join([*channels, *patterns])}. Ctrl-C ends it.")
            shown = 0
            async for message in pubsub.listen():
                at = time.time()
                if machine():
                    emit({"at": at, "channel": message["channel"], "data": message["data"]})
                else:
                    print(f"{_clock(at)} {message['channel']}: {message['data']}", flush=True)
                shown += 1
                if shown == count:
                    return


def pubsub(
    channels: list[str] = typer.Argument(..., help="Channels; with * ? or [ a pattern."),
    count: Optional[int] = typer.Option(None, "--count", "-c", min=1, help="Then stop."),
) -> None:
    """Show the messages of channels, as they come."""
    _named(channels)
    patterns = [name for name in channels if any(sign in name for sign in "*?[")]
    plain = [name for name in channels if name not in patterns]
    run(lambda: _listen(plain, patterns, count))


async def _publish(channel: str, message: str) -> int:
    async with connected() as (client, _):
        anything: Any = client
        return int(await anything.publish(channel, message))


def publish(
    channel: str = typer.Argument(..., help="Channel."),
    message: str = typer.Argument(..., help="Text to send."),
) -> None:
    """Send a message to a channel."""
    _named([channel])
    receivers = run(lambda: _publish(channel, message))
    if machine():
        emit({"receivers": receivers})
    else:
        print(f"Received by {receivers}.")
