"""Hearing which keys changed: client tracking in broadcast mode, on a connection of its own.

The connection redirects its invalidations to itself and subscribes to the channel they come
through, in RESP2: tracking and listening end together, there is nothing to match up. Whatever is
known locally is worth nothing without it, so that the listener says when it is connected.

A cluster's master tells of its own keys only: each one has a listener, and who the masters are is
asked every so often, and whenever a listener loses its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from aiecs_redis._backoff import Backoff
from aiecs_redis._nodes import is_cluster, masters, node_settings
from aiecs_redis._tasks import happens, stop, supervised
from aiecs_redis._underlying import check_client, text, underlying

__all__ = ["Invalidations"]

logger: logging.Logger = logging.getLogger(__name__)

_CHANNEL = "__redis__:invalidate"
_OURS = {
    "protocol": 2,
    "decode_responses": False,
    "retry_on_error": [],
    "retry_on_timeout": False,
    "health_check_interval": 0,
}
_TROUBLE = 0.2  # seconds between questions who the masters are while something is wrong
_NOT_FOR_RESP2 = (
    "maint_notifications_config",
    "maint_notifications_pool_handler",
    "orig_host_address",
    "orig_socket_timeout",
    "orig_socket_connect_timeout",
)


def _connection(connection_class: type[Any], settings: dict[str, Any]) -> Any:
    """A redis-py connection, in RESP2, that never repeats anything."""
    settings = {k: v for k, v in settings.items() if k not in _NOT_FOR_RESP2}
    settings.update(_OURS, retry=Retry(NoBackoff(), 0))
    return connection_class(**settings)


class Invalidations:
    """Tells which keys with some prefixes were changed, deleted, evicted or expired.

    Args:
        client: a RedisClient, an aiecs_redis.Redis, a redis.asyncio.Redis or a RedisCluster.
        prefixes: no one of them begins with another one.
        on_keys: called with the names of changed keys, as str.
        on_flush: called when any key may have changed: the connection was lost, or all keys
            were deleted. Called before `connected` turns true again, too.
        heartbeat: seconds between two tests of a connection; one that is silent for twice as
            long is lost. So often a cluster is asked for its masters.
    """

    def __init__(
        self,
        client: Any,
        prefixes: Sequence[str],
        *,
        on_keys: Callable[[list[str]], None],
        on_flush: Callable[[], None],
        heartbeat: float = 5.0,
    ) -> None:
        self._client = check_client(client)
        self._prefixes = list(prefixes)
        self._on_keys = on_keys
        self._on_flush = on_flush
        self._heartbeat = heartbeat
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._cluster: Any = None  # None: one server
        self._listeners: dict[str, _Listener] = {}  # by the name of the node
        self._complete = True  # no master is without one
        self._trouble = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether every change is told of at the moment."""
        listeners = self._listeners.values()
        return self._complete and bool(listeners) and all(one.connected for one in listeners)

    def cover(self, name: str) -> bool:
        """Whether changes of this key are told of at the moment."""
        if self._cluster is None:
            return self.connected
        try:
            node = self._cluster.get_node_from_key(name)
        except redis.exceptions.RedisError:  # nobody has its slot
            return False
        listener = self._listeners.get(node.name) if node is not None else None
        return listener is not None and listener.connected

    def start(self) -> None:
        """Begin to listen, in the running loop; does nothing when it does already."""
        if self._task is None:
            self._task = asyncio.ensure_future(supervised(self._run()))

    async def wait(self) -> bool:
        """Wait for the first connection, or its failure; return whether it is connected."""
        self.start()
        await self._tried.wait()
        return self.connected

    async def aclose(self) -> None:
        """Stop listening."""
        task, self._task = self._task, None
        await stop(task)
        self._tried.clear()

    async def _run(self) -> None:
        try:
            while True:
                try:
                    redis_ = await underlying(self._client)
                    break
                except RuntimeError as exc:  # a RedisClient that is not initialized yet
                    logger.info("Client tracking has no client: %s", exc)
                    self._tried.set()
                    await asyncio.sleep(_TROUBLE)
            if is_cluster(redis_):
                await self._follow(redis_)
            else:
                await self._listen_to("", self._to_the_server)
                self._tried.set()
                await self._listeners[""].ended()
        finally:
            await self._part(*self._listeners)

    async def _to_the_server(self) -> Any:
        pool = (await underlying(self._client)).connection_pool
        return _connection(pool.connection_class, pool.connection_kwargs)

    async def _listen_to(self, name: str, connect: Callable[[], Awaitable[Any]]) -> None:
        listener = self._listeners[name] = _Listener(
            connect,
            self._prefixes,
            on_keys=self._on_keys,
            on_flush=self._on_flush,
            on_lost=self._trouble.set,
            heartbeat=self._heartbeat,
        )
        await listener.start()

    async def _part(self, *names: str) -> None:
        for name in names:
            await self._listeners.pop(name).aclose()

    async def _follow(self, cluster: Any) -> None:
        """One listener for each master, whoever that is."""
        self._cluster = cluster
        pause, again = self._heartbeat, False
        while True:
            self._trouble.clear()
            try:
                found = await masters(cluster, anew=again)
                again = True
                self._complete = found.keys() <= self._listeners.keys()
                await self._part(*(name for name in self._listeners if name not in found))
                fresh = [name for name in found if name not in self._listeners]

                def to(node: Any) -> Callable[[], Awaitable[Any]]:
                    async def connect() -> Any:
                        return _connection(*node_settings(node))

                    return connect

                await asyncio.gather(*(self._listen_to(name, to(found[name])) for name in fresh))
                self._complete = True
                pause = self._heartbeat
            except (redis.exceptions.RedisError, OSError) as exc:
                logger.info("The cluster does not tell who its masters are: %s", exc)
                pause = _TROUBLE
            self._tried.set()
            if not await happens(self._trouble, pause if self.connected else _TROUBLE):
                continue
            await asyncio.sleep(_TROUBLE)


class _Listener:
    """The connection to one server."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        prefixes: Sequence[str],
        *,
        on_keys: Callable[[list[str]], None],
        on_flush: Callable[[], None],
        on_lost: Callable[[], None],
        heartbeat: float,
    ) -> None:
        self._connect = connect
        self._prefixes = prefixes
        self._on_keys = on_keys
        self._on_flush = on_flush
        self._on_lost = on_lost
        self._heartbeat = heartbeat
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self.connected = False

    async def start(self) -> None:
        """Begin to listen; returns after the first attempt to connect."""
        self._task = asyncio.ensure_future(supervised(self._run()))
        await self._tried.wait()

    async def ended(self) -> None:
        """Wait until the server has refused tracking, which may be never."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def aclose(self) -> None:
        """Stop listening."""
        task, self._task = self._task, None
        await stop(task)

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            connection = None
            try:
                connection = await self._connect()
                await asyncio.wait_for(self._open(connection), 2 * self._heartbeat)
                self._on_flush()
                self.connected = True
                self._tried.set()
                backoff.reset()
                await self._listen(connection)
            except redis.exceptions.AuthenticationError as exc:
                logger.error("Client tracking: %s", exc)
            except redis.exceptions.ResponseError as exc:
                logger.error("Client tracking is refused, nothing is cached locally: %s", exc)
                return
            except (redis.exceptions.RedisError, OSError, asyncio.TimeoutError) as exc:
                logger.info("Client tracking lost its connection, connecting again: %s", exc)
            except RuntimeError as exc:  # a RedisClient that was closed: it may be opened again
                logger.info("Client tracking has no client: %s", exc)
            except Exception as exc:
                logger.exception("Client tracking failed, connecting again: %s", exc)
            finally:
                if self.connected:
                    self.connected = False
                    self._on_flush()
                self._tried.set()
                self._on_lost()
                if connection is not None:
                    with contextlib.suppress(redis.exceptions.RedisError, OSError):
                        await connection.disconnect(nowait=True)
            await asyncio.sleep(backoff.next())

    async def _open(self, connection: Any) -> None:
        await connection.connect()
        await connection.send_command("CLIENT", "ID")
        own = await connection.read_response()
        prefixes = [word for prefix in self._prefixes if prefix for word in ("PREFIX", prefix)]
        await connection.send_command(
            "CLIENT", "TRACKING", "ON", "REDIRECT", own, "BCAST", *prefixes
        )
        await connection.read_response()
        await connection.send_command("SUBSCRIBE", _CHANNEL)
        await connection.read_response()

    async def _listen(self, connection: Any) -> None:
        beating = asyncio.ensure_future(self._beat(connection))
        try:
            while True:
                message = await connection.read_response(
                    timeout=2 * self._heartbeat, disconnect_on_error=False
                )
                if message is None:
                    raise redis.exceptions.TimeoutError("silent in spite of PING")
                if message[0] != b"message":
                    continue  # the answer to PING
                if message[2] is None:
                    self._on_flush()
                else:
                    self._on_keys([text(key) for key in message[2]])
        finally:
            await stop(beating)

    async def _beat(self, connection: Any) -> None:
        while True:
            await asyncio.sleep(self._heartbeat)
            with contextlib.suppress(redis.exceptions.RedisError, OSError):
                await connection.send_command("PING", check_health=False)
