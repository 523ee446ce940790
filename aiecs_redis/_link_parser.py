"""A native connection in the places where redis-py keeps its stream and its parser."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import redis.exceptions
from redis._parsers import _AsyncRESP3Parser

from aiecs_redis import _native

_CLOSED = "Connection closed by server."


class LinkStream:
    """Stands for redis-py's StreamReader and StreamWriter."""

    def __init__(self, link: _native.Link) -> None:
        self.link = link

    @property
    def _buffer(self) -> bytes:
        """Only its length is looked at, by redis-py's client-side cache."""
        return bytes(min(self.link.pending, 1))

    def at_eof(self) -> bool:
        return not self.link.connected

    def writelines(self, chunks: Iterable[Any]) -> None:
        self.link.write(list(chunks))

    async def drain(self) -> None:
        await self.link.drain()

    def close(self) -> None:
        self.link.close()

    async def wait_closed(self) -> None:
        """The core closes at once."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """peername and sockname, as asyncio's transports have them."""
        if name in ("peername", "sockname") and self.link.fileno >= 0:
            return _socket_name(self.link.fileno, name)
        return default


def _socket_name(fileno: int, name: str) -> Any:
    import os
    import socket

    with socket.socket(fileno=os.dup(fileno)) as copy:
        return copy.getpeername() if name == "peername" else copy.getsockname()


class LinkParser(_AsyncRESP3Parser):
    """redis-py's parser interface, with its handlers of pushes, on the replies of a link."""

    def __init__(self, socket_read_size: int) -> None:
        super().__init__(socket_read_size)  # type: ignore[no-untyped-call]
        self._link: _native.Link | None = None
        self._decode = False
        self._own_stream: Any = None

    def on_connect(self, connection: Any) -> None:
        """Read from the connection's link from now on."""
        self._link = connection.link
        self._stream = self._own_stream = connection._reader
        self.encoder = connection.encoder
        self._decode = bool(connection.encoder.decode_responses)
        self._connected = True

    def on_disconnect(self) -> None:
        """Refuse to read."""
        self._link = None
        self._connected = False

    async def can_read(self) -> bool:
        """Whether something has come, or the connection is lost."""
        if self._link is None:
            raise OSError("Buffer is closed.")
        return self._link.pending > 0 or not self._link.connected

    async def can_read_destructive(self) -> bool:
        """As can_read()."""
        return await self.can_read()

    async def _read_response(
        self, disable_decoding: bool = False, push_request: bool = False
    ) -> Any:
        """The next reply; an error reply is returned, one about the connection is raised.

        Giving up while waiting loses nothing: a reply is taken whole, or not at all.
        """
        link = self._link
        if self._stream is not self._own_stream:  # somebody has given it another one to parse
            return await super()._read_response(disable_decoding, push_request)
        if link is None:
            raise redis.exceptions.ConnectionError(_CLOSED)
        decode = self._decode and not disable_decoding
        while True:
            reply = link.read(decode)
            if reply is _native.NOT_READY:
                await link.wait()
            elif link.pushed:
                reply = await self.handle_push_response(reply)  # type: ignore[no-untyped-call]
                if push_request:
                    return reply
            else:
                break
        first = reply[0] if isinstance(reply, list) and reply else reply
        if isinstance(first, redis.exceptions.ConnectionError):
            raise first
        return reply
