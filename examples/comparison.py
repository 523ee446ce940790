"""A short race against redis-py: the same server, the same calls, turn and turn about."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import redis.asyncio

import aiecs_redis

ROUNDS = 4
KEY, VALUE = "user:compared", "x" * 100
BATCH = 100


class Result(NamedTuple):
    """Operations per second, the median of the rounds."""

    workload: str
    redis_py: float
    ours: float

    @property
    def times(self) -> float:
        return self.ours / self.redis_py


async def _tasks(client: Any, until: float, tasks: int) -> int:
    async def one() -> int:
        done = 0
        while time.perf_counter() < until:
            await client.get(KEY)
            done += 1
        return done

    return sum(await asyncio.gather(*(one() for _ in range(tasks))))


async def _pipeline(client: Any, until: float) -> int:
    done = 0
    while time.perf_counter() < until:
        pipe = client.pipeline(transaction=False)
        for _ in range(BATCH):
            pipe.get(KEY)
        done += len(await pipe.execute())
    return done


WORKLOADS: dict[str, Callable[[Any, float], Awaitable[int]]] = {
    "GET, 50 tasks": lambda client, until: _tasks(client, until, 50),
    "GET, 1 task": lambda client, until: _tasks(client, until, 1),
    f"pipeline of {BATCH}": _pipeline,
}


async def compare(kwargs: dict[str, Any], seconds: float) -> list[Result]:
    """Run the workloads for so many seconds with each client."""
    theirs = redis.asyncio.Redis(**kwargs, decode_responses=True)
    ours = aiecs_redis.Redis(**kwargs, decode_responses=True)
    results = []
    try:
        await theirs.set(KEY, VALUE)
        for name, work in WORKLOADS.items():
            rates: dict[Any, list[float]] = {theirs: [], ours: []}
            for client in rates:
                await work(client, time.perf_counter() + 0.05)  # connects
            for _ in range(ROUNDS):
                for client, found in rates.items():
                    began = time.perf_counter()
                    done = await work(client, began + seconds / ROUNDS)
                    found.append(done / (time.perf_counter() - began))
            medians = [statistics.median(found) for found in rates.values()]
            results.append(Result(name, *medians))
        await theirs.delete(KEY)
    finally:
        await theirs.aclose()
        await ours.aclose()
    return results
