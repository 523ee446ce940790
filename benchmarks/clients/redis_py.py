"""redis-py with hiredis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis

from benchmarks.clients.commands import EXPIRE_SECONDS, Commands
from benchmarks.server import Address

POOLED_TASKS = 1_000
POOL_SIZE = 50
OPEN_SIZE = 500


@asynccontextmanager
async def connect(address: Address, tasks: int) -> AsyncIterator[Commands]:
    if tasks < POOLED_TASKS:
        client = Redis(host=address.host, port=address.port, max_connections=OPEN_SIZE)
    else:
        client = Redis.from_pool(
            BlockingConnectionPool(
                host=address.host, port=address.port, max_connections=POOL_SIZE, timeout=None
            )
        )
    try:
        yield commands(client)
    finally:
        await client.aclose()


def commands(client: Redis) -> Commands:
    """Also for a subclass of redis-py's class."""

    async def pipeline(keys: Sequence[str]) -> list[Any]:
        batch = client.pipeline(transaction=False)
        for key in keys:
            batch.get(key)
        replies: list[Any] = await batch.execute()
        return replies

    async def mixed(pairs: Sequence[tuple[str, bytes]], transaction: bool) -> list[Any]:
        batch = client.pipeline(transaction=transaction)
        for key, value in pairs:
            batch.set(key, value)
            batch.get(key)
        replies: list[Any] = await batch.execute()
        return replies

    return Commands(
        get=client.get,
        set=client.set,
        set_options={"ex": EXPIRE_SECONDS},
        set_reply=True,
        hgetall=client.hgetall,
        pipeline=pipeline,
        mixed=mixed,
    )
