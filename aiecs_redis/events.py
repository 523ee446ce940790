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

import redis.exceptions

from aiecs_redis import _checks as checks
from aiecs_redis import _event_flags as flags
from aiecs_redis._event_flags import KeyspaceEventsError
from aiecs_redis._nodes import is_cluster, masters, node_client
from aiecs_redis._subscriber import Subscriber
from aiecs_redis._tasks import happens, stop, supervised
from aiecs_redis._underlying import check_client, text, underlying

__all__ = ["GapEvent", "KeyEvent", "KeyspaceEvents", "KeyspaceEventsError"]

logger: logging.Logger = logging.getLogger(__name__)

_TROUBLE = 0.2  # seconds between questions who the masters are while something is wrong


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
    """Listens to the keyspace events of one database, or of all masters of a cluster.

    Args:
        client: a RedisClient, or a Redis or RedisCluster of aiecs_redis or redis.asyncio.
        db: the database; that of the client if it is None.
        configure: enable the events that are listened to (`notify-keyspace-events`), keeping
            what is enabled already. Where the server does not allow it, `start()` raises
            `KeyspaceEventsError`, which says what to set and where. With False the setting is
            taken to be right.
        queue_size: events that wait for their handlers at most; beyond it they are dropped,
            which is a gap.
        heartbeat: seconds of silence after which a connection is tested. So often a cluster is
            asked for its masters, and at once when a connection is lost.

    Raises:
        TypeError: the client is none.
        ValueError: a number that makes no sense; it is named.

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
        checks.whole("queue_size", queue_size, 1)
        checks.seconds("heartbeat", heartbeat)
        if db is not None:
            checks.whole("db", db, 0)
        self._client = check_client(client)
        self._db = db
        self._configure = configure
        self._queue_size = queue_size
        self._heartbeat = heartbeat
        self._rules: list[_Rule] = []
        self._also: frozenset[str] = frozenset()  # subscribed without a handler
        self._gap_handlers: list[GapHandler] = []
        self._listening: set[asyncio.Queue[KeyEvent | None]] = set()  # None: it is over
        self._servers: dict[str, _Server] = {}  # by the name of the node
        self._follower: asyncio.Task[None] | None = None
        self._trouble: asyncio.Event  # these are made by start(), for its loop
        self._queue: asyncio.Queue[KeyEvent | GapEvent] | None = None
        self._dispatcher: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[None] | None = None
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
            TypeError: the handler is no function.
            ValueError: Redis has no such event, or none is named; the pattern is empty.
            RuntimeError: `start()` ran already; register handlers before it.
        """
        checks.function("handler", handler)
        checks.filled("match", match)
        names = _named(event)
        if self._queue is not None and not names <= self._names():
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

        Raises:
            TypeError: the handler is no function.
        """
        checks.function("handler", handler)
        self._gap_handlers.append(handler)

    def _names(self) -> frozenset[str]:
        return self._also.union(*(rule.events for rule in self._rules))

    async def listen(self, event: str = "expired", *, match: str = "*") -> AsyncIterator[KeyEvent]:
        """Iterate over such events, from now on; `start()` must have subscribed them.

        After a gap the iteration goes on; `on_gap` tells of it. It ends with `aclose()`.

        Args:
            event: Redis' names of them, as in `on()`.
            match: only for keys that match this pattern.

        Raises:
            RuntimeError: `start()` did not subscribe them, or has not run.
            ValueError: Redis has no such event, or none is named; the pattern is empty.
        """
        names = _named(event)
        if self._queue is None:
            raise RuntimeError(f"{event!r} is not listened to yet: await start({event!r}) first")
        queue: asyncio.Queue[KeyEvent | None] = asyncio.Queue()
        remove = self.on(" ".join(names), queue.put_nowait, match=match)
        self._listening.add(queue)
        try:
            while True:
                found = await queue.get()
                if found is None:
                    return
                yield found
        finally:
            self._listening.discard(queue)
            remove()

    # --------------------------------------------------------------------- life

    async def start(self, *events: str) -> None:
        """Enable, subscribe, and return when events are heard; concurrent calls share one start.

        Args:
            events: names of events for `listen()`, besides those that have handlers.

        Raises:
            KeyspaceEventsError: they are not enabled, and the server does not let us do it.
            ValueError: no handler was registered, and no event named; Redis has no such event.
            redis.exceptions.RedisError: the server cannot be reached; or `aclose()` came before.
        """
        if self._starting is not None and self._starting.get_loop().is_closed():
            # All ended with that loop, in a program that did not close this.
            self._servers.clear()
            self._starting = self._follower = self._dispatcher = None
        if self._starting is not None:
            return await _outcome(self._starting)
        self._also = frozenset[str]().union(*map(_named, events))
        names = self._names()
        if not names:
            raise ValueError("register a handler with on(), or name events: start('expired')")
        self._queue, self._trouble = asyncio.Queue(), asyncio.Event()
        self._dispatcher = asyncio.ensure_future(self._dispatch(self._queue))
        self._starting = asyncio.ensure_future(self._begin(names))
        try:
            await _outcome(self._starting)
        except BaseException:
            await self.aclose()
            raise

    async def _begin(self, names: frozenset[str]) -> None:
        redis_ = await underlying(self._client)
        if is_cluster(redis_):
            await self._join(await masters(redis_))
            self._follower = asyncio.ensure_future(supervised(self._follow()))
        else:
            self._servers[""] = server = _Server(self, self._client, names)
            await server.start(int(redis_.connection_pool.connection_kwargs.get("db") or 0))

    async def _join(self, found: dict[str, Any]) -> bool:
        """Listen to these nodes and no others; return whether anything was to be done."""
        gone = [name for name in self._servers if name not in found]
        fresh = [name for name in found if name not in self._servers]
        for name in gone:
            await self._servers.pop(name).aclose()
        for name in fresh:
            client = node_client(found[name])
            self._servers[name] = _Server(self, client, self._names(), client.aclose)
        starting = [asyncio.ensure_future(self._servers[name].start(0)) for name in fresh]
        try:
            await asyncio.gather(*starting)
        except BaseException:
            await stop(*starting)  # none of them may subscribe when it is closed
            for name in fresh:  # to be tried again
                await self._servers.pop(name).aclose()
            raise
        return bool(gone or fresh)

    async def _follow(self) -> None:
        """Find out when other nodes have become masters."""
        pause = self._heartbeat
        while True:
            if await happens(self._trouble, pause):
                await asyncio.sleep(_TROUBLE)
            self._trouble.clear()
            try:
                found = await masters(await underlying(self._client), anew=True)
                if await self._join(found):
                    self._gap(f"the cluster's masters have changed: {', '.join(sorted(found))}")
                pause = self._heartbeat
            except (redis.exceptions.RedisError, OSError, RuntimeError) as exc:
                logger.info("The masters of the cluster cannot be followed: %s", exc)
                pause = _TROUBLE

    async def aclose(self) -> None:
        """Stop listening; handlers of events that wait are not called any more.

        What iterates over `listen()` takes the events it has, and ends. A `start()` under way
        fails. A handler may call it.
        """
        await stop(self._starting)
        await stop(self._follower)
        servers, self._servers = self._servers, {}
        dispatcher, self._dispatcher = self._dispatcher, None
        for server in servers.values():
            await server.aclose()
        await stop(dispatcher)
        self._queue = self._starting = self._follower = None
        for queue in self._listening:
            queue.put_nowait(None)

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
        while self._queue is queue:  # a handler may close this
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


class _Server:
    """The events of one server."""

    def __init__(
        self,
        events: KeyspaceEvents,
        client: Any,
        names: frozenset[str],
        close: Callable[[], Awaitable[Any]] | None = None,
    ) -> None:
        self._events = events
        self._client = client
        self._names = names
        self._close = close
        # A server that restarted may have forgotten its setting.
        self._subscriber = Subscriber(
            client,
            on_gap=events._gap,
            on_trouble=events._trouble.set,
            on_connected=self._enable,
            heartbeat=events._heartbeat,
        )

    async def start(self, db: int) -> None:
        """Returns when its events are heard."""
        db = db if self._events._db is None else self._events._db

        def heard(channel: str, key: Any) -> None:
            self._events._take(KeyEvent(channel.partition(":")[2], text(key), db))

        await self._enable()
        for name in sorted(self._names):
            await self._subscriber.subscribe(f"__keyevent@{db}__:{name}", heard)

    async def _enable(self) -> None:
        if self._events._configure:
            await flags.enable(await underlying(self._client), flags.needed(self._names))

    async def aclose(self) -> None:
        await self._subscriber.aclose()
        if self._close is not None:
            await self._close()


async def _outcome(starting: asyncio.Task[None]) -> None:
    """Wait for it; who is cancelled leaves it to others who wait."""
    await asyncio.wait([starting])
    if starting.cancelled():
        raise redis.exceptions.ConnectionError("The keyspace events were closed meanwhile.")
    starting.result()


def _named(event: str) -> frozenset[str]:
    """The names of events out of a text with blanks between them.

    Raises:
        TypeError: no text.
        ValueError: there are none in it, or Redis has no such event.
    """
    checks.string("event", event)
    names = frozenset(event.split())
    if not names:
        raise ValueError(f"event={event!r} names no event: give 'expired', or several with blanks")
    flags.needed(names)  # raises for unknown ones
    return names


async def _call(handler: Callable[[Any], Any], event: KeyEvent | GapEvent) -> None:
    try:
        result = handler(event)
        if inspect.isawaitable(result):
            await result
    except Exception:
        logger.exception("The handler of %s failed", event)
