"""aiecs_redis.Redis, called as redis-py is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Callable

import aiecs_redis
from benchmarks.address import Address
from benchmarks.clients import redis_py
from benchmarks.clients.commands import Commands, Connect


def _connecting(make: Callable[..., Any], commands: Callable[[Any], Commands]) -> Connect:
    @asynccontextmanager
    async def connect(address: Address, tasks: int) -> AsyncIterator[Commands]:
        client = make(host=address.host, port=address.port)
        try:
            yield commands(client)
        finally:
            await client.aclose()

    return connect


connect = _connecting(aiecs_redis.Redis, redis_py.commands)
connect_cluster = _connecting(aiecs_redis.RedisCluster, redis_py.cluster_commands)
