"""valkey-glide."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from glide import Batch, ExpirySet, ExpiryType, GlideClient, GlideClientConfiguration, NodeAddress

from benchmarks.clients.commands import EXPIRE_SECONDS, Commands
from benchmarks.server import Address

IN_FLIGHT = 20_000
TIMEOUT_MILLISECONDS = 30_000


@asynccontextmanager
async def connect(address: Address, tasks: int) -> AsyncIterator[Commands]:
    client = await GlideClient.create(
        GlideClientConfiguration(
            [NodeAddress(address.host, address.port)],
            inflight_requests_limit=IN_FLIGHT,
            request_timeout=TIMEOUT_MILLISECONDS,
        )
    )

    async def pipeline(keys: Sequence[str]) -> list[Any]:
        batch = Batch(is_atomic=False)
        for key in keys:
            batch.get(key)
        return await client.exec(batch, raise_on_error=True) or []

    async def mixed(pairs: Sequence[tuple[str, bytes]], transaction: bool) -> list[Any]:
        batch = Batch(is_atomic=transaction)
        for key, value in pairs:
            batch.set(key, value)
            batch.get(key)
        return await client.exec(batch, raise_on_error=True) or []

    try:
        yield Commands(
            get=client.get,
            set=client.set,
            set_options={"expiry": ExpirySet(ExpiryType.SEC, EXPIRE_SECONDS)},
            set_reply="OK",
            hgetall=client.hgetall,
            pipeline=pipeline,
            mixed=mixed,
        )
    finally:
        await client.close()
