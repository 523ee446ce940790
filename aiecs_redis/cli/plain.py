"""`ping`, `health` and `serve`: they need no extra, and start fast; what is said without it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from importlib import metadata
from typing import Any, TextIO

from redis.exceptions import RedisClusterException, RedisError

from aiecs_redis import _checks as checks
from aiecs_redis import settings
from aiecs_redis._server_info import ServerInfo, cluster_problem, read_info
from aiecs_redis.cli import explained
from aiecs_redis.cli.connection import CONNECTION_HELP, connected, current, run

__all__ = ["COMMANDS", "NAMES", "plain_parser", "run_command", "usage", "version"]

NAMES = "ping, health, serve and run"
"""The commands that need no extra."""


def version() -> int:
    """`--version`."""
    import redis

    try:
        ours = metadata.version("aiecs-redis")
    except metadata.PackageNotFoundError:
        ours = "(not installed)"
    print(f"aiecs-redis {ours}, redis-py {redis.__version__}")
    return 0


def usage(out: TextIO) -> int:
    """`--help`, and no command at all, without the extra; the exit status."""
    out.write(
        "usage: aiecs-redis COMMAND ...\n\n"
        "Operate a Redis server. These commands work here, each has --help:\n"
        "  ping     Send PING, and tell how long the answer takes.\n"
        "  health   Tell whether the server is well: exit status 0, else 1.\n"
        "  serve    Answer probes, export metrics and log alerts until SIGTERM.\n"
        "  run      Run a Python script or module with native redis.asyncio clients.\n\n"
        "Many more come with: pip install 'aiecs-redis[cli]'\n\n" + CONNECTION_HELP
    )
    return 0 if out is sys.stdout else 2


def plain_parser(name: str, text: str) -> argparse.ArgumentParser:
    """The parser of a command, with the connection's options in its help."""
    return argparse.ArgumentParser(
        prog=f"aiecs-redis {name}",
        description=text,
        epilog=CONNECTION_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _emit(found: dict[str, Any], text: str) -> None:
    print(json.dumps(found) if current().json else text, flush=True)


# ------------------------------------------------------------------------ ping


async def _ping(count: int, interval: float) -> int:
    async with connected() as (client, where):
        anything: Any = client
        for n in range(count):
            if n:
                await asyncio.sleep(interval)
            began = time.perf_counter()
            await anything.ping()
            millis = (time.perf_counter() - began) * 1000
            _emit({"ok": True, "server": where, "ms": round(millis, 3)}, f"PONG {millis:.3f} ms")
    return 0


def ping(arguments: list[str]) -> int:
    """Send PING; 0 if the server answers."""
    parser = plain_parser("ping", "Send PING, and tell how long the answer takes.")
    parser.add_argument("--count", "-c", type=int, default=1, help="how many (1)")
    parser.add_argument("--interval", "-i", type=float, default=1.0, help="seconds between (1)")
    options = parser.parse_args(arguments)
    checks.whole("--count", options.count, 1)
    checks.seconds("--interval", options.interval, zero=True)
    return run(lambda: _ping(options.count, options.interval))


# ---------------------------------------------------------------------- health


def _problems(info: ServerInfo, max_memory: float | None, max_latency: float | None) -> list[str]:
    found = []
    if info.number("loading"):
        found.append("the server is loading its data")
    ratio = info.memory_ratio
    if max_memory is not None and ratio is not None and ratio > max_memory:
        found.append(f"memory in use is {ratio:.1%} of maxmemory")
    if max_latency is not None and info.latency * 1000 > max_latency:
        found.append(f"PING took {info.latency * 1000:.1f} ms")
    if info.text("role") == "slave" and info.text("master_link_status") != "up":
        found.append("the replica has lost its master")
    return found


async def _health(max_memory: float | None, max_latency: float | None) -> int:
    try:
        async with connected() as (client, where):
            info = await asyncio.wait_for(read_info(client), current().timeout)
            cluster = await cluster_problem(client, info)
    except (RedisError, RedisClusterException, OSError, asyncio.TimeoutError) as exc:
        reason = explained(exc) if str(exc) else "the server did not answer in time"
        where = settings.location(settings.load(current().config))
        _emit({"status": "unhealthy", "server": where, "problems": [reason]}, reason)
        return 1
    problems = [*_problems(info, max_memory, max_latency), *cluster]
    found = {
        "status": "unhealthy" if problems else "healthy",
        "server": where,
        "problems": problems,
        "latency_ms": round(info.latency * 1000, 3),
        "version": info.version,
        "role": info.text("role"),
        "used_memory": int(info.number("used_memory")),
        "maxmemory": int(info.memory_limit),
        "connected_clients": int(info.number("connected_clients")),
        "uptime_in_seconds": int(info.number("uptime_in_seconds")),
    }
    memory = info.text("used_memory_human")
    text = f"healthy: {where}, {info.latency * 1000:.2f} ms, {memory} in use"
    _emit(found, "; ".join(problems) or text)
    return 1 if problems else 0


def health(arguments: list[str]) -> int:
    """Tell whether the server is well; 0 for yes, 1 for no. Made for HEALTHCHECK."""
    parser = plain_parser("health", "Tell whether the server is well: exit status 0, else 1.")
    parser.add_argument(
        "--max-memory",
        type=float,
        metavar="PART",
        help="unwell above this part of maxmemory, such as 0.95",
    )
    parser.add_argument(
        "--max-latency", type=float, metavar="MS", help="unwell when PING takes longer"
    )
    options = parser.parse_args(arguments)
    if options.max_memory is not None:
        checks.number("--max-memory", options.max_memory, 0, 1)
    if options.max_latency is not None:
        checks.number("--max-latency", options.max_latency, 0, 1e9)
    return run(lambda: _health(options.max_memory, options.max_latency))


def serve(arguments: list[str]) -> int:
    """Answer probes, export metrics and log alerts until SIGTERM."""
    from aiecs_redis.cli import serve as module

    return module.serve(arguments)


COMMANDS = {"ping": ping, "health": health, "serve": serve}


def run_command(arguments: list[str]) -> int:
    """Run `arguments[0]`, one of `COMMANDS`."""
    try:
        return COMMANDS[arguments[0]](arguments[1:])
    except SystemExit as exc:  # argparse has said what is wrong, or has shown its help
        sys.stdout.flush()
        return exc.code if isinstance(exc.code, int) else 2
