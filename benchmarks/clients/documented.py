"""aiecs_redis.RedisClient, the documented API: native commands with an error policy on each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiecs_redis
from benchmarks.address import Address
from benchmarks.clients.commands import Commands, named_as_in_redis_py


@asynccontextmanager
async def connect(address: Address, tasks: int) -> AsyncIterator[Commands]:
    client = aiecs_redis.RedisClient(host=address.host, port=address.port, decode_responses=False)
    await client.initialize()
    try:
        yield named_as_in_redis_py(client)
    finally:
        await client.close()
