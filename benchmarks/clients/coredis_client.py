"""coredis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import coredis

from benchmarks.clients.collector import Collector
from benchmarks.clients.commands import (
    EXPIRE_SECONDS,
    GET_MESSAGE,
    HANDLER,
    LISTEN,
    Commands,
    Receive,
)
from benchmarks.server import Address

MESSAGE_SECONDS = 1.0


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

        @asynccontextmanager
        async def listen(channel: str, size: int) -> AsyncIterator[Receive]:
            pubsub = client.pubsub(channels=[channel], ignore_subscribe_messages=True)
            async with pubsub as messages:

                async def receive() -> list[bytes]:
                    received: list[bytes] = []
                    async for message in messages:
                        received.append(message["data"])
                        if len(received) == size:
                            break
                    return received

                yield receive

        @asynccontextmanager
        async def get_message(channel: str, size: int) -> AsyncIterator[Receive]:
            pubsub = client.pubsub(channels=[channel], ignore_subscribe_messages=True)
            async with pubsub as messages:

                async def receive() -> list[bytes]:
                    received: list[bytes] = []
                    while len(received) < size:
                        message = await messages.get_message(timeout=MESSAGE_SECONDS)
                        if message is not None:
                            received.append(message["data"])
                    return received

                yield receive

        @asynccontextmanager
        async def handler(channel: str, size: int) -> AsyncIterator[Receive]:
            collector = Collector(size)

            def handle(message: Any) -> None:
                collector.add(message["data"])

            async with client.pubsub(channel_handlers={channel: handle}):
                yield collector.receive

        yield Commands(
            get=client.get,
            set=client.set,
            set_options={"ex": EXPIRE_SECONDS},
            set_reply=True,
            hgetall=client.hgetall,
            pipeline=pipeline,
            mixed=mixed,
            receivers={LISTEN: listen, GET_MESSAGE: get_message, HANDLER: handler},
            push=client.lpush,
            llen=client.llen,
            brpop=client.brpop,
            brpop_reply=list,
        )


@asynccontextmanager
async def connect_cluster(address: Address, tasks: int) -> AsyncIterator[Commands]:
    async with coredis.RedisCluster(host=address.host, port=address.port) as client:

        async def pipeline(keys: Sequence[str]) -> list[Any]:
            async with client.pipeline(transaction=False) as batch:
                replies = [batch.get(key) for key in keys]
            return [await reply for reply in replies]

        yield Commands(
            get=client.get,
            set=client.set,
            set_options={"ex": EXPIRE_SECONDS},
            set_reply=True,
            hgetall=client.hgetall,
            pipeline=pipeline,
        )
