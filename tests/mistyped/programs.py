"""Mistakes. Type checkers find one in every line that says so, and no other."""

from __future__ import annotations

import asyncio

from aiecs_redis import Pipeline, Redis, RedisClient


async def commands(r: Redis[str]) -> None:
    await r.no_such_command()  # wrong
    await r.get("k", 1)  # wrong
    await r.get(key="k")  # wrong
    await r.get(None)  # wrong
    await r.set("k", object())  # wrong
    await r.set("k", {"a": 1})  # wrong
    await r.set("k", "v", expire=3)  # wrong
    await r.set("k", "v", ex="3")  # wrong
    await r.hset("h", mapping=["a", "b"])  # wrong
    await r.zadd("z", [("member", 1)])  # wrong
    await r.incr("n", "1")  # wrong
    await r.expire("k", 1.5)  # wrong
    await r.blpop("l", "1")  # wrong


async def replies(r: Redis[str], raw: Redis[bytes], either: Redis) -> None:
    number: int = await r.get("k")  # wrong
    text: str = await r.get("k")  # wrong
    more: str = await raw.hget("h", "f") or ""  # wrong
    length = len(await r.incr("n"))  # wrong
    (await raw.type("k")).encode()  # wrong
    (await either.type("k")).encode()  # wrong
    scores: dict[str, int] = await r.hgetall("h")  # wrong
    members: list[str] = await r.zrange("z", 0, -1, withscores=True)  # wrong
    await r.get("k").upper()  # wrong
    r.get("k") + "text"  # wrong
    print(number, text, more, length, scores, members)


async def awaiting(r: Redis[str]) -> None:
    task: asyncio.Task[int] = asyncio.create_task(r.get("k"))  # wrong
    value: int = await asyncio.wait_for(r.get("k"), 1)  # wrong
    for key in r.scan_iter():  # wrong
        print(key)
    async for other in r.keys():  # wrong
        print(other)
    await r.scan_iter()  # wrong
    with r.lock("l"):  # wrong
        print(task, value)


async def pipelines(r: Redis[str]) -> None:
    async with r.pipeline() as pipe:
        pipe.get("a").no_such_command()  # wrong
        pipe.get("a").incr("b", "1")  # wrong
        pipe.hset("h", 1, 2, 3, 4, 5)  # wrong
        replies: tuple[str] = await pipe.execute()  # wrong
        pipe.execute().append(1)  # wrong
        print(replies)
    raw: Pipeline[bytes] = r.pipeline()  # wrong
    print(raw)


def constructing() -> None:
    Redis("localhost")  # wrong
    Redis(hots="localhost")  # wrong
    Redis(port="6379")  # wrong
    Redis(pool_timeout="1")  # wrong
    decoded: Redis[str] = Redis()  # wrong
    other: Redis[int] | None = None  # wrong
    Redis.from_url(6379)  # wrong
    print(decoded, other)


async def documented(client: RedisClient) -> None:
    await client.lpush("k", "v")  # wrong
    number: int = await client.get("k")  # wrong
    await client.set("k", "v", expire=3)  # wrong
    await client.hget("h")  # wrong
    print(number)
