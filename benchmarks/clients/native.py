"""aiecs_redis.Redis, called as redis-py is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiecs_redis
from benchmarks.clients import redis_py
from benchmarks.clients.commands import Commands
from benchmarks.server import Address


@asynccontextmanager
async def connect(address: Address, tasks: int) -> AsyncIterator[Commands]:
    client = aiecs_redis.Redis(host=address.host, port=address.port)
    try:
        yield redis_py.commands(client)
    finally:
        await client.aclose()


@asynccontextmanager
async def connect_cluster(address: Address, tasks: int) -> AsyncIterator[Commands]:
    client = aiecs_redis.RedisCluster(host=address.host, port=address.port)
    try:
        yield redis_py.cluster_commands(client)
    finally:
        await client.aclose()
