"""valkey-glide."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Callable

from glide import (
    Batch,
    ClusterBatch,
    ExpirySet,
    ExpiryType,
    GlideClient,
    GlideClientConfiguration,
    GlideClusterClient,
    GlideClusterClientConfiguration,
    NodeAddress,
    PubSubMsg,
)

from benchmarks.clients.collector import Collector
from benchmarks.clients.commands import EXPIRE_SECONDS, HANDLER, LISTEN, Commands, Receive
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

    @asynccontextmanager
    async def subscribed(
        channel: str, callback: Callable[[PubSubMsg, Any], None] | None
    ) -> AsyncIterator[GlideClient]:
        channels = {GlideClientConfiguration.PubSubChannelModes.Exact: {channel}}
        subscriptions = GlideClientConfiguration.PubSubSubscriptions(channels, callback, None)
        subscriber = await GlideClient.create(
            GlideClientConfiguration(
                [NodeAddress(address.host, address.port)], pubsub_subscriptions=subscriptions
            )
        )
        try:
            yield subscriber
        finally:
            await subscriber.close()

    @asynccontextmanager
    async def listen(channel: str, size: int) -> AsyncIterator[Receive]:
        async with subscribed(channel, None) as subscriber:

            async def receive() -> list[bytes]:
                received = []
                while len(received) < size:
                    received.append((await subscriber.get_pubsub_message()).message)
                return received

            yield receive

    @asynccontextmanager
    async def handler(channel: str, size: int) -> AsyncIterator[Receive]:
        collector = Collector(size)

        def handle(message: PubSubMsg, context: Any) -> None:
            collector.add(message.message)

        async with subscribed(channel, handle):
            yield collector.receive

    try:
        yield Commands(
            get=client.get,
            set=client.set,
            set_options={"expiry": ExpirySet(ExpiryType.SEC, EXPIRE_SECONDS)},
            set_reply="OK",
            hgetall=client.hgetall,
            pipeline=pipeline,
            mixed=mixed,
            receivers={LISTEN: listen, HANDLER: handler},
        )
    finally:
        await client.close()


@asynccontextmanager
async def connect_cluster(address: Address, tasks: int) -> AsyncIterator[Commands]:
    client = await GlideClusterClient.create(
        GlideClusterClientConfiguration(
            [NodeAddress(address.host, address.port)],
            inflight_requests_limit=IN_FLIGHT,
            request_timeout=TIMEOUT_MILLISECONDS,
        )
    )

    async def pipeline(keys: Sequence[str]) -> list[Any]:
        batch = ClusterBatch(is_atomic=False)
        for key in keys:
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
        )
    finally:
        await client.close()
