"""coredis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import coredis

from benchmarks.clients.commands import EXPIRE_SECONDS, Commands
from benchmarks.server import Address


@asynccontextmanager
async def connect(address: Address, tasks: int) -> AsyncIterator[Commands]:
    async with coredis.Redis(host=address.host, port=address.port) as client:

        async def pipeline(keys: Sequence[str]) -> list[Any]:
            async with client.pipeline(transaction=False) as batch:
                replies = [batch.get(key) for key in keys]
            return [await reply for reply in replies]

        async def mixed(pairs: Sequence[tuple[str, bytes]], transaction: bool) -> list[Any]:
            replies: list[Awaitable[Any]] = []
            async with client.pipeline(transaction=transaction) as batch:
                for key, value in pairs:
                    replies += (batch.set(key, value), batch.get(key))
            return [await reply for reply in replies]

        yield Commands(
            get=client.get,
            set=client.set,
            set_options={"ex": EXPIRE_SECONDS},
            set_reply=True,
            hgetall=client.hgetall,
            pipeline=pipeline,
            mixed=mixed,
        )
