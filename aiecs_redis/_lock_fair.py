"""Waiting for a lock in one queue for all processes.

The queue stands in Redis. Whoever releases the lock publishes the identifier of the first in it,
and only that one asks. A place is kept for as long as it is renewed: one command for each process
and lock, three times in `PLACE` seconds, which also tells whose turn it is should the message have
been missed. Places of the dead are forgotten when they are not renewed.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import redis.exceptions

from aiecs_redis import _lock_scripts as scripts
from aiecs_redis._checks import milliseconds
from aiecs_redis._lock_waiting import TROUBLE, Attempt, Waiting
from aiecs_redis._tasks import happens, supervised
from aiecs_redis._underlying import text

__all__ = ["PLACE", "FairWaiters"]

logger: logging.Logger = logging.getLogger(__name__)

PLACE = 3.0
"""Seconds for which a place is kept without being renewed."""


class _Places:
    """Those of one process that wait for one lock."""

    def __init__(self) -> None:
        self.turns: dict[str, asyncio.Event] = {}  # by identifier, in no order
        self.look = asyncio.Event()  # whose turn is it?
        self.keeper: asyncio.Task[None] | None = None
        # Renewing the place of one who is just granted the lock would make it stand there anew.
        self.asking = asyncio.Lock()

    def heard(self, _channel: str, data: Any) -> None:
        """Somebody released the lock."""
        turn = self.turns.get(text(data))
        if turn is not None:
            turn.set()
        elif text(data) == "released":  # by an owner who does not know the queue
            self.look.set()


class FairWaiters(Waiting):
    """Those who wait with one client in one event loop."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._places: dict[str, _Places] = {}

    def _idle(self) -> bool:
        return not self._places

    def _missed(self, reason: str) -> None:
        for places in self._places.values():
            places.look.set()

    async def acquire(
        self, key: str, identifier: str, attempt: Attempt, wait: float | None
    ) -> bool:
        """Whether `attempt` got the lock in `wait` seconds; it has taken a place in the queue."""
        loop = asyncio.get_running_loop()
        end = None if wait is None else loop.time() + wait
        places = self._places.get(key)
        if places is None:
            places = self._places[key] = _Places()
            places.keeper = asyncio.ensure_future(supervised(self._keep(key, places)))
        turn = places.turns[identifier] = asyncio.Event()
        places.look.set()  # it may have been our turn before we could hear of it
        try:
            while True:
                left = None if end is None else end - loop.time()
                if not await happens(turn, left if left is None else max(0, left)):
                    return False
                turn.clear()
                async with places.asking:
                    if await attempt() is True:
                        return True
        finally:
            del places.turns[identifier]
            if not places.turns:
                del self._places[key]
                self._subscriber.unsubscribe(key)
                if places.keeper is not None:
                    places.keeper.cancel()
                self._close_when_idle()

    async def _keep(self, key: str, places: _Places) -> None:
        subscribed = False
        keys = [key, *scripts.place_keys(key)]
        while True:
            if not subscribed:
                subscribed = await self._subscribe(key, places.heard, None)
            places.look.clear()
            pause = PLACE / 3 if subscribed else TROUBLE
            try:
                async with places.asking:
                    head, left = await scripts.KEEP_PLACES(
                        self._redis, keys, [milliseconds(PLACE), *places.turns]
                    )
                if head is not None and text(head) in places.turns:
                    places.turns[text(head)].set()
                if left >= 0:
                    pause = min(pause, left / 1000 + 0.001)
            except (redis.exceptions.RedisError, OSError) as exc:
                logger.info("The places in the queue of %s are not renewed yet: %s", key, exc)
                pause = min(pause, TROUBLE)
            await happens(places.look, pause)
