"""A TCP proxy that spoils the connections through it on purpose, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import Any

__all__ = ["FaultProxy", "Flow"]


# With asyncio's 100, a thousand clients that come back at the same time would wait for TCP to try
# again, a second and more later.
_BACKLOG = 4096


class Flow:
    """One direction of a `FaultProxy`; the attributes may be changed at any time.

    Attributes:
        latency: seconds each byte is held back (order and bandwidth stay).
        chop: write in pieces of at most so many bytes, each in a packet of its own; 0: not.
        gap: seconds between two such pieces.
        cut_after: cut the connection on which so many more bytes (1 or more, of all
            connections) have passed; None: never.
        bytes: how many have been passed on.
    """

    def __init__(self) -> None:
        self.latency: float = 0.0
        self.chop = 0
        self.gap: float = 0.0
        self.cut_after: int | None = None
        self.bytes: int = 0
        self._stalled = False

    def stall(self) -> None:
        """Pass on nothing more, on all connections, until `resume()`."""
        self._stalled = True

    def resume(self) -> None:
        """Go on after `stall()`; what came in meanwhile is passed on."""
        self._stalled = False

    async def _pass_on(self, data: bytes, due: float, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        position = 0
        while position < len(data):
            while self._stalled or loop.time() < due:
                await asyncio.sleep(0.002 if self._stalled else due - loop.time())
            size = self.chop or len(data)
            if self.cut_after is not None:
                size = min(size, self.cut_after)
            piece = data[position : position + size]
            writer.write(piece)
            await writer.drain()
            position += len(piece)
            self.bytes += len(piece)
            if self.cut_after is not None:
                self.cut_after -= len(piece)
                if self.cut_after <= 0:
                    self.cut_after = None
                    raise ConnectionAbortedError("cut, as ordered")
            if self.chop:
                await asyncio.sleep(self.gap)


class FaultProxy:
    """A TCP proxy on a free loopback port that spoils what passes through it.

    It runs in a thread with an event loop of its own. TLS passes through it unopened.

        with FaultProxy(server.host, server.port) as proxy:
            proxy.to_client.chop = 1
            client = aiecs_redis.Redis(**{**server.kwargs, **proxy.kwargs})

    Args:
        host, port: the server behind it.

    Attributes:
        host, port: where it listens.
        to_server, to_client: the two directions, each a `Flow`.
        connections: how many have been accepted since the start.
    """

    host = "127.0.0.1"

    def __init__(self, host: str, port: int) -> None:
        self.port: int = 0
        self.to_server: Flow = Flow()
        self.to_client: Flow = Flow()
        self.connections: int = 0
        self._target = (host, port)
        self._refusing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._live: set[asyncio.Task[None]] = set()

    def __enter__(self) -> FaultProxy:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def kwargs(self) -> dict[str, Any]:
        """`host` and `port` of the proxy, for a client."""
        return {"host": self.host, "port": self.port}

    @property
    def open_connections(self) -> int:
        """How many are open now."""
        return len(self._live)

    def start(self) -> FaultProxy:
        """Listen. Does nothing when it does already."""
        if self._thread is None:
            failure: list[BaseException] = []
            up = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(up, failure), name="fault-proxy", daemon=True
            )
            self._thread.start()
            up.wait()
            if failure:
                self._thread.join()
                self._thread = None
                raise failure[0]
        return self

    def stop(self) -> None:
        """Cut all connections and stop listening."""
        thread, self._thread = self._thread, None
        if thread is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()

    def cut(self) -> None:
        """Reset all open connections (RST); new ones are accepted. Returns when done.

        Raises:
            RuntimeError: the proxy is not started.
        """
        if self._thread is None or self._loop is None:
            raise RuntimeError("the proxy is not started")
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10)

    def refuse(self) -> None:
        """Reset new connections at once, until `accept()`."""
        self._refusing = True

    def accept(self) -> None:
        """Take new connections again."""
        self._refusing = False

    # ------------------------------------------------------- in the proxy's loop

    def _run(self, up: threading.Event, failure: list[BaseException]) -> None:
        self._loop = loop = asyncio.SelectorEventLoop()
        try:
            try:
                server = loop.run_until_complete(
                    asyncio.start_server(self._serve, self.host, self.port, backlog=_BACKLOG)
                )
                self.port = server.sockets[0].getsockname()[1]
            except BaseException as exc:
                failure.append(exc)
                return
            finally:
                up.set()
            loop.run_forever()
            server.close()
            loop.run_until_complete(self._cut())
        finally:
            loop.close()

    async def _cut(self) -> None:
        live = list(self._live)
        for task in live:
            task.cancel()
        await asyncio.gather(*live, return_exceptions=True)
        await asyncio.sleep(0)  # the transports' last callbacks

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._refusing:
            _reset(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        self._live.add(task)
        ends = [writer]
        try:
            there, back = await asyncio.open_connection(*self._target)
            ends.append(back)
            ways = [
                asyncio.ensure_future(_copy(reader, back, self.to_server)),
                asyncio.ensure_future(_copy(there, writer, self.to_client)),
            ]
            try:
                await asyncio.gather(*ways)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
            for end in ends:  # both sides said good-bye
                end.close()
        except (OSError, asyncio.CancelledError):
            for end in ends:
                _reset(end)
        finally:
            self._live.discard(task)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flow: Flow) -> None:
    loop = asyncio.get_running_loop()
    # A bounded queue: with a stalled flow the sender meets back-pressure, as in real life.
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    writer.transport.set_write_buffer_limits(0)  # drain() returns when the kernel has it all

    async def take_in() -> None:
        data = b"."
        while data:
            data = await reader.read(65536)
            await queue.put((loop.time() + flow.latency, data))

    taking = asyncio.ensure_future(take_in())
    try:
        while True:
            due, data = await queue.get()
            if not data:
                break
            await flow._pass_on(data, due, writer)
        await taking
        if writer.can_write_eof():
            writer.write_eof()
    finally:
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        linger = struct.pack("ii", 1, 0)  # closing sends RST
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
