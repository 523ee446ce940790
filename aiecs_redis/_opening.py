"""Makes the Redis object under a RedisClient, and tests its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError, TimeoutError

from aiecs_redis import settings
from aiecs_redis._options import ConnectRetry
from aiecs_redis.client import Redis

__all__ = ["open_redis", "test_connection"]


def _connectable(arguments: dict[str, Any]) -> Redis:
    if "connection_pool" in arguments:
        return Redis(**arguments)
    own_policy = any(arguments.get(key) for key in ("retry", "retry_on_error"))
    retry_on_timeout = arguments.pop("retry_on_timeout")
    if not own_policy:
        arguments["retry"] = ConnectRetry(ExponentialBackoff(), 3)
    client = Redis(**arguments)
    # Not through the constructor: it only warns that redis-py retries anyway.
    made = client.connection_pool.connection_kwargs
    made["retry_on_timeout"] = retry_on_timeout
    if not made.get("retry_on_error"):
        made.pop("retry_on_error", None)  # a list of the pool's that every connection would extend
    client._configure()
    return client


def _say_where(exc: RedisError, where: str) -> None:
    # redis-py names the server when it refuses, not when it times out or rejects the password.
    text = str(exc)
    if where.rpartition("/")[0] not in text and len(exc.args) < 2:
        exc.args = (f"{text} ({where})",)


async def test_connection(client: Any, where: str) -> None:
    """PING once; an error, of redis.exceptions, says where the server is."""
    limits = client.connection_pool.connection_kwargs
    patience = [limits.get(key) for key in ("socket_connect_timeout", "socket_timeout")]
    # A host that swallows packets is given one attempt, not several.
    limit = None if None in patience else max(patience) + 1
    try:
        await asyncio.wait_for(client.ping(), limit)
    except asyncio.TimeoutError:
        raise TimeoutError(f"Timeout connecting to server ({where})") from None
    except RedisError as exc:
        _say_where(exc, where)
        raise


async def open_redis(config: Mapping[str, Any]) -> tuple[Redis, str]:
    """Return a connected client and its location, `host:port/db`.

    Args:
        config: explicit settings; the environment and the defaults complete them.

    Raises:
        ValueError: a wrong setting.
        redis.exceptions.RedisError: the server cannot be reached, or sends us away.
    """
    arguments = settings.load(config)
    where = settings.location(arguments)
    client = _connectable(arguments)
    try:
        await test_connection(client, where)
    except BaseException:
        await client.aclose()
        raise
    return client, where
