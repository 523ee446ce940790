"""Hearing of keys that expire, are written or deleted: keyspace events without silent losses.

    events = KeyspaceEvents(client)
    events.on("expired", session_ended, match="session:*")
    events.on_gap(look_for_ended_sessions)
    async with events:
        ...

Redis sends an event once, to who listens at that moment. What happens while the connection is
being made again is gone; then the gap hooks run, to reconcile. See docs/events.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fnmatch
import inspect
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Union

from aiecs_redis import _event_flags as flags
from aiecs_redis._event_flags import KeyspaceEventsError
from aiecs_redis._subscriber import Subscriber
from aiecs_redis._tasks import stop
from aiecs_redis._underlying import check_client, text, underlying

__all__ = ["GapEvent", "KeyEvent", "KeyspaceEvents", "KeyspaceEventsError"]

logger: logging.Logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class KeyEvent:
    """Something happened to a key.

    Attributes:
        event: Redis' name for it: "expired", "del", "set", "hset", ...
        key: the key.
        db: its database.
    """

    event: str
    key: str
    db: int


@dataclasses.dataclass(frozen=True)
class GapEvent:
    """Events may have been missed.

    Attributes:
        reason: why.
        since: Unix time in seconds at which the last event, or sign of life, had come.
        until: Unix time from which on events are heard again.
    """

    reason: str
    since: float
    until: float


KeyHandler = Callable[[KeyEvent], Union[Awaitable[Any], Any]]
GapHandler = Callable[[GapEvent], Union[Awaitable[Any], Any]]


@dataclasses.dataclass(eq=False)
class _Rule:
    events: frozenset[str]
    pattern: re.Pattern[str] | None
    handler: KeyHandler

    def takes(self, event: KeyEvent) -> bool:
        return event.event in self.events and (
            self.pattern is None or self.pattern.match(event.key) is not None
        )


class KeyspaceEvents:
    """Listens to the keyspace events of one database.

    Args:
        client: a RedisClient, an aiecs_redis.Redis or a redis.asyncio.Redis.
        db: the database; that of the client if it is None.
        configure: enable the events that are listened to (`notify-keyspace-events`), keeping
            what is enabled already. Where the server does not allow it, `start()` raises
            `KeyspaceEventsError`, which says what to set and where. With False the setting is
            taken to be right.
        queue_size: events that wait for their handlers at most; beyond it they are dropped,
            which is a gap.
        heartbeat: seconds of silence after which the connection is tested.

    Handlers run one after the other, in the order of the events, in a task of their own. What a
    handler raises is logged, and the next one runs.
    """

    def __init__(
        self,
        client: Any,
        *,
        db: int | None = None,
        configure: bool = True,
        queue_size: int = 10_000,
        heartbeat: float = 10.0,
    ) -> None:
        if queue_size < 1:
            raise ValueError(f"queue_size={queue_size!r}: give 1 or more")
        self._client = check_client(client)
        self._db = db
        self._configure = configure
        self._queue_size = queue_size
        self._heartbeat = heartbeat
        self._rules: list[_Rule] = []
        self._also: frozenset[str] = frozenset()  # subscribed without a handler
        self._gap_handlers: list[GapHandler] = []
        self._subscriber: Subscriber | None = None
        self._queue: asyncio.Queue[KeyEvent | GapEvent] | None = None
        self._dispatcher: asyncio.Task[None] | None = None
        self._overflowed = False
        self._heard = time.time()

    async def __aenter__(self) -> KeyspaceEvents:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    # ----------------------------------------------------------------- handlers

    def on(self, event: str, handler: KeyHandler, *, match: str = "*") -> Callable[[], None]:
        """Call a function, or await a coroutine function, for each such event.

        Args:
            event: Redis' name of it; several with blanks between them ("expired evicted").
            handler: takes a `KeyEvent`.
            match: only for keys that match this pattern (as in the shell: * ? [abc]).

        Returns:
            A function that takes the handler away again.

        Raises:
            ValueError: Redis has no such event.
            RuntimeError: `start()` ran already; register handlers before it.
        """
        names = frozenset(event.split())
        flags.needed(names)  # raises for unknown ones
        if self._subscriber is not None and not names <= self._names():
            raise RuntimeError(
                f"{event!r}: this event is not subscribed; register its handler before start()"
            )
        pattern = None if match == "*" else re.compile(fnmatch.translate(match))
        rule = _Rule(names, pattern, handler)
        self._rules.append(rule)

        def remove() -> None:
            with contextlib.suppress(ValueError):
                self._rules.remove(rule)

        return remove

    def on_gap(self, handler: GapHandler) -> None:
        """Call it with a `GapEvent` whenever events may have been missed: reconcile there.

        It runs when events are heard again, before the handlers of those.
        """
        self._gap_handlers.append(handler)

    def _names(self) -> frozenset[str]:
        return self._also.union(*(rule.events for rule in self._rules))

    async def listen(self, event: str = "expired", *, match: str = "*") -> AsyncIterator[KeyEvent]:
        """Iterate over such events, from now on; `start()` must have subscribed them.

        After a gap the iteration goes on; `on_gap` tells of it.
        """
        queue: asyncio.Queue[KeyEvent] = asyncio.Queue()
        remove = self.on(event, queue.put_nowait, match=match)
        try:
            while True:
                yield await queue.get()
        finally:
            remove()

    # --------------------------------------------------------------------- life

    async def start(self, *events: str) -> None:
        """Enable, subscribe, and return when events are heard.

        Args:
            events: names of events for `listen()`, besides those that have handlers.

        Raises:
            KeyspaceEventsError: they are not enabled, and the server does not let us do it.
            ValueError: no handler was registered, and no event named.
            redis.exceptions.RedisError: the server cannot be reached.
        """
        if self._subscriber is not None:
            return
        self._also = frozenset(name for several in events for name in several.split())
        names = self._names()
        if not names:
            raise ValueError("register a handler with on(), or name events: start('expired')")
        wanted = flags.needed(names)
        await self._enable(wanted)
        self._queue = asyncio.Queue()
        self._dispatcher = asyncio.ensure_future(self._dispatch(self._queue))
        # A server that restarted may have forgotten its setting.
        self._subscriber = Subscriber(
            self._client,
            on_gap=self._gap,
            on_connected=lambda: self._enable(wanted),
            heartbeat=self._heartbeat,
        )
        try:
            await self._subscribe(names)
        except BaseException:
            await self.aclose()
            raise

    async def _subscribe(self, names: frozenset[str]) -> None:
        assert self._subscriber is not None
        db = await self._database()

        def heard(channel: str, key: Any) -> None:
            self._take(KeyEvent(channel.partition(":")[2], text(key), db))

        for name in sorted(names):
            await self._subscriber.subscribe(f"__keyevent@{db}__:{name}", heard)

    async def _database(self) -> int:
        if self._db is not None:
            return self._db
        pool = (await underlying(self._client)).connection_pool
        return int(pool.connection_kwargs.get("db") or 0)

    async def _enable(self, wanted: str) -> None:
        if self._configure:
            # A cluster will have this done on each of its masters.
            await flags.enable(await underlying(self._client), wanted)

    async def aclose(self) -> None:
        """Stop listening; handlers of events that wait are not called any more."""
        subscriber, self._subscriber = self._subscriber, None
        dispatcher, self._dispatcher = self._dispatcher, None
        if subscriber is not None:
            await subscriber.aclose()
        await stop(dispatcher)
        self._queue = None

    # ----------------------------------------------------------------- delivery

    def _take(self, event: KeyEvent) -> None:
        self._heard = time.time()
        queue = self._queue
        if queue is None:
            return
        if queue.qsize() >= self._queue_size:
            self._overflowed = True
            return
        if self._overflowed:
            self._overflowed = False
            self._gap(f"handlers are too slow: more than {self._queue_size} events waited")
        queue.put_nowait(event)

    def _gap(self, reason: str) -> None:
        now = time.time()
        if self._queue is not None:
            self._queue.put_nowait(GapEvent(reason, self._heard, now))
        self._heard = now

    async def _dispatch(self, queue: asyncio.Queue[KeyEvent | GapEvent]) -> None:
        while True:
            event = await queue.get()
            if isinstance(event, GapEvent):
                logger.warning("Keyspace events may have been missed: %s", event.reason)
                for hook in list(self._gap_handlers):
                    await _call(hook, event)
            else:
                for rule in list(self._rules):
                    if rule.takes(event):
                        await _call(rule.handler, event)
            if self._overflowed and queue.empty():  # no further event brought it to light
                self._overflowed = False
                self._gap(f"handlers are too slow: more than {self._queue_size} events waited")


async def _call(handler: Callable[[Any], Any], event: KeyEvent | GapEvent) -> None:
    try:
        result = handler(event)
        if inspect.isawaitable(result):
            await result
    except Exception:
        logger.exception("The handler of %s failed", event)
