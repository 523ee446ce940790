"""coredis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import coredis

from benchmarks.address import Address
from benchmarks.clients.commands import (
    GET_MESSAGE,
    HANDLER,
    LISTEN,
    Commands,
    Receive,
    named_as_in_redis_py,
)
from benchmarks.clients.receiving import Collector, from_calls, from_iterator


@asynccontextmanager
async def connect(address: Address, tasks: int) -> AsyncIterator[Commands]:
    async with coredis.Redis(host=address.host, port=address.port) as client:
        yield replace(
            _commands(client),
            receivers={
                LISTEN: partial(_listen, client),
                GET_MESSAGE: partial(_get_message, client),
                HANDLER: partial(_handler, client),
            },
            push=client.lpush,
            llen=client.llen,
            brpop=client.brpop,
            brpop_reply=list,
        )


@asynccontextmanager
async def connect_cluster(address: Address, tasks: int) -> AsyncIterator[Commands]:
    async with coredis.RedisCluster(host=address.host, port=address.port) as client:
        yield _commands(client)


def _commands(client: Any) -> Commands:
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

    return named_as_in_redis_py(client, pipeline=pipeline, mixed=mixed)


@asynccontextmanager
async def _listen(client: Any, channel: str, size: int) -> AsyncIterator[Receive]:
    async with client.pubsub(channels=[channel], ignore_subscribe_messages=True) as messages:
        yield from_iterator(messages, size)


@asynccontextmanager
async def _get_message(client: Any, channel: str, size: int) -> AsyncIterator[Receive]:
    async with client.pubsub(channels=[channel], ignore_subscribe_messages=True) as messages:
        yield from_calls(messages.get_message, size)


@asynccontextmanager
async def _handler(client: Any, channel: str, size: int) -> AsyncIterator[Receive]:
    collector = Collector(size)

    def handle(message: Any) -> None:
        collector.add(message["data"])

    async with client.pubsub(channel_handlers={channel: handle}):
        yield collector.receive
