"""One pub/sub connection that outlives the connections it is made of, and tells of gaps.

Our own PubSub connects anew by itself and tells of the gap (`on_gap`); redis-py's repeats its
subscriptions without a word, so there a subscription that is confirmed twice gives it away.

One task owns the PubSub, as its connection is not made for two. It hears of new wishes,
and sees whether the connection still lives, through messages on a channel of its own which it
publishes itself: that works with every PubSub of every redis-py, RESP2 and RESP3, and shows that
the whole way is open, not only that something answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import uuid
from collections.abc import Callable
from typing import Any

import redis.exceptions

from aiecs_redis._backoff import Backoff
from aiecs_redis._nodes import any_master, is_cluster
from aiecs_redis._tasks import stop, supervised
from aiecs_redis._underlying import check_client, text, underlying

__all__ = ["Subscriber"]

logger: logging.Logger = logging.getLogger(__name__)

Handler = Callable[[str, Any], None]
_LOST = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError)
_WAKE, _BEAT = "wake", "beat"


class Subscriber:
    """Channels and patterns with a synchronous handler each, over one connection.

    It connects with the first subscription, and again whenever the connection is lost, until
    `aclose()`. Belongs to the event loop in which it subscribes first.

    Args:
        client: a RedisClient, an aiecs_redis.Redis, a redis.asyncio.Redis, or a RedisCluster:
            one of its masters then, as published messages reach all of them.
        on_gap: called with a reason when messages may have been missed, after everything has
            been subscribed again.
        on_trouble: called when the connection is lost, or cannot be made.
        on_connected: awaited after each connection, before waiters are told and before
            `on_gap`; an exception of it counts as a lost connection, and reaches those who
            wait in `subscribe()`.
        heartbeat: seconds without a message after which the connection is tested; it is given
            up after as many again without an answer.
    """

    def __init__(
        self,
        client: Any,
        *,
        on_gap: Callable[[str], None] | None = None,
        on_trouble: Callable[[], None] | None = None,
        on_connected: Callable[[], Any] | None = None,
        heartbeat: float = 10.0,
    ) -> None:
        self._client = check_client(client)
        self._on_gap = on_gap
        self._on_trouble = on_trouble
        self._on_connected = on_connected
        self._heartbeat = heartbeat
        self._own = f"aiecs:subscriber:{uuid.uuid4().hex}"
        self._wanted: dict[tuple[str, bool], Handler] = {}  # (name, is it a pattern)
        self._active: set[tuple[str, bool]] = set()  # confirmed by the server
        self._asked: set[tuple[str, bool]] = set()  # sent, not confirmed
        self._waiting: dict[tuple[str, bool], list[asyncio.Future[None]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._wakes: set[asyncio.Task[None]] = set()
        self._gap: str | None = None  # why messages were missed, until it is told
        self._redis: Any = None  # what the subscription is with, and publishes to itself through
        self._repeated = False  # the PubSub has subscribed anew, and said so

    async def subscribe(self, name: str, handler: Handler, *, pattern: bool = False) -> None:
        """Call `handler(channel, data)` for every message; returns when the server confirmed.

        A handler must not raise and not take long. A name has one handler.

        Raises:
            redis.exceptions.RedisError: the first connection fails, or the server refuses.
        """
        wish = (name, pattern)
        self._wanted[wish] = handler
        if wish in self._active:
            return
        confirmed = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(wish, []).append(confirmed)
        try:
            self._wake()
            await confirmed
        finally:
            with contextlib.suppress(KeyError, ValueError):
                self._waiting[wish].remove(confirmed)

    def unsubscribe(self, name: str, *, pattern: bool = False) -> None:
        """Forget a name; messages under way are no longer handed out."""
        if self._wanted.pop((name, pattern), None) is not None:
            self._wake()

    async def aclose(self) -> None:
        """Close the connection; who waits in `subscribe()` is told. The next one opens another."""
        self._wanted.clear()
        task, self._task = self._task, None
        await stop(task, *self._wakes)
        self._gap = None
        self._fail_waiting(redis.exceptions.ConnectionError("The subscription was closed."))

    # --------------------------------------------------------- the owner's task

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(supervised(self._run()))
        else:
            task = asyncio.ensure_future(self._publish(_WAKE))
            self._wakes.add(task)
            task.add_done_callback(self._wakes.discard)

    async def _publish(self, word: str) -> None:
        # When it fails, the heartbeat's time-out brings the owner to the wishes.
        try:
            if self._redis is not None:
                await self._redis.publish(self._own, word)
        except redis.exceptions.ResponseError as exc:
            logger.error("Cannot publish on aiecs:subscriber:*, which subscriptions need: %s", exc)
        except (redis.exceptions.RedisError, OSError, RuntimeError) as exc:
            logger.debug("The subscription's message to itself was not sent: %s", exc)

    async def _run(self) -> None:
        backoff = Backoff()
        failed = False
        while True:
            node = None
            try:
                self._redis = await underlying(self._client)
                if is_cluster(self._redis):
                    self._redis = node = await any_master(self._redis, anew=failed)
                pubsub = self._open(self._redis)
                try:
                    await self._serve(pubsub, backoff)
                finally:
                    if self._active and self._gap is None:
                        self._gap = "the connection was lost"
                    self._active.clear()
                    self._asked.clear()
                    await _close(pubsub)
            except Exception as exc:
                # RuntimeError: a RedisClient that was closed; it may be opened again.
                passing = isinstance(exc, (*_LOST, RuntimeError))
                level = logging.INFO if passing else logging.ERROR
                logger.log(level, "Subscription lost, connecting again: %s", exc)
                self._fail_waiting(exc)
                failed = True
                if self._on_trouble is not None:
                    self._on_trouble()
            finally:
                self._redis = None
                if node is not None:
                    await _close(node)
            await asyncio.sleep(backoff.next())

    def _open(self, redis_: Any) -> Any:
        self._repeated = False
        pubsub = redis_.pubsub()
        if "on_gap" in inspect.signature(type(pubsub)).parameters:
            pubsub = redis_.pubsub(on_gap=self._interrupted)
        return pubsub

    def _interrupted(self, gap: Any) -> None:
        """Our PubSub has subscribed anew, or has dropped messages."""
        if gap.reason == "reconnected":
            self._repeated = True
            if self._on_trouble is not None:
                self._on_trouble()
            if self._active and self._gap is None:
                because = "" if gap.error is None else f": {gap.error}"
                self._gap = f"the connection was lost{because}"
            self._asked |= self._active  # until they are confirmed
            self._active.clear()
        elif self._active:
            self._gap = f"{gap.dropped} messages came faster than they were taken"
            self._tell_gap()

    def _fail_waiting(self, exc: Exception) -> None:
        """Whoever waits for a first confirmation learns why there is none."""
        for waiting in self._waiting.values():
            for confirmed in waiting:
                if not confirmed.done():
                    confirmed.set_exception(exc)
        self._waiting.clear()

    async def _serve(self, pubsub: Any, backoff: Backoff) -> None:
        await pubsub.subscribe(self._own)
        ready = tested = False
        while True:
            message = await pubsub.get_message(timeout=self._heartbeat)
            if message is None:
                if tested:
                    raise redis.exceptions.TimeoutError("the subscription does not answer")
                tested = True
                await self._publish(_BEAT)
                await self._ask(pubsub)
                continue
            tested = False
            kind, channel = message["type"], text(message["channel"] or "")
            if kind in ("message", "pmessage"):
                if channel == self._own:
                    await self._ask(pubsub)
                else:
                    self._deliver(message, channel)
            elif kind in ("subscribe", "psubscribe"):
                if channel == self._own:
                    if not ready or self._repeated:
                        ready, self._repeated = True, False
                        await self._connected()
                        backoff.reset()
                        await self._ask(pubsub)
                    else:  # redis-py connected again by itself: it repeats every subscription
                        raise redis.exceptions.ConnectionError("the connection was replaced")
                else:
                    self._confirmed((channel, kind == "psubscribe"))

    async def _connected(self) -> None:
        if self._on_connected is not None:
            await self._on_connected()

    async def _ask(self, pubsub: Any) -> None:
        """Bring what is subscribed in line with what is wanted."""
        for name, pattern in [w for w in self._wanted if w not in self._active | self._asked]:
            self._asked.add((name, pattern))
            await (pubsub.psubscribe if pattern else pubsub.subscribe)(name)
        for name, pattern in [w for w in self._active | self._asked if w not in self._wanted]:
            self._active.discard((name, pattern))
            self._asked.discard((name, pattern))
            await (pubsub.punsubscribe if pattern else pubsub.unsubscribe)(name)
        self._tell_gap()

    def _confirmed(self, wish: tuple[str, bool]) -> None:
        if wish not in self._asked:
            return
        self._asked.discard(wish)
        self._active.add(wish)
        for confirmed in self._waiting.pop(wish, ()):
            if not confirmed.done():
                confirmed.set_result(None)
        self._tell_gap()

    def _tell_gap(self) -> None:
        """Once everything that is wanted is subscribed, so that nothing more is missed."""
        if self._gap is not None and not self._asked:
            reason, self._gap = self._gap, None
            if self._on_gap is not None:
                self._on_gap(reason)

    def _deliver(self, message: Any, channel: str) -> None:
        name = text(message["pattern"]) if message["type"] == "pmessage" else channel
        handler = self._wanted.get((name, message["type"] == "pmessage"))
        if handler is not None:
            try:
                handler(channel, message["data"])
            except Exception:
                logger.exception("A handler of %s failed", name)


async def _close(what: Any) -> None:
    with contextlib.suppress(redis.exceptions.RedisError, OSError):
        await (what.aclose() if hasattr(what, "aclose") else what.close())
