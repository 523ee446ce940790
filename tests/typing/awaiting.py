"""A command is a coroutine to everything that takes one."""

from __future__ import annotations

import asyncio
import sys

from typing_extensions import assert_type

from aiecs_redis import Redis, RedisClient


async def awaitables(r: Redis[str]) -> None:
    assert_type(await asyncio.gather(r.get("a"), r.incr("n")), "tuple[str | None, int]")
    assert_type(await asyncio.gather(*[r.get(key) for key in "abc"]), "list[str | None]")
    assert_type(await asyncio.wait_for(r.get("a"), 1), "str | None")
    assert_type(await asyncio.shield(r.incr("n")), int)
    assert_type(await asyncio.ensure_future(r.incr("n")), int)
    for done in asyncio.as_completed([r.incr("n"), r.incr("m")]):
        assert_type(await done, int)


async def tasks(r: Redis[str]) -> None:
    task = asyncio.create_task(r.get("a"))
    assert_type(task, "asyncio.Task[str | None]")
    assert_type(await task, "str | None")
    asyncio.create_task(r.execute_command("PING"))
    if sys.version_info >= (3, 11):
        async with asyncio.TaskGroup() as group:
            assert_type(group.create_task(r.incr("n")), "asyncio.Task[int]")


async def documented(client: RedisClient) -> None:
    assert_type(await asyncio.gather(client.get("a"), client.ping()), "tuple[str | None, bool]")
    assert_type(await asyncio.create_task(client.hincrby("h", "f")), int)
    assert_type(await asyncio.wait_for(client.hgetall("h"), 1), "dict[str, str]")


def run(r: Redis[bytes]) -> None:
    assert_type(asyncio.run(r.get("a")), "bytes | None")
