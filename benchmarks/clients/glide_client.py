"""valkey-glide."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
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

from benchmarks.address import Address
from benchmarks.clients.commands import EXPIRE_SECONDS, HANDLER, LISTEN, Commands, Receive
from benchmarks.clients.receiving import Collector

LIMITS = {"inflight_requests_limit": 20_000, "request_timeout": 30_000}  # milliseconds


@asynccontextmanager
async def connect(address: Address, tasks: int) -> AsyncIterator[Commands]:
    settings = GlideClientConfiguration(_nodes(address), **LIMITS)
    async with _connected(GlideClient, settings) as client:
        receivers = {LISTEN: partial(_listen, address), HANDLER: partial(_handler, address)}
        yield _commands(client, Batch, receivers=receivers)


@asynccontextmanager
async def connect_cluster(address: Address, tasks: int) -> AsyncIterator[Commands]:
    settings = GlideClusterClientConfiguration(_nodes(address), **LIMITS)
    async with _connected(GlideClusterClient, settings) as client:
        yield _commands(client, ClusterBatch)


def _nodes(address: Address) -> list[NodeAddress]:
    return [NodeAddress(address.host, address.port)]


@asynccontextmanager
async def _connected(kind: Any, settings: Any) -> AsyncIterator[Any]:
    client = await kind.create(settings)
    try:
        yield client
    finally:
        await client.close()


def _commands(client: Any, batch_of: Callable[..., Any], **more: Any) -> Commands:
    async def pipeline(keys: Sequence[str]) -> list[Any]:
        batch = batch_of(is_atomic=False)
        for key in keys:
            batch.get(key)
        return await client.exec(batch, raise_on_error=True) or []

    async def mixed(pairs: Sequence[tuple[str, bytes]], transaction: bool) -> list[Any]:
        batch = batch_of(is_atomic=transaction)
        for key, value in pairs:
            batch.set(key, value)
            batch.get(key)
        return await client.exec(batch, raise_on_error=True) or []

    return Commands(
        get=client.get,
        set=client.set,
        set_options={"expiry": ExpirySet(ExpiryType.SEC, EXPIRE_SECONDS)},
        set_reply="OK",
        hgetall=client.hgetall,
        pipeline=pipeline,
        mixed=mixed,
        **more,
    )


@asynccontextmanager
async def _subscribed(
    address: Address, channel: str, callback: Callable[[PubSubMsg, Any], None] | None
) -> AsyncIterator[GlideClient]:
    channels = {GlideClientConfiguration.PubSubChannelModes.Exact: {channel}}
    subscriptions = GlideClientConfiguration.PubSubSubscriptions(channels, callback, None)
    settings = GlideClientConfiguration(_nodes(address), pubsub_subscriptions=subscriptions)
    async with _connected(GlideClient, settings) as subscriber:
        yield subscriber


@asynccontextmanager
async def _listen(address: Address, channel: str, size: int) -> AsyncIterator[Receive]:
    async with _subscribed(address, channel, None) as subscriber:

        async def receive() -> list[bytes]:
            received = []
            while len(received) < size:
                received.append((await subscriber.get_pubsub_message()).message)
            return received

        yield receive


@asynccontextmanager
async def _handler(address: Address, channel: str, size: int) -> AsyncIterator[Receive]:
    collector = Collector(size)

    def handle(message: PubSubMsg, context: Any) -> None:
        collector.add(message.message)

    async with _subscribed(address, channel, handle):
        yield collector.receive
