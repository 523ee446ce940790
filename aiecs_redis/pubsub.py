"""`PubSub`: redis-py's subscriptions on a native connection."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

import redis.exceptions
from redis.asyncio.client import PubSub as BasePubSub

from aiecs_redis import _native
from aiecs_redis._generic import PubSubMethods
from aiecs_redis._link_parser import LinkParser
from aiecs_redis.connection import LeasedConnection

if TYPE_CHECKING:
    from aiecs_redis._commands.pubsub import Message

__all__ = ["Gap", "PubSub"]

BUFFER_LIMIT = 4 * 1024 * 1024
"""Bytes of messages that may wait to be read."""

_TURN = 256
"""Messages that listen() gives away before other tasks get a turn."""


@dataclass(frozen=True)
class Gap:
    """Messages may have been published that this subscriber did not get.

    Attributes:
        reason: "reconnected" (published while there was no connection, or lost with it) or
            "overflow" (dropped here, by overflow="drop_oldest").
        error: what the connection was lost with, if that is known.
        dropped: messages dropped by an overflow; None when nobody can know.
        channels, patterns, shard_channels: what was subscribed to.
        at: seconds since the epoch when the gap ended.
    """

    reason: str
    error: BaseException | None
    dropped: int | None
    channels: tuple[Any, ...]
    patterns: tuple[Any, ...]
    shard_channels: tuple[Any, ...]
    at: float


class PubSub(PubSubMethods, BasePubSub):
    """redis.asyncio's PubSub, and what it has no word for.

    It takes redis-py's arguments, and three of its own.

    Args:
        on_gap: called with a `Gap`, and awaited if it returns an awaitable, when messages may
            have been missed: after the connection was lost and everything is subscribed to anew,
            and after an overflow.
        buffer_limit: bytes of messages that may wait here to be read, default 4 MiB.
        overflow: what to do beyond: "pause" (default) leaves them to the server, which ends the
            connection when its client-output-buffer-limit is reached; "drop_oldest" forgets the
            oldest; "disconnect" ends the connection here.

    Raises:
        TypeError: `on_gap` is no function.
        ValueError: there is no such overflow, or the limit is no int above 0.
    """

    connection: Any = None  # what a refused constructor leaves behind
    encoder: Any
    _plain = True  # whether messages are handled the way redis-py's class does

    def __init__(
        self,
        connection_pool: Any,
        *args: Any,
        on_gap: Callable[[Gap], Any] | None = None,
        buffer_limit: int = BUFFER_LIMIT,
        overflow: str = "pause",
        **kwargs: Any,
    ) -> None:
        if overflow not in ("pause", "drop_oldest", "disconnect"):
            raise ValueError(f"overflow={overflow!r}: give 'pause', 'drop_oldest' or 'disconnect'")
        if on_gap is not None and not callable(on_gap):
            raise TypeError(f"on_gap={on_gap!r}: give a function, or None")
        if isinstance(buffer_limit, bool) or not isinstance(buffer_limit, int) or buffer_limit <= 0:
            raise ValueError(f"buffer_limit={buffer_limit!r}: give bytes, an int greater than 0")
        super().__init__(connection_pool, *args, **kwargs)
        self._on_gap = on_gap
        self._buffer_limit = buffer_limit
        self._overflow = overflow
        self._dropped = 0
        self._lost: BaseException | None = None

    # ---- gaps ----

    async def on_connect(self, connection: Any) -> None:
        """Subscribe anew to what was subscribed to before; that is a gap."""
        link = getattr(connection, "link", None)
        if link is not None:
            decode = bool(self.encoder.decode_responses)
            link.set_limit(self._buffer_limit, self._overflow, decode)
            self._dropped = 0
        again = self.subscribed
        await super().on_connect(connection)
        if again:
            error, self._lost = self._lost, None
            await self._announce("reconnected", error, None)

    async def connect(self) -> None:
        """Connect, unless connected."""
        fresh = self.connection is None
        await super().connect()
        link = getattr(self.connection, "link", None)
        if fresh and link is not None:
            decode = bool(self.encoder.decode_responses)
            link.set_limit(self._buffer_limit, self._overflow, decode)
            self._dropped = 0

    async def _announce(
        self, reason: str, error: BaseException | None, dropped: int | None
    ) -> None:
        if self._on_gap is None:
            return
        shards: dict[Any, Any] = getattr(self, "shard_channels", {})
        outcome = self._on_gap(
            Gap(
                reason,
                error,
                dropped,
                tuple(self.channels),
                tuple(self.patterns),
                tuple(shards),
                time.time(),
            )
        )
        if inspect.isawaitable(outcome):
            await outcome

    async def _look_for_drops(self, link: _native.Link) -> None:
        if link.dropped != self._dropped:
            count, self._dropped = link.dropped - self._dropped, link.dropped
            await self._announce("overflow", None, count)

    async def _reconnect(self, conn: Any, *args: Any, **kwargs: Any) -> None:
        error = args[0] if args else kwargs.get("error")
        self._lost = error if isinstance(error, BaseException) else self._lost
        await super()._reconnect(conn, *args, **kwargs)

    # ---- messages ----

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._plain = all(
            getattr(cls, name) is getattr(BasePubSub, name)
            for name in ("handle_message", "parse_response")
        )

    def _link(self) -> _native.Link | None:
        """The native connection, unless redis-py's code is to do it all."""
        connection = self.connection
        if not self._plain or self.push_handler_func is not None:
            return None
        if (
            not isinstance(connection, LeasedConnection)
            or type(connection._parser) is not LinkParser
        ):
            return None
        return connection.link

    def _next(self, link: _native.Link) -> Any:
        """The next message that has come, any other reply, or NOT_READY."""
        return link.next_message(
            self.encoder.decode_responses,
            self.channels,
            self.patterns,
            getattr(self, "shard_channels", None) or {},
        )

    async def _refused(self, link: _native.Link, reply: Any) -> bool:
        """Whether the server is loading its data, say: to be tried again on a new connection.

        Raises it if it is not to be tried again.
        """
        if not isinstance(reply, redis.exceptions.ConnectionError):
            return False
        if self.connection.retry.get_retries() == 0:
            await self._connect_anew(reply)
            raise reply
        self._lost = reply
        link.close()  # redis-py's code finds it so, and connects anew
        return True

    async def _handle(self, link: _native.Link, reply: Any, ignore: bool) -> Message | None:
        """What is no plain message: one with a handler, a subscription, a pong, an error."""
        if type(reply) is tuple:
            handler, message = reply
            outcome = handler(message)
            if outcome is not None and inspect.isawaitable(outcome):
                await outcome
            return None
        if isinstance(reply, Exception):
            raise reply
        connection = self.connection
        checked = connection is not None and connection.health_check_interval
        if checked and reply in self.health_check_response:
            return None
        if link.pushed and connection is not None:
            reply = await connection._parser.handle_push_response(reply)
        if not reply:
            return None
        return await self.handle_message(reply, ignore)

    async def get_message(
        self, ignore_subscribe_messages: bool = False, timeout: float | None = 0.0
    ) -> Message | None:
        """The next message, or None when none has come within `timeout` seconds (None: waits).

        A message with a handler, or a subscription that is ignored, counts as none: the handler
        is called, and None returned. Giving up while waiting loses nothing.

        Raises:
            redis.exceptions.ConnectionError: reconnecting failed; or the connection was lost, and
                there is no retry policy (retry=None, a pool of one's own).
            RuntimeError: nothing was subscribed to, or the PubSub is closed, now or meanwhile.
        """
        link = self._link()
        if link is not None:
            try:
                reply = self._next(link)
                if reply is _native.NOT_READY and (timeout is None or timeout > 0):
                    reply = await self._wait(link, timeout)
            except redis.exceptions.ConnectionError as error:
                if self._link() is link:  # else it was closed here, or somebody has connected anew
                    await self._connect_anew(error)
                    if self.connection.retry.get_retries() == 0:
                        raise  # as redis-py does without a retry policy: connected, but told
            else:
                if type(reply) is dict:
                    if link.dropped != self._dropped:
                        await self._look_for_drops(link)
                    return reply
                if await self._refused(link, reply):
                    return await super().get_message(ignore_subscribe_messages, timeout)
                if reply is not _native.NOT_READY:
                    return await self._handle(link, reply, ignore_subscribe_messages)
                if timeout is not None and timeout > 0:
                    return None  # in time, without anything
        return await super().get_message(ignore_subscribe_messages, timeout)

    async def _connect_anew(self, error: BaseException) -> None:
        self._lost = error
        connection = self.connection
        await connection.disconnect(nowait=True)
        await connection.connect()  # calls on_connect(), which subscribes

    async def _wait(self, link: _native.Link, timeout: float | None) -> Any:
        """The next reply of the link, or NOT_READY after `timeout` seconds.

        With a health_check_interval a silent connection is asked every so often whether it is
        still there, and given up when it does not answer.
        """
        await self.check_health()
        interval = self.connection.health_check_interval if self.connection is not None else 0
        end = None if timeout is None else time.monotonic() + timeout
        asked = False
        while True:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return _native.NOT_READY
            checking = bool(interval) and (left is None or interval < left)
            if await link.wait(interval if checking else left):
                asked = False
                connection: Any = self.connection
                if interval and connection is not None:
                    connection.next_health_check = asyncio.get_running_loop().time() + interval
                reply = self._next(link)
                if reply is not _native.NOT_READY:
                    return reply
            elif checking and asked:
                link.close()
                raise redis.exceptions.ConnectionError(
                    f"Connection given up: no answer to a health check in {interval} seconds."
                )
            elif checking:
                asked = True
                link.send([("PING", self.HEALTH_CHECK_MESSAGE)])

    async def listen(self) -> AsyncIterator[Message]:
        """Messages, until there is no subscription left, or the PubSub is closed."""
        while self.subscribed:
            link = self._link()
            message = _native.NOT_READY
            if link is not None:
                connection = self.connection
                take = link.next_message
                decode = self.encoder.decode_responses
                names = self.channels, self.patterns, getattr(self, "shard_channels", None) or {}
                for _ in range(_TURN):
                    try:
                        message = take(decode, *names)
                    except redis.exceptions.ConnectionError:
                        message = _native.NOT_READY  # get_message() connects anew
                    if type(message) is not dict:
                        break
                    yield message
                    if self.connection is not connection:
                        break
                else:
                    await asyncio.sleep(0)
                if link.dropped != self._dropped and self.connection is connection:
                    await self._look_for_drops(link)
                if type(message) is dict:
                    continue
            if link is None or message is _native.NOT_READY or await self._refused(link, message):
                try:
                    message = await self.get_message(timeout=None)
                except RuntimeError:
                    if self.connection is None:
                        return  # closed meanwhile
                    raise
            else:
                message = await self._handle(link, message, False)
            if message is not None:
                yield message

    async def run(
        self,
        *,
        exception_handler: Any = None,
        poll_timeout: float = 1.0,
        pubsub: Any = None,
    ) -> None:
        """Call the handlers of what comes, until cancelled; as redis.asyncio's run()."""
        await super().run(
            exception_handler=exception_handler,
            poll_timeout=poll_timeout,
            pubsub=_Batches(self) if pubsub is None else pubsub,
        )


class _Batches:
    """Gives run() many messages for one: it lets other tasks run after each call."""

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub

    async def get_message(
        self, ignore_subscribe_messages: bool = False, timeout: float | None = 0.0
    ) -> None:
        pubsub = self._pubsub
        await pubsub.get_message(ignore_subscribe_messages, timeout)
        link = pubsub._link()
        for _ in range(_TURN if link is not None else 0):
            assert link is not None
            if link.pending == 0 or pubsub._link() is not link:
                break
            reply = pubsub._next(link)
            if reply is _native.NOT_READY:
                break
            if type(reply) is not dict:
                await pubsub._handle(link, reply, ignore_subscribe_messages)
