"""redis-py with hiredis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster

from benchmarks.address import Address
from benchmarks.clients.commands import (
    GET_MESSAGE,
    HANDLER,
    LISTEN,
    Commands,
    Receive,
    named_as_in_redis_py,
)
from benchmarks.clients.receiving import MESSAGE_SECONDS, Collector, from_calls, from_iterator

POOLED_TASKS = 1_000
POOL_SIZE = 50
OPEN_SIZE = 500


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


def cluster_commands(client: Redis | RedisCluster) -> Commands:
    """What is there on a cluster, too; also for another class with redis-py's methods."""

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

    return named_as_in_redis_py(client, pipeline=pipeline, mixed=mixed)


def commands(client: Redis) -> Commands:
    """Also for a subclass of redis-py's class."""
    return replace(
        cluster_commands(client),
        receivers={
            LISTEN: partial(_listen, client),
            GET_MESSAGE: partial(_get_message, client),
            HANDLER: partial(_handler, client),
        },
        push=lambda key, items: client.lpush(key, *items),
        llen=client.llen,
        brpop=client.brpop,
    )


@asynccontextmanager
async def _listen(client: Redis, channel: str, size: int) -> AsyncIterator[Receive]:
    async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(channel)
        messages = pubsub.listen()
        yield from_iterator(messages, size)
        await messages.aclose()


@asynccontextmanager
async def _get_message(client: Redis, channel: str, size: int) -> AsyncIterator[Receive]:
    async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(channel)
        yield from_calls(pubsub.get_message, size)


@asynccontextmanager
async def _handler(client: Redis, channel: str, size: int) -> AsyncIterator[Receive]:
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
