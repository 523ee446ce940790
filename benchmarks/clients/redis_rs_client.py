"""redis_rs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis_rs

from benchmarks.clients.commands import EXPIRE_SECONDS, Commands
from benchmarks.server import Address


@asynccontextmanager
async def connect(address: Address, tasks: int) -> AsyncIterator[Commands]:
    async with redis_rs.create_client(f"redis://{address.host}:{address.port}") as client:
        yield Commands(
            get=client.get,
            set=client.set,
            set_options={"ex": EXPIRE_SECONDS},
            set_reply=True,
            hgetall=client.hgetall,
            text_fields=True,
        )
