"""redis-py with hiredis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster

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

POOLED_TASKS = 1_000
POOL_SIZE = 50
OPEN_SIZE = 500
MESSAGE_SECONDS = 1.0


@asynccontextmanager
async def connect(address: Address, tasks: int) -> AsyncIterator[Commands]:
    if tasks < POOLED_TASKS:
        client = Redis(host=address.host, port=address.port, max_connections=OPEN_SIZE)
    else:
        client = Redis.from_pool(
            BlockingConnectionPool(
                host=address.host, port=address.port, max_connections=POOL_SIZE, timeout=None
            )
        )
    try:
        yield commands(client)
    finally:
        await client.aclose()


@asynccontextmanager
async def connect_cluster(address: Address, tasks: int) -> AsyncIterator[Commands]:
    client = RedisCluster(host=address.host, port=address.port)
    try:
        await client.initialize()  # 50 first commands at once fail at times with AttributeError
        yield cluster_commands(client)
    finally:
        await client.aclose()


def cluster_commands(client: RedisCluster) -> Commands:
    """Also for another class with redis-py's methods."""

    async def pipeline(keys: Sequence[str]) -> list[Any]:
        batch = client.pipeline()
        for key in keys:
            batch.get(key)
        replies: list[Any] = await batch.execute()
        return replies

    return Commands(
        get=client.get,
        set=client.set,
        set_options={"ex": EXPIRE_SECONDS},
        set_reply=True,
        hgetall=client.hgetall,
        pipeline=pipeline,
    )


def commands(client: Redis) -> Commands:
    """Also for a subclass of redis-py's class."""

    async def pipeline(keys: Sequence[str]) -> list[Any]:
        batch = client.pipeline(transaction=False)
        for key in keys:
            batch.get(key)
        replies: list[Any] = await batch.execute()
        return replies

    async def mixed(pairs: Sequence[tuple[str, bytes]], transaction: bool) -> list[Any]:
        batch = client.pipeline(transaction=transaction)
        for key, value in pairs:
            batch.set(key, value)
            batch.get(key)
        replies: list[Any] = await batch.execute()
        return replies

    @asynccontextmanager
    async def listen(channel: str, size: int) -> AsyncIterator[Receive]:
        async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(channel)
            messages = pubsub.listen()

            async def receive() -> list[bytes]:
                received: list[bytes] = []
                async for message in messages:
                    received.append(message["data"])
                    if len(received) == size:
                        break
                return received

            yield receive
            await messages.aclose()

    @asynccontextmanager
    async def get_message(channel: str, size: int) -> AsyncIterator[Receive]:
        async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(channel)

            async def receive() -> list[bytes]:
                received: list[bytes] = []
                while len(received) < size:
                    message = await pubsub.get_message(timeout=MESSAGE_SECONDS)
                    if message is not None:
                        received.append(message["data"])
                return received

            yield receive

    @asynccontextmanager
    async def handler(channel: str, size: int) -> AsyncIterator[Receive]:
        collector = Collector(size)

        def handle(message: dict[str, Any]) -> None:
            collector.add(message["data"])

        async def run() -> None:
            try:
                await pubsub.run(poll_timeout=MESSAGE_SECONDS)
            except Exception as error:
                collector.fail(error)

        async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(**{channel: handle})
            running = asyncio.ensure_future(run())
            yield collector.receive
            running.cancel()
            await asyncio.wait({running})

    return Commands(
        get=client.get,
        set=client.set,
        set_options={"ex": EXPIRE_SECONDS},
        set_reply=True,
        hgetall=client.hgetall,
        pipeline=pipeline,
        mixed=mixed,
        receivers={LISTEN: listen, GET_MESSAGE: get_message, HANDLER: handler},
        push=lambda key, items: client.lpush(key, *items),
        llen=client.llen,
        brpop=client.brpop,
    )
