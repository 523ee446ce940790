"""redis_rs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis_rs

from benchmarks.address import Address
from benchmarks.clients.commands import Commands, named_as_in_redis_py


@asynccontextmanager
async def connect(address: Address, tasks: int) -> AsyncIterator[Commands]:
    async with redis_rs.create_client(f"redis://{address.host}:{address.port}") as client:
        yield named_as_in_redis_py(client, text_fields=True)
