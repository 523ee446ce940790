"""From whatever client a user hands over to the redis.asyncio.Redis that runs the commands.

The toolkit (locks, caches, stores, events) takes a `RedisClient`, or a `Redis` or `RedisCluster` of
aiecs_redis or redis.asyncio, and asks for the one underneath at every use: a `RedisClient` has
another one after `close()` and `initialize()`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import redis.exceptions
from redis.client import NEVER_DECODE

__all__ = ["Lua", "binary", "check_client", "text", "underlying"]


def check_client(client: Any) -> Any:
    """Return the client; TypeError if it is none.

    Raises:
        TypeError: neither `get_client()` nor `execute_command()` is there, or it is a class or
            a synchronous client.
    """
    if isinstance(client, (redis.Redis, redis.RedisCluster)):
        raise TypeError(
            "this is redis-py's synchronous client: give a RedisClient, or a Redis or"
            " RedisCluster of aiecs_redis or redis.asyncio"
        )
    usable = hasattr(client, "get_client") or hasattr(client, "execute_command")
    if not usable or isinstance(client, type):
        raise TypeError(
            f"{client!r} is no Redis client: give a RedisClient, or a Redis or RedisCluster of"
            " aiecs_redis or redis.asyncio"
        )
    return client


async def underlying(client: Any) -> Any:
    """Return the redis.asyncio.Redis of a client; itself if it is one.

    Raises:
        RuntimeError: a `RedisClient` that is not initialized.
    """
    get_client = getattr(client, "get_client", None)
    return client if get_client is None else await get_client()


async def binary(redis_: Any, *args: Any) -> Any:
    """Run a command; its reply is bytes, whatever `decode_responses` says."""
    return await redis_.execute_command(*args, **{NEVER_DECODE: True})


def text(value: Any) -> str:
    """A reply as str; bytes that are not UTF-8 keep their value (surrogateescape)."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "surrogateescape")
    return str(value)


class Lua:
    """A script that is sent by its hash, and in full to a server that does not have it."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(
        self, redis_: Any, keys: Sequence[Any], args: Sequence[Any], *, raw: bool = False
    ) -> Any:
        """Run it; with `raw` its strings are bytes, whatever `decode_responses` says."""
        options: dict[str, Any] = {NEVER_DECODE: True} if raw else {}
        tail = (len(keys), *keys, *args)
        try:
            return await redis_.execute_command("EVALSHA", self.sha, *tail, **options)
        except redis.exceptions.NoScriptError:
            return await redis_.execute_command("EVAL", self.source, *tail, **options)
