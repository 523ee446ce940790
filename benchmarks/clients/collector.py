"""Messages that a handler is called with, as batches that can be awaited."""

from __future__ import annotations

import asyncio


class Collector:
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
