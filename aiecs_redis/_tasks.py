"""Ending tasks for certain.

Before Python 3.12 `asyncio.wait_for`, which redis-py sends with, forgets that it was cancelled
when what it waits for ends in the same moment. One `cancel()` is not enough then, and nobody who
may be cancelled by others should wait with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["happens", "stop", "supervised"]


async def happens(event: asyncio.Event, seconds: float | None) -> bool:
    """Whether an event is set within so many seconds."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait([waiting], timeout=seconds)
        return event.is_set()
    finally:
        waiting.cancel()


async def stop(*tasks: asyncio.Future[Any] | None) -> None:
    """Cancel tasks until they have ended; what they raise then is dropped.

    Whoever is cancelled while this runs is told so when it is done.
    """
    cancelled: asyncio.CancelledError | None = None
    current = asyncio.current_task()
    left = {task for task in tasks if task is not None and task is not current}
    while True:
        left = {task for task in left if not task.done()}
        if not left:
            break
        for one in left:
            one.cancel()
        try:
            await asyncio.wait(left, timeout=0.1)
        except asyncio.CancelledError as exc:
            cancelled = exc
    for task in tasks:
        if task is not None and task.done() and not task.cancelled():
            task.exception()
    if cancelled is not None:
        raise cancelled


async def supervised(work: Coroutine[Any, Any, None]) -> None:
    """Run endless work such that one `cancel()` of ours ends it, `asyncio.run()`'s included."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task])
    finally:
        await stop(task)
