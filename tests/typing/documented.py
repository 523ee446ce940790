"""The documented API, with the types that its documentation tells."""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

import aiecs_redis
from aiecs_redis import (
    Redis,
    RedisClient,
    close_redis_client,
    get_redis_client,
    initialize_redis_client,
)
from aiecs_redis.redis_client import redis_client


async def globals_() -> None:
    await initialize_redis_client()
    client = await get_redis_client()
    assert_type(client, RedisClient)
    assert_type(redis_client, "RedisClient | None")
    assert_type(aiecs_redis.redis_client.redis_client, "RedisClient | None")
    await close_redis_client()


async def methods(client: RedisClient) -> None:
    assert_type(await client.get("k"), "str | None")
    assert_type(await client.set("k", "v", ex=3), bool)
    assert_type(await client.delete("a", "b"), int)
    assert_type(await client.exists("k"), bool)
    assert_type(await client.expire("k", 3), bool)
    assert_type(await client.ping(), bool)
    assert_type(await client.hset("h", {"field": 1}), int)
    assert_type(await client.hset("h", "field", 1), int)
    assert_type(await client.hset("h", mapping={"field": 1}), int)
    assert_type(await client.hget("h", "field"), "str | None")
    assert_type(await client.hgetall("h"), "dict[str, str]")
    assert_type(await client.hincrby("h", "field", 2), int)
    assert_type(await client.info("memory"), dict[str, Any])
    assert_type(await client.get_connection_info(), dict[str, Any])
    assert_type(await client.get_client(), Redis[str])
