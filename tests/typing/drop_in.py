"""aiecs_redis.Redis in the place of redis.asyncio.Redis: its commands have redis-py's types."""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio
from typing_extensions import assert_type

import aiecs_redis
from aiecs_redis import OutcomeUnknownError, Pipeline, Redis


async def commands(r: Redis, original: redis.asyncio.Redis) -> None:
    assert_type(await r.get("k"), "bytes | str | None")
    assert_type(await r.set("k", "v", ex=3, nx=True), "bool | str | bytes | None")
    assert_type(await r.mget(["a", "b"]), "list[bytes | str | None]")
    assert_type(await r.hgetall("h"), "dict[bytes | str, bytes | str]")
    assert_type(await r.incr("n"), int)
    assert_type(await r.lpush("l", "a", "b"), int)
    assert_type(await r.delete("a", "b"), int)
    assert_type(await r.ping(), bool)
    assert_type(await r.ttl("k"), int)
    assert_type(await r.execute_command("OBJECT", "ENCODING", "k"), Any)
    # Whatever redis-py's release says, the same is said of ours.
    value = await original.zrange("z", 0, -1)
    value = await r.zrange("z", 0, -1)
    streams = await original.xread({"s": "0"})
    streams = await r.xread({"s": "0"})
    print(value, streams)


async def awaitables(r: Redis) -> None:
    assert_type(await asyncio.gather(r.get("a"), r.incr("n")), "tuple[bytes | str | None, int]")
    assert_type(await asyncio.wait_for(r.get("a"), 1), "bytes | str | None")
    assert_type(await asyncio.ensure_future(r.incr("n")), int)
    asyncio.create_task(r.execute_command("PING"))


async def constructing() -> None:
    assert_type(Redis.from_url("redis://localhost", max_pending_bytes=1 << 20), Redis)
    assert_type(aiecs_redis.StrictRedis(host="localhost", pool_timeout=3), Redis)
    async with Redis(decode_responses=True) as client:
        assert_type(client, Redis)
        assert_type(client.client(), Redis)
        await takes_original(client)
    await client.aclose(close_connection_pool=True)


async def takes_original(client: redis.asyncio.Redis) -> None:
    await client.get("k")


async def pipelines(r: Redis) -> None:
    async with r.pipeline(transaction=False) as pipe:
        assert_type(pipe, Pipeline)
        pipe.set("a", 1)
        pipe.hset("h", mapping={"field": "value"})
        assert_type(await pipe.execute(), list[Any])
    original: redis.asyncio.client.Pipeline = pipe
    await original.watch("k")


class Subclass(Redis):
    """As applications write them."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        return await super().execute_command(*args, **options)

    async def name(self) -> str:
        value = await self.get("name")
        return value.decode() if isinstance(value, bytes) else value or ""


async def errors(r: Subclass) -> None:
    assert_type(Subclass.from_url("redis://localhost"), Subclass)
    try:
        await r.incr("n")
    except OutcomeUnknownError as error:
        known: redis.exceptions.ConnectionError = error
        print(known)


async def mistakes(r: Redis) -> None:
    """Each of these is an error; an ignore that is not needed would be one, too."""
    await r.no_such_command()  # type: ignore[attr-defined]
    number: int = await r.get("k")  # type: ignore[assignment]
    await r.set("k", object())  # type: ignore[arg-type]
    await r.get("k", 1)  # type: ignore[call-arg]
    print(number)
