"""Latencies at a fixed offered rate, each from the moment its command was due.

Commands are due at equal intervals, whether earlier ones have been answered or not; a client (or
a loop) that stalls is charged for every command that was due meanwhile. That is what a closed loop
omits, where a stall holds back the very commands that would have seen it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Mapping
from typing import Any, Callable, NamedTuple

from benchmarks import data
from benchmarks.measure import MICROSECONDS, WrongReply
from benchmarks.ticker import ticking

KEYS = 1_000
START_SECONDS = 0.02
DRAIN_SECONDS = 4.0
BACKLOG_SECONDS = 0.4  # commands of so long without an answer: it will never catch up
KEEPS_UP = 0.95  # of the offered commands answered in time: fewer, and the backlog only grows
BUCKET = 1.02  # the ratio of neighbouring buckets of a histogram
PERCENTILES = {"p50_us": 0.50, "p90_us": 0.90, "p99_us": 0.99, "p999_us": 0.999}

Get = Callable[[str], Awaitable[Any]]


class AtRate(NamedTuple):
    offered: float  # commands per second
    achieved: float  # answered per second, while commands were offered
    keeps_up: bool
    samples: int
    unanswered: int
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    worst_us: float
    histogram: dict[str, int]  # bucket: count


async def measure_at_rate(get: Get, rate: float, warm_up: float, seconds: float) -> AtRate:
    """Offer `rate` commands per second for `warm_up` and then for `seconds`.

    Raises:
        WrongReply: a reply is not what is stored.
        Exception: whatever the client raises.
    """
    keys = [data.value_key(number) for number in range(KEYS)]
    values = [data.value(number) for number in range(KEYS)]
    interval = 1.0 / rate
    first_counted, end = round(warm_up * rate), round((warm_up + seconds) * rate)
    latencies: list[float] = []
    errors: list[BaseException] = []
    tasks: dict[int, asyncio.Task[None]] = {}  # those without an answer
    issued = answered = 0
    offered_all = asyncio.Event()
    now = time.monotonic
    backlog = max(rate * BACKLOG_SECONDS, KEYS)

    async def one(number: int, due: float) -> None:
        nonlocal answered
        try:
            reply = await get(keys[number % KEYS])
            after = now() - due
            if reply != values[number % KEYS]:
                raise WrongReply(f"{reply!r:.200} instead of {values[number % KEYS]!r:.200}")
        except Exception as error:
            errors.append(error)
            offered_all.set()
            return
        finally:
            del tasks[number]
        if number >= first_counted:
            latencies.append(after)
            answered += not offered_all.is_set()

    def due(ticks: int) -> None:
        nonlocal issued
        last = min(issued + ticks, end)
        while issued < last:
            tasks[issued] = asyncio.ensure_future(one(issued, start + issued * interval))
            issued += 1
        if issued >= end or len(tasks) > backlog:
            offered_all.set()

    await get(keys[0])  # connected
    start = now() + START_SECONDS
    with ticking(start, interval, due):
        await offered_all.wait()
    took = max(now() - start - warm_up, seconds)
    gave_up = issued < end
    if tasks and not errors and not gave_up:
        await asyncio.wait(set(tasks.values()), timeout=DRAIN_SECONDS)
    limit, waiting = now(), dict(tasks)
    for task in waiting.values():
        task.cancel()
    if waiting:
        await asyncio.wait(set(waiting.values()), timeout=DRAIN_SECONDS)
    if errors:
        raise errors[0]
    # Those without an answer have waited at least since they were due.
    latencies += [
        limit - start - number * interval
        for number in waiting
        if number >= first_counted or gave_up
    ]
    counted = end - first_counted
    buckets = histogram(latencies)
    return AtRate(
        offered=rate,
        achieved=answered / took,
        keeps_up=not waiting and answered >= KEEPS_UP * counted and took <= seconds / KEEPS_UP,
        samples=len(latencies),
        unanswered=len(waiting),
        **percentiles(buckets),
        worst_us=max(latencies) * MICROSECONDS,
        histogram={str(bucket): count for bucket, count in sorted(buckets.items())},
    )


def histogram(latencies: list[float]) -> Counter[int]:
    """How many fall into each bucket of two per cent: of seconds, by microseconds."""
    return Counter(
        math.ceil(math.log(max(latency * MICROSECONDS, 1.0), BUCKET)) for latency in latencies
    )


def percentiles(buckets: Mapping[int, int]) -> dict[str, float]:
    """Microseconds, to the upper end of a bucket; of histograms that may have been added up."""
    total = sum(buckets.values())
    found: dict[str, float] = {}
    for name, part in PERCENTILES.items():
        wanted, seen = part * total, 0
        for bucket in sorted(buckets):
            seen += buckets[bucket]
            if seen >= wanted:
                found[name] = BUCKET**bucket
                break
    return found
