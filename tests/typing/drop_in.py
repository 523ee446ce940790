"""aiecs_redis.Redis in the place of redis.asyncio.Redis."""

from __future__ import annotations

from typing import Any

import redis.asyncio
import redis.asyncio.client
import redis.exceptions
from redis.asyncio.lock import Lock
from redis.commands.core import AsyncScript
from typing_extensions import assert_type

import aiecs_redis
from aiecs_redis import OutcomeUnknownError, Pipeline, Redis


async def either(r: Redis) -> None:
    """Without a parameter the strings in replies may be both."""
    assert_type(await r.get("k"), "bytes | str | None")
    assert_type(await r.mget(["a", "b"]), "list[bytes | str | None]")
    assert_type(await r.hgetall("h"), "dict[bytes | str, bytes | str]")
    assert_type(await r.incr("n"), int)
    assert_type(await r.set("k", "v", ex=3, nx=True), "bool | None")


async def constructing(settings: dict[str, Any], decode: bool) -> None:
    assert_type(Redis(), Redis[bytes])
    assert_type(Redis(host="localhost", pool_timeout=3, decode_responses=False), Redis[bytes])
    assert_type(Redis(host="localhost", decode_responses=True), Redis[str])
    assert_type(Redis(decode_responses=decode), Redis)
    assert_type(aiecs_redis.StrictRedis(decode_responses=True), Redis[str])
    assert_type(Redis.from_url("redis://localhost", max_pending_bytes=1 << 20), Redis)
    assert_type(Redis[str].from_url("redis://localhost", decode_responses=True), Redis[str])
    assert_type(Redis.from_pool(redis.asyncio.ConnectionPool()), Redis)
    pool = redis.asyncio.ConnectionPool(decode_responses=True)
    assert_type(Redis(connection_pool=pool), Redis)
    of_pool: Redis[str] = Redis(connection_pool=pool)
    assert_type(await of_pool.get("k"), "str | None")
    await takes_either(Redis(**settings))
    text: Redis[str] = Redis[str](**settings)
    assert_type(await text.get("k"), "str | None")


async def life() -> None:
    async with Redis(decode_responses=True) as client:
        assert_type(client, Redis[str])
        assert_type(client.client(), Redis[str])
        assert_type(await client, Redis[str])
        await takes_original(client)
        await takes_either(client)
    await client.aclose(close_connection_pool=True)


async def takes_original(client: redis.asyncio.Redis) -> None:
    await client.get("k")


async def takes_either(client: Redis) -> None:
    await client.get("k")


async def dictionaries(r: Redis[str]) -> None:
    """Mappings and dicts with any types of keys and values that can be sent."""
    texts: dict[str, str] = {"a": "1"}
    numbers: dict[bytes, float] = {b"a": 1}
    mixed: dict[str, int | str | bytes] = {"a": 1, "b": "2"}
    await r.mset(texts)
    await r.mset(mixed)
    await r.hset("h", mapping=texts)
    await r.hset("h", mapping=numbers)
    await r.zadd("z", numbers)
    await r.xadd("s", texts)
    await r.xadd("s", mixed)
    await r.xadd("s", {"a": 1, "b": "2"})
    await r.xread({"s": "0", "t": 0})


async def pipelines(r: Redis[str]) -> None:
    async with r.pipeline(transaction=False) as pipe:
        assert_type(pipe, Pipeline[str])
        pipe.set("a", 1)
        pipe.hset("h", mapping={"field": "value"})
        chained: Pipeline[str] = pipe.get("a").incr("b", 2).zadd("z", {"m": 1}).expire("z", 9)
        assert_type(await chained.execute(), list[Any])
        assert_type(await pipe.execute(raise_on_error=False), list[Any])
        assert_type(len(pipe), int)
    original: redis.asyncio.client.Pipeline = pipe
    await original.watch("k")
    assert_type(await r.pipeline(), Pipeline[str])


async def transactions(r: Redis[str]) -> None:
    async with r.pipeline() as pipe:
        assert_type(await pipe.watch("n"), bool)
        number = int(await pipe.get("n") or 0)
        pipe.multi()
        pipe.set("n", number + 1)
        await pipe.execute()
        await pipe.unwatch()
        await pipe.reset()

    async def double(pipe: Pipeline[str]) -> None:
        value = await pipe.get("n")
        pipe.multi()
        pipe.set("n", 2 * int(value))

    assert_type(await r.transaction(double, "n"), Any)


async def locks_and_scripts(r: Redis[str]) -> None:
    lock = assert_type(r.lock("l", timeout=5), Lock)
    if await lock.acquire(blocking=False):
        await lock.release()
    async with r.lock("l"):
        pass
    script = assert_type(r.register_script("return 1"), AsyncScript)
    await script(keys=["k"], args=[1])


async def subscriptions(r: Redis[str]) -> None:
    async with r.pubsub(ignore_subscribe_messages=True) as pubsub:
        original: redis.asyncio.client.PubSub = pubsub
        await original.subscribe("channel")
        await pubsub.subscribe("a", ["b", "c"], d=lambda message: print(message["data"]))
        await pubsub.psubscribe("a*")
        assert_type(await pubsub.get_message(timeout=1), "dict[str, Any] | None")
        async for message in pubsub.listen():
            assert_type(message, dict[str, Any])
        await pubsub.unsubscribe()
        assert_type(pubsub.subscribed, bool)
    await pubsub.aclose()


class Subclass(Redis):
    """As applications write them."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        return await super().execute_command(*args, **options)

    async def name(self) -> str:
        value = await self.get("name")
        return value.decode() if isinstance(value, bytes) else value or ""


class Texts(Redis[str]):
    async def name(self) -> str:
        return await self.get("name") or ""


async def subclasses(r: Subclass) -> None:
    assert_type(Subclass.from_url("redis://localhost"), Subclass)
    assert_type(Texts.from_url("redis://localhost", decode_responses=True), Texts)
    assert_type(await Texts(decode_responses=True).get("k"), "str | None")
    async with Subclass(host="localhost") as client:
        assert_type(client, Subclass)


async def errors(r: Subclass) -> None:
    try:
        await r.incr("n")
    except OutcomeUnknownError as error:
        known: redis.exceptions.ConnectionError = error
        print(known)


def at_runtime(client: object) -> None:
    if isinstance(client, Redis):
        client.get_connection_kwargs()
