"""What runs beside a workload and gives its tasks something to receive."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Callable

from benchmarks import data
from benchmarks.address import Address
from benchmarks.clients.commands import Commands
from benchmarks.publisher import NAME

if TYPE_CHECKING:
    import redis

Feed = Callable[[Commands, Address], AbstractAsyncContextManager[Commands]]
"""Starts it for a connected client, and gives the commands that the workload uses."""

BATCHES_AHEAD = 25
SERVER_SECONDS = 10.0
POLL_SECONDS = 0.01
UNLIMITED = "pubsub 0 0 0"
LIMIT = "client-output-buffer-limit"

ITEMS_PER_PUSH = 50
ITEMS_AHEAD = 1_000
PAUSE_SECONDS = 0.001
STOP_SECONDS = 20.0


def published_to(kind: str) -> Feed:
    """A subscription read in one of the ways of `Commands.receivers`, and a publisher for it.

    The publisher, a process of its own, stays BATCHES_AHEAD batches ahead of the subscriber: there
    is always a message waiting, and the server does not run out of memory.
    """

    @asynccontextmanager
    async def publishing(commands: Commands, address: Address) -> AsyncIterator[Commands]:
        order = {"address": list(address), "channel": data.CHANNEL}
        command = [sys.executable, "-m", "benchmarks.publisher", json.dumps(order)]
        with data.connect(address) as control:
            limits = control.config_get(LIMIT)[LIMIT]
            control.config_set(LIMIT, UNLIMITED)  # no subscriber is cut off for being slow
            try:
                async with commands.receivers[kind](data.CHANNEL, data.MESSAGES) as receive:
                    await _wait_until_subscribed(control)
                    with subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0) as publisher:
                        assert publisher.stdin is not None
                        yield replace(commands, receive=_paid(receive, publisher.stdin.write))
                        publisher.kill()  # it may be in the middle of a batch
                    await _wait_until_published(control)
            finally:
                control.config_set(LIMIT, limits)

    return publishing


async def _wait_until_subscribed(control: redis.Redis) -> None:
    await _wait_until(
        "there is a subscription",
        lambda: dict(control.pubsub_numsub(data.CHANNEL)).get(data.CHANNEL.encode()) == 1,
    )


async def _wait_until_published(control: redis.Redis) -> None:
    """What a publisher had sent would otherwise be the first messages of the next subscriber."""
    await _wait_until(
        "the publisher is gone",
        lambda: NAME not in {client["name"] for client in control.client_list()},
    )


async def _wait_until(what: str, true: Callable[[], bool]) -> None:
    limit = time.monotonic() + SERVER_SECONDS
    while not true():
        if time.monotonic() > limit:
            raise TimeoutError(f"not in {SERVER_SECONDS} seconds: {what}")
        await asyncio.sleep(POLL_SECONDS)


def _paid(
    receive: Callable[[], Awaitable[list[bytes]]], write: Callable[[bytes], object]
) -> Callable[[], Awaitable[list[bytes]]]:
    """`receive`, which asks the publisher for another batch instead of the one it takes."""
    wanted = BATCHES_AHEAD

    async def receive_and_ask() -> list[bytes]:
        nonlocal wanted
        write(bytes(wanted))
        wanted = 1
        return await receive()

    return receive_and_ask


@asynccontextmanager
async def pushed(commands: Commands, address: Address) -> AsyncIterator[Commands]:
    """A task that pushes items for all consumers, on the same client."""
    stop = asyncio.Event()
    producer = asyncio.ensure_future(_produce(commands, stop))
    try:
        yield commands
    finally:
        stop.set()  # not cancel(): a client may swallow it
        _, running = await asyncio.wait({producer}, timeout=STOP_SECONDS)
        with data.connect(address) as control:
            control.unlink(data.QUEUE)
        if running:
            raise TimeoutError(f"the producer has no reply after {STOP_SECONDS} seconds")
        producer.result()  # the consumers wait in vain because of what it raises


async def _produce(commands: Commands, stop: asyncio.Event) -> None:
    push, length = commands.push, commands.llen
    assert push is not None and length is not None
    items = [data.item()] * ITEMS_PER_PUSH
    while not stop.is_set():
        waiting = await push(data.QUEUE, items)
        while waiting > ITEMS_AHEAD and not stop.is_set():
            await asyncio.sleep(PAUSE_SECONDS)
            waiting = await length(data.QUEUE)
