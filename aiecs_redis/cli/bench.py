"""`bench`: this client against redis-py, on the user's own server."""

import asyncio
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import redis
import typer
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection

from aiecs_redis import _checks as checks
from aiecs_redis._bind import BaseRedis
from aiecs_redis.cli.chart import Bar, svg
from aiecs_redis.cli.connection import connected, run
from aiecs_redis.cli.output import bar, console, emit, human_count, machine, notes, table

EXPIRY = 600  # seconds after which the keys are gone even if we are killed
PIPELINE = 100
BAR = 24  # characters

Operation = Callable[[Any, str, str], Awaitable[object]]


async def _get(client: Any, key: str, _: str) -> object:
    return await client.get(key)


async def _set(client: Any, key: str, value: str) -> object:
    return await client.set(key, value, ex=EXPIRY)


async def _pipeline(client: Any, key: str, _: str) -> object:
    pipe = client.pipeline(transaction=False)
    for _n in range(PIPELINE):
        pipe.get(key)
    return await pipe.execute()


@dataclass(frozen=True)
class Workload:
    """Something both clients do.

    Attributes:
        name: for people.
        operation: one step.
        alone: by one task, whatever `--tasks` says.
        commands: commands in a step.
    """

    name: str
    operation: Operation
    alone: bool = False
    commands: int = 1


WORKLOADS = (
    Workload("GET, one task", _get, alone=True),
    Workload("GET, {tasks} tasks", _get),
    Workload("SET, {tasks} tasks", _set),
    Workload(f"pipelines of {PIPELINE} GET", _pipeline, alone=True, commands=PIPELINE),
)


@dataclass(frozen=True)
class Result:
    """Commands a second of both, the median of the rounds."""

    name: str
    ours: float
    theirs: float

    @property
    def times(self) -> float:
        return self.ours / self.theirs if self.theirs else 0.0


async def _rate(client: Any, work: Workload, key: str, value: str, tasks: int, sec: float) -> float:
    """Commands a second of one client."""
    done = 0
    began = time.perf_counter()
    end = began + sec

    async def worker() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await work.operation(client, key, value)
            done += work.commands

    await asyncio.gather(*(worker() for _ in range(1 if work.alone else tasks)))
    return done / (time.perf_counter() - began)


async def _warm_up(
    client: Any, work: Workload, key: str, value: str, tasks: int, sec: float
) -> None:
    """Connections, which over TLS take longer than a measurement, and what is learnt once."""
    for _ in range(2):
        steps = (work.operation(client, key, value) for _n in range(1 if work.alone else tasks))
        await asyncio.gather(*steps)
    await _rate(client, work, key, value, tasks, sec)


async def _bench(seconds: float, rounds: int, tasks: int, size: int) -> tuple[str, list[Result]]:
    key = f"aiecs-redis:bench:{uuid.uuid4().hex}"
    value = "x" * size
    results = []
    async with connected(max_connections=tasks + 10) as (ours, where):
        pool = _their_pool(ours.connection_pool, tasks + 10)
        theirs: Any = BaseRedis(connection_pool=pool)
        try:
            await theirs.set(key, value, ex=EXPIRY)
            for work in WORKLOADS:
                name = work.name.format(tasks=tasks)
                if not machine():
                    notes().print(f"[dim]{name} ...[/]")
                found: dict[str, list[float]] = {"ours": [], "theirs": []}
                for client in (ours, theirs):
                    await _warm_up(client, work, key, value, tasks, min(seconds, 0.1))
                for _ in range(rounds):
                    for side, client in (("theirs", theirs), ("ours", ours)):
                        rate = await _rate(client, work, key, value, tasks, seconds)
                        found[side].append(rate)
                medians = {side: statistics.median(rates) for side, rates in found.items()}
                results.append(Result(name, medians["ours"], medians["theirs"]))
        finally:
            await theirs.delete(key)
            await theirs.aclose()
            await pool.disconnect()
    return where, results


def _their_pool(pool: Any, size: int) -> ConnectionPool:
    """A pool of redis-py's for the same server; of Sentinel's, for the master of this moment."""
    known = dict(pool.connection_kwargs)
    made = pool.connection_class
    if hasattr(pool, "locate"):
        known.pop("connection_pool", None)
        known["host"], known["port"] = pool.master_address
        made = SSLConnection if issubclass(made, SSLConnection) else Connection
    return ConnectionPool(connection_class=made, max_connections=size, **known)


def bench(
    seconds: float = typer.Option(1.0, "--seconds", "-s", min=0.01, help="Of each measurement."),
    rounds: int = typer.Option(3, "--rounds", "-r", min=1, help="Measurements of each kind."),
    tasks: int = typer.Option(50, "--tasks", "-t", min=1, help="That work at the same time."),
    size: int = typer.Option(100, "--size", min=1, help="Of a value, bytes."),
    picture: Optional[Path] = typer.Option(None, "--svg", help="Draw the result to this file."),
) -> None:
    """Compare this client with redis-py on your server. Uses one key, and deletes it."""
    checks.seconds("--seconds", seconds)
    if picture is not None and not picture.parent.is_dir():
        raise ValueError(f"--svg={picture}: there is no folder {str(picture.parent)!r}")
    where, results = run(lambda: _bench(seconds, rounds, tasks, size))
    labels = ("aiecs_redis", f"redis-py {redis.__version__}")
    if picture is not None:
        bars = [Bar(one.name, (one.ours, one.theirs)) for one in results]
        title = f"Commands a second, values of {size} bytes"
        picture.write_text(svg(title, labels, bars), encoding="utf-8")
    if machine():
        emit(
            {
                "server": where,
                "redis_py": redis.__version__,
                "results": [{**vars(one), "times": round(one.times, 2)} for one in results],
            }
        )
        return
    rows = []
    for one in results:
        most = max(one.ours, one.theirs) or 1.0
        rows.append((one.name, labels[0], human_count(one.ours), bar(one.ours / most, BAR), ""))
        times = f"{one.times:.1f} times"
        rows.append(("", labels[1], human_count(one.theirs), bar(one.theirs / most, BAR), times))
    console().print(table(("", "", "commands/s>", "", "ours is"), rows))
    if picture is not None:
        print(f"\nDrawn to {picture}.")
