"""Running a case to its end, and looking at time and memory meanwhile."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import resource
import time
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any, Callable

import pytest


def sizes(*, everyday: Any, long: Any) -> list[Any]:
    """Parameters of a test: the short form, and the long one of `make reliability`."""
    return [
        pytest.param(everyday, id="everyday"),
        pytest.param(long, id="long", marks=pytest.mark.long),
    ]


def run(coroutine: Coroutine[Any, Any, Any], limit: float = 60.0) -> Any:
    """`asyncio.run()` that fails after `limit` seconds instead of hanging."""
    return asyncio.run(asyncio.wait_for(coroutine, limit))


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)


async def hung(tasks: Iterable[asyncio.Future[Any]], limit: float) -> int:
    """How many tasks have not come to an end after so many seconds; those are cancelled."""
    _, pending = await asyncio.wait(list(tasks), timeout=limit)
    for task in pending:
        task.cancel()
    return len(pending)


async def seconds_of(awaitable: Awaitable[Any]) -> tuple[float, Any]:
    """How long it took, and the result or the exception."""
    started = time.monotonic()
    try:
        outcome = await awaitable
    except Exception as error:
        outcome = error
    return time.monotonic() - started, outcome


def resident() -> int:
    """Bytes of memory in use by this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def settled_resident() -> int:
    """The same once freed memory has gone back to the system: a base to measure growth from."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return resident()


def percentile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]
