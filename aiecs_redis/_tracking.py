"""Hearing which keys changed: client tracking in broadcast mode, on a connection of its own.

The connection redirects its invalidations to itself and subscribes to the channel they come
through, in RESP2: tracking and listening end together, there is nothing to match up. Whatever is
known locally is worth nothing without it, so that the listener says when it is connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from aiecs_redis._backoff import Backoff
from aiecs_redis._tasks import stop, supervised
from aiecs_redis._underlying import check_client, text, underlying

__all__ = ["Invalidations", "new_connection"]

logger: logging.Logger = logging.getLogger(__name__)

_CHANNEL = "__redis__:invalidate"
_OURS = {
    "protocol": 2,
    "decode_responses": False,
    "retry_on_error": [],
    "retry_on_timeout": False,
    "health_check_interval": 0,
}
_NOT_FOR_RESP2 = (
    "maint_notifications_config",
    "maint_notifications_pool_handler",
    "orig_host_address",
    "orig_socket_timeout",
    "orig_socket_connect_timeout",
)


def new_connection(redis_: Any) -> Any:
    """A redis-py connection to the client's server, in RESP2, that never repeats anything."""
    pool = redis_.connection_pool
    settings = {k: v for k, v in pool.connection_kwargs.items() if k not in _NOT_FOR_RESP2}
    settings.update(_OURS, retry=Retry(NoBackoff(), 0))
    return pool.connection_class(**settings)


class Invalidations:
    """Tells which keys with some prefixes were changed, deleted, evicted or expired.

    Args:
        client: a RedisClient, an aiecs_redis.Redis or a redis.asyncio.Redis.
        prefixes: no one of them begins with another one.
        on_keys: called with the names of changed keys, as str.
        on_flush: called when any key may have changed: the connection was lost, or all keys
            were deleted. Called before `connected` turns true again, too.
        heartbeat: seconds between two tests of the connection; one that is silent for twice as
            long is lost.

    Attributes:
        connected: whether changes are told of at the moment.
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
        self.connected = False

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
        backoff = Backoff()
        while True:
            connection = None
            try:
                connection = new_connection(await underlying(self._client))
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
