"""Messages of a subscription as batches that can be awaited, however a client hands them out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Callable

from benchmarks.clients.commands import Receive

MESSAGE_SECONDS = 1.0


def from_iterator(messages: AsyncIterator[Any], size: int) -> Receive:
    """Of an endless `async for`; a message is a dict, as of redis-py."""

    async def receive() -> list[bytes]:
        received: list[bytes] = []
        async for message in messages:
            received.append(message["data"])
            if len(received) == size:
                break
        return received

    return receive


def from_calls(get_message: Callable[..., Awaitable[Any]], size: int) -> Receive:
    """Of one call with a timeout for each message, which returns None when none has come."""

    async def receive() -> list[bytes]:
        received: list[bytes] = []
        while len(received) < size:
            message = await get_message(timeout=MESSAGE_SECONDS)
            if message is not None:
                received.append(message["data"])
        return received

    return receive


class Collector:
    """Of a handler, which calls `add()`."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._messages: list[bytes] = []
        self._full: list[list[bytes]] = []
        self._waiting: asyncio.Future[list[bytes]] | None = None

    def add(self, message: bytes) -> None:
        self._messages.append(message)
        if len(self._messages) < self._size:
            return
        full, self._messages = self._messages, []
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(full)
        else:
            self._full.append(full)

    def fail(self, error: BaseException) -> None:
        """Whoever waits for messages gets the error instead."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)

    async def receive(self) -> list[bytes]:
        if self._full:
            return self._full.pop(0)
        self._waiting = asyncio.get_running_loop().create_future()
        return await self._waiting
