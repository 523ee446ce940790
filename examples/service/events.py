"""What the service's processes tell one another, and who of their listeners hears it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from redis.exceptions import RedisError

from aiecs_redis import Gap, RedisClient
from aiecs_redis.events import GapEvent, KeyEvent, KeyspaceEvents
from aiecs_redis.sessions import Session, SessionStore

logger = logging.getLogger(__name__)

PAUSE = 0.5  # seconds between two attempts to listen
GAP = json.dumps({"status": "gap"})  # events may have been missed


class EventBus:
    """Events of users, from any process of the service to any other.

    One subscription for the whole process. A listener who does not keep up loses the oldest
    events, not the memory of the service.
    """

    def __init__(self, client: RedisClient, *, prefix: str = "events:", backlog: int = 100) -> None:
        self._client = client
        self._prefix = prefix
        self._backlog = backlog
        self._listeners: dict[str, set[asyncio.Queue[str]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        listening = asyncio.Event()
        self._task = asyncio.create_task(self._listen(listening))
        await asyncio.wait_for(listening.wait(), 10)

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def publish(self, user_id: str, event: Mapping[str, Any]) -> None:
        client = await self._client.get_client()
        await client.publish(self._prefix + user_id, json.dumps(dict(event)))

    @contextlib.contextmanager
    def queue(self, user_id: str) -> Iterator[asyncio.Queue[str]]:
        """A queue of the user's events, as JSON."""
        queue: asyncio.Queue[str] = asyncio.Queue(self._backlog)
        listeners = self._listeners.setdefault(user_id, set())
        listeners.add(queue)
        try:
            yield queue
        finally:
            listeners.discard(queue)
            if not listeners:
                self._listeners.pop(user_id, None)

    async def _listen(self, listening: asyncio.Event) -> None:
        client = await self._client.get_client()
        async with client.pubsub(on_gap=self._interrupted) as pubsub:
            await pubsub.psubscribe(f"{self._prefix}*")
            while True:
                try:
                    async for message in pubsub.listen():
                        listening.set()
                        if message["type"] == "pmessage":
                            user_id = message["channel"][len(self._prefix) :]
                            self._pass_on(user_id, message["data"])
                except RedisError as exc:  # it stays subscribed: the next turn connects again
                    logger.warning("Events are interrupted: %s", exc)
                    await asyncio.sleep(PAUSE)

    def _interrupted(self, gap: Gap) -> None:
        """What was published meanwhile is lost, and the listeners are told so."""
        logger.warning("Events may have been missed: %s (%s)", gap.reason, gap.error)
        for user_id in list(self._listeners):
            self._pass_on(user_id, GAP)

    def _pass_on(self, user_id: str, event: str) -> None:
        for queue in self._listeners.get(user_id, ()):
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)


class SessionWatch:
    """Tells when a session ends, by its time or by a logout in whatever process."""

    def __init__(self, client: RedisClient, sessions: SessionStore[Session]) -> None:
        self._sessions = sessions
        self._watched: dict[str, set[asyncio.Event]] = {}
        self.events = KeyspaceEvents(client)
        self.events.on("expired del", self._ended, match=f"{sessions.prefix}*")
        self.events.on_gap(self._reconcile)

    @contextlib.contextmanager
    def ending(self, session_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when the session has ended."""
        ended = asyncio.Event()
        watched = self._watched.setdefault(session_id, set())
        watched.add(ended)
        try:
            yield ended
        finally:
            watched.discard(ended)
            if not watched:
                self._watched.pop(session_id, None)

    def _ended(self, event: KeyEvent) -> None:
        for ended in self._watched.get(event.key[len(self._sessions.prefix) :], ()):
            ended.set()

    async def _reconcile(self, gap: GapEvent) -> None:
        """Some may have ended without our hearing of it."""
        for session_id, watched in list(self._watched.items()):
            if await self._sessions.get(session_id, touch=False) is None:
                for ended in watched:
                    ended.set()
