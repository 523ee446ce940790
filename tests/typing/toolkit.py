"""The toolkit as a type checker sees it."""

from __future__ import annotations

import dataclasses
from typing import Optional

from typing_extensions import assert_type

from aiecs_redis import RedisClient
from aiecs_redis.cache import CacheManager, CacheStats
from aiecs_redis.events import GapEvent, KeyEvent, KeyspaceEvents
from aiecs_redis.lock import DistributedLock
from aiecs_redis.retry import RetryPolicy, robust_redis_operation, safe_redis_operation
from aiecs_redis.serialization import Codec, Values
from aiecs_redis.sessions import Session, SessionStore
from aiecs_redis.tasks import TaskResultStore, TaskStatus, TaskStatusStore


@dataclasses.dataclass
class UserSession(Session):
    role: str = "guest"


async def lock(client: RedisClient) -> None:
    async with DistributedLock(client, "a", timeout=5, wait=None) as held:
        assert_type(held, DistributedLock)
        assert_type(held.token, Optional[int])
        await held.execute(("SET", "x", 1), ["INCR", "x"])
    assert_type(await DistributedLock(client, "a").acquire(wait=2.5), bool)


async def cache(client: RedisClient) -> None:
    manager = CacheManager(client, codec=Codec("json", compression="zlib"))

    @manager.cached(ttl=60, key="user:{user_id}")
    async def get_user(user_id: int) -> dict[str, str]:
        return {"id": str(user_id)}

    assert_type(await get_user(1), dict[str, str])
    await get_user.invalidate(1)
    assert_type(await manager.set("a", 1, tags=["t"]), bool)
    assert_type(await manager.invalidate_tag("t"), int)
    assert_type(manager.stats, CacheStats)
    await manager.get("a", loader=lambda: 5)


async def stores(client: RedisClient) -> None:
    assert_type(await TaskStatusStore(client).get("1"), Optional[TaskStatus])
    sessions = SessionStore(client, record=UserSession)
    assert_type(await sessions.create("u"), UserSession)
    async for session in sessions:
        assert_type(session.role, str)
    async for task_id, _ in TaskResultStore(client):
        assert_type(task_id, str)
    await Values(client).set("a", 1, ex=5)


async def events(client: RedisClient) -> None:
    listener = KeyspaceEvents(client)

    async def expired(event: KeyEvent) -> None:
        assert_type(event.key, str)

    def gap(event: GapEvent) -> None:
        assert_type(event.since, float)

    listener.on("expired", expired)
    listener.on_gap(gap)
    TaskResultStore(client).on_expired(listener, print)


async def retry(client: RedisClient) -> None:
    assert_type(await robust_redis_operation(client.hgetall, "a"), dict[str, str])
    assert_type(await safe_redis_operation(client.exists, "a"), Optional[bool])
    assert_type(await RetryPolicy(attempts=2).call(client.ping), bool)

    @RetryPolicy(deadline=1)
    async def decorated(number: int) -> int:
        return number

    assert_type(await decorated(1), int)
