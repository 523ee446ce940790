"""Sessions, cache and lock of the service, on RedisClient: what of it is Redis stands here only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError

from aiecs_redis import RedisClient

logger = logging.getLogger(__name__)

PAUSE = 0.5  # seconds between two attempts to listen
GAP = json.dumps({"status": "gap"})  # events may have been missed


# --------------------------------------------------------------------- sessions


@dataclass(frozen=True)
class Session:
    """A user's session; whoever knows its id is the user."""

    session_id: str = field(repr=False)
    user_id: str
    created_at: int
    data: dict[str, str]


class SessionStore:
    """Sessions that end `ttl` seconds after their last use."""

    def __init__(self, client: RedisClient, *, prefix: str = "session:", ttl: int = 1800) -> None:
        self._client = client
        self._prefix = prefix
        self._ttl = ttl

    async def create(self, user_id: str, data: Mapping[str, str] | None = None) -> Session:
        session_id = secrets.token_urlsafe(32)
        key = self._prefix + session_id
        created_at = int(time.time())
        fields = {**(data or {}), "user_id": user_id, "created_at": str(created_at)}
        pipe: Any = (await self._client.get_client()).pipeline()
        pipe.hset(key, mapping=fields)
        pipe.expire(key, self._ttl)
        await pipe.execute()
        return Session(session_id, user_id, created_at, dict(data or {}))

    async def get(self, session_id: str) -> Session | None:
        """The session, which lives on; None if it has ended."""
        if not session_id:
            return None
        key = self._prefix + session_id
        pipe = (await self._client.get_client()).pipeline(transaction=False)
        pipe.hgetall(key)
        pipe.expire(key, self._ttl)
        found, _ = await pipe.execute()
        if not found:
            return None
        user_id, created_at = found.pop("user_id"), int(found.pop("created_at"))
        return Session(session_id, user_id, created_at, found)

    async def delete(self, session_id: str) -> bool:
        return bool(await self._client.delete(self._prefix + session_id))


# ------------------------------------------------------------------------ cache


class CacheManager:
    """Values that can be had again, as JSON; one loader at a time for each key."""

    def __init__(self, client: RedisClient, *, prefix: str = "cache:", ttl: int = 300) -> None:
        self._client = client
        self._prefix = prefix
        self._ttl = ttl
        self._flights: dict[str, asyncio.Task[Any]] = {}

    async def get(
        self, key: str, ttl: int | None = None, *, loader: Callable[[], Awaitable[Any]]
    ) -> Any:
        text = await self._client.get(self._prefix + key)
        if text is not None:
            return json.loads(text)
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.ensure_future(self._load(key, ttl or self._ttl, loader))
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return await asyncio.shield(flight)

    async def _load(self, key: str, ttl: int, loader: Callable[[], Awaitable[Any]]) -> Any:
        value = await loader()
        if value is not None:
            await self._client.set(self._prefix + key, json.dumps(value), ex=ttl)
        return value

    async def delete(self, key: str) -> int:
        return await self._client.delete(self._prefix + key)


# ------------------------------------------------------------------------- lock

_RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""


class DistributedLock:
    """The documented lock: one holder at a time, for `timeout` seconds at most."""

    def __init__(self, client: RedisClient, lock_name: str, timeout: int = 10) -> None:
        self._client = client
        self.lock_name = f"lock:{lock_name}"
        self.timeout = timeout
        self.identifier = secrets.token_hex(16)

    async def acquire(self) -> bool:
        return await self._client.set(self.lock_name, self.identifier, ex=self.timeout, nx=True)

    async def release(self) -> bool:
        client: Any = await self._client.get_client()
        return bool(await client.eval(_RELEASE, 1, self.lock_name, self.identifier))


# ----------------------------------------------------------------------- events


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
        client: Any = await self._client.get_client()
        await client.publish(self._prefix + user_id, json.dumps(dict(event)))

    @contextlib.asynccontextmanager
    async def listen(self, user_id: str) -> AsyncIterator[asyncio.Queue[str]]:
        """Yield a queue of the user's events, as JSON."""
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
        """Until cancelled: what Redis tells while it is away is lost, so listeners are told."""
        while True:
            try:
                await self._subscribe(listening)
            except RedisError as exc:
                logger.warning("Events are interrupted: %s", exc)
                await asyncio.sleep(PAUSE)

    async def _subscribe(self, listening: asyncio.Event) -> None:
        client: Any = await self._client.get_client()
        async with client.pubsub() as pubsub:
            await pubsub.psubscribe(f"{self._prefix}*")
            async for message in pubsub.listen():
                if message["type"] == "psubscribe":
                    if listening.is_set():  # not for the first time
                        for user_id in list(self._listeners):
                            self._pass_on(user_id, GAP)
                    listening.set()
                elif message["type"] == "pmessage":
                    self._pass_on(message["channel"][len(self._prefix) :], message["data"])

    def _pass_on(self, user_id: str, event: str) -> None:
        for queue in self._listeners.get(user_id, ()):
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)
