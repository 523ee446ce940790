"""Waiting for a lock without polling.

All waiters of a client in one event loop share one subscription (`_subscriber.py`). Whoever
releases a lock publishes on the channel named as its key. For each lock the waiters of a process
stand in a queue, and only its head asks the server: a release wakes one task for each process,
not all of them.

A holder that dies publishes nothing: the head also asks again when the lock would run out, and
after every gap of the subscription. Without the right to subscribe that is all there is.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Optional, TypeVar

import redis.exceptions

from aiecs_redis._subscriber import Subscriber
from aiecs_redis._tasks import happens

__all__ = ["TROUBLE", "Attempt", "Waiters", "Waiting"]

logger: logging.Logger = logging.getLogger(__name__)

_LINGER = 1.0  # seconds that a subscription without waiters is kept
TROUBLE = 0.5  # seconds until the server is asked again when there is no subscription

Attempt = Callable[[], Awaitable[Any]]  # True, or the seconds the lock is someone else's

Self = TypeVar("Self", bound="Waiting")


class Waiting:
    """The subscription of those who wait for locks with one client in one event loop."""

    _all: ClassVar[
        weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[tuple[type[Waiting], int], Waiting]
        ]
    ] = weakref.WeakKeyDictionary()

    @classmethod
    def of(cls: type[Self], redis_: Any, client: Any) -> Self:
        """That of a client in the running loop."""
        siblings = Waiting._all.setdefault(asyncio.get_running_loop(), {})
        found = siblings.get((cls, id(redis_)))
        if found is None:
            found = siblings[cls, id(redis_)] = cls(redis_, client, siblings)
        assert isinstance(found, cls)
        return found

    def __init__(
        self, redis_: Any, client: Any, siblings: dict[tuple[type[Waiting], int], Waiting]
    ) -> None:
        self._redis = redis_  # kept alive, as `siblings` knows it by its id
        self._siblings = siblings
        self._subscriber = Subscriber(client, on_gap=self._missed)
        self._closing: Optional[asyncio.Task[None]] = None  # noqa: UP045

    def _idle(self) -> bool:
        raise NotImplementedError

    def _missed(self, reason: str) -> None:
        raise NotImplementedError

    async def _subscribe(
        self, key: str, heard: Callable[[str, Any], None], end: float | None
    ) -> bool:
        """Whether a lock's channel is heard, at the latest at `end`."""
        left = None if end is None else max(0, end - asyncio.get_running_loop().time())
        subscribing = asyncio.ensure_future(self._subscriber.subscribe(key, heard))
        try:
            await asyncio.wait([subscribing], timeout=left)
            if not subscribing.done():
                return False
            subscribing.result()
            return True
        except (redis.exceptions.RedisError, OSError, RuntimeError) as exc:
            # RuntimeError: a RedisClient that was closed; it may be opened again.
            logger.info("Waiting for %s without being told of its release: %s", key, exc)
            return False
        finally:
            subscribing.cancel()

    def _close_when_idle(self) -> None:
        if self._closing is None or self._closing.done():
            self._closing = asyncio.ensure_future(self._linger())

    async def _linger(self) -> None:
        try:
            while True:
                await asyncio.sleep(_LINGER)
                if self._idle():
                    break
        finally:
            if self._idle():
                self._siblings.pop((type(self), id(self._redis)), None)
                await self._subscriber.aclose()


class _Queue:
    """The waiters of one lock in one process."""

    def __init__(self) -> None:
        self.heads: collections.deque[asyncio.Future[None]] = collections.deque()
        self.freed = asyncio.Event()
        self.subscribed = False


class Waiters(Waiting):
    """The queues of one client in one event loop."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._queues: dict[str, _Queue] = {}

    def _idle(self) -> bool:
        return not self._queues

    async def acquire(self, key: str, attempt: Attempt, wait: float | None) -> bool:
        """Stand in the queue of a lock; return whether `attempt` got it in `wait` seconds."""
        loop = asyncio.get_running_loop()
        end = None if wait is None else loop.time() + wait
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue()
        turn = loop.create_future()
        queue.heads.append(turn)
        if queue.heads[0] is turn:
            turn.set_result(None)
        try:
            await asyncio.wait([turn], timeout=None if end is None else max(0, end - loop.time()))
            return turn.done() and await self._as_head(key, queue, attempt, end)
        finally:
            queue.heads.remove(turn)
            if not queue.heads:
                del self._queues[key]
                self._subscriber.unsubscribe(key)
                self._close_when_idle()
            elif not queue.heads[0].done():
                queue.heads[0].set_result(None)

    async def _as_head(self, key: str, queue: _Queue, attempt: Attempt, end: float | None) -> bool:
        loop = asyncio.get_running_loop()
        if not queue.subscribed:
            queue.subscribed = await self._listen(key, queue, end)
        while True:
            # Cleared first: a release while we ask is not to be missed.
            queue.freed.clear()
            result = await attempt()
            if result is True:
                return True
            pause = float(result) + 0.001
            if not queue.subscribed:
                pause = min(pause, TROUBLE)
            if end is not None:
                if loop.time() >= end:
                    return False
                pause = min(pause, end - loop.time())
            if not await happens(queue.freed, pause) and not queue.subscribed:
                queue.subscribed = await self._listen(key, queue, end)

    async def _listen(self, key: str, queue: _Queue, end: float | None) -> bool:
        def released(_channel: str, _data: Any) -> None:
            queue.freed.set()

        return await self._subscribe(key, released, end)

    def _missed(self, reason: str) -> None:
        for queue in self._queues.values():
            queue.freed.set()
