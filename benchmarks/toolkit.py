"""`python -m benchmarks.toolkit`: what the cache's local hits, metrics and OpenTelemetry cost.

Each row is a process of its own, which does so many operations. Time is the CPU time of that
process for an operation, the least of some rounds. With `--instructions` each row runs twice more
under callgrind, with different numbers of operations; their difference is free of start-up.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import redis

from aiecs_redis import Redis
from aiecs_redis.cache import CacheManager
from aiecs_redis.metrics import ClientMetrics
from benchmarks.address import Address
from benchmarks.callgrind import read_self_cost
from benchmarks.server import is_external, server
from benchmarks.tables import Table

ROUNDS = 5
FEW = 2_000
MANY = 12_000
TASKS = 50  # of the rows that ask the server
KEYS = 1_000
PREFIX = "bench:cache:"

Body = Callable[[int], Awaitable[None]]


async def _local(address: Address, kind: str, measure: Callable[[Body], Awaitable[None]]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(Redis(host=address.host, port=address.port))
        cache = await stack.enter_async_context(CacheManager(client, prefix=PREFIX))
        keys = [f"user:{number}" for number in range(KEYS)]

        @cache.cached(key="user:{number}")
        async def user(number: int) -> Any:
            return {"number": number}

        for _ in range(100):
            for number in range(KEYS):
                await user(number)
            await asyncio.sleep(0.05)  # what one writes oneself is told, too, and dropped
            if all(cache.get_nowait(key) is not None for key in keys):
                break
        look, get = cache.get_nowait, cache.get

        async def nowait(times: int) -> None:
            for number in range(times):
                look(keys[number % KEYS])

        async def awaited(times: int) -> None:
            for number in range(times):
                await get(keys[number % KEYS])

        async def cached(times: int) -> None:
            for number in range(times):
                await user(number % KEYS)

        before = cache.stats.redis_hits
        await measure({"nowait": nowait, "get": awaited, "cached": cached}[kind])
        if cache.stats.redis_hits - before > KEYS:
            raise SystemExit("the local level was not in use")


async def _server(address: Address, kind: str, measure: Callable[[Body], Awaitable[None]]) -> None:
    async with Redis(host=address.host, port=address.port) as client:
        await client.set("bench:key", b"x" * 100)
        if kind == "counted":
            ClientMetrics.of(client)
        if kind in ("stopped", "otel"):
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.trace import TracerProvider

            from aiecs_redis.telemetry import instrument

            telemetry = instrument(
                client, tracer_provider=TracerProvider(), meter_provider=MeterProvider()
            )
            if kind == "stopped":
                telemetry.stop()

        async def repeat(times: int) -> None:
            for _ in range(times):
                await client.get("bench:key")

        async def body(times: int) -> None:
            await asyncio.gather(*(repeat(times // TASKS) for _ in range(TASKS)))

        await measure(body)


ROWS: dict[str, tuple[str, Callable[..., Awaitable[None]], str, int]] = {
    "nowait": ("local hit, get_nowait()", _local, "nowait", 200_000),
    "get": ("local hit, await get()", _local, "get", 200_000),
    "cached": ("local hit, @cached", _local, "cached", 200_000),
    "plain": ("GET, nothing measured", _server, "plain", 50_000),
    "stopped": ("GET, OpenTelemetry stopped again", _server, "stopped", 50_000),
    "counted": ("GET, counters on", _server, "counted", 50_000),
    "otel": ("GET, OpenTelemetry spans and metrics", _server, "otel", 10_000),
}


async def run(name: str, address: Address, operations: int | None) -> None:
    """Do a row's operations: so many, or its own number and measured."""
    _, work, kind, times = ROWS[name]

    async def measure(body: Body) -> None:
        if operations is not None:
            await body(operations)
            return
        rounds = []
        for _ in range(ROUNDS):
            began = time.process_time()
            await body(times)
            rounds.append((time.process_time() - began) / times)
        print(json.dumps(min(rounds)))

    await work(address, kind, measure)


def clean(address: Address) -> None:
    """Remove what the rows wrote, from a server that is someone else's."""
    with redis.Redis(address.host, address.port) as admin:
        admin.delete("bench:key", *admin.scan_iter(f"{PREFIX}*"))


def measured(name: str, address: Address) -> float:
    """Seconds of CPU time for an operation."""
    done = subprocess.run(_command(name, address), capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def instructions(name: str, address: Address, few: int, many: int) -> float:
    """Instructions for an operation."""
    counts = []
    for operations in (few, many):
        with tempfile.TemporaryDirectory(prefix="callgrind-") as folder:
            output = Path(folder) / "callgrind.out"
            tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}"]
            command = [*tool, *_command(name, address, operations)]
            environment = {**os.environ, "PYTHONHASHSEED": "0"}  # the same work in both runs
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode:
                raise SystemExit(f"the run under valgrind failed:\n{done.stderr}")
            counts.append(sum(read_self_cost(output).values()))
    return (counts[1] - counts[0]) / (many - few)


def _command(name: str, address: Address, operations: int | None = None) -> list[str]:
    order = json.dumps([name, list(address), operations])
    return [sys.executable, "-m", "benchmarks.toolkit", "--order", order]


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    if options.order is not None:
        name, where, operations = json.loads(options.order)
        asyncio.run(run(name, Address(*where), operations))
        return 0
    if options.instructions and shutil.which("valgrind") is None:
        print("valgrind is not installed (Debian: apt install valgrind)", file=sys.stderr)
        return 2
    rows = []
    with server() as address:
        try:
            for name in options.rows.split(",") if options.rows else ROWS:
                row = [ROWS[name][0], f"{measured(name, address) * 1e9:,.0f}"]
                if options.instructions:
                    row.append(f"{instructions(name, address, options.few, options.many):,.0f}")
                rows.append(tuple(row))
        finally:
            if is_external():
                clean(address)
    names = ("operation", "ns", "instructions")[: 2 + options.instructions]
    print(Table("Costs of an operation, CPU of the client", names, rows).as_text())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.toolkit",
        description="What local hits of the cache, metrics and OpenTelemetry cost the client.",
    )
    parser.add_argument("--rows", metavar="NAMES", help="comma-separated, of: " + ", ".join(ROWS))
    parser.add_argument("--instructions", action="store_true", help="count them (valgrind)")
    parser.add_argument("--few", type=int, default=FEW, help="operations of the first run")
    parser.add_argument("--many", type=int, default=MANY, help="operations of the second run")
    parser.add_argument("--order", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
