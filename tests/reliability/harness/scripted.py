"""A server that does exactly what a test says, where a real one cannot be made to misbehave."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Any, Callable, NamedTuple, Optional, Union

OK = b"+OK\r\n"


class Cut(NamedTuple):
    """An answer: send these bytes, then reset the connection."""

    first: bytes = b""


class Request(NamedTuple):
    """A command as it came in whole: on which connection, the how manieth of all, its words."""

    connection: int
    number: int
    words: list[bytes]

    @property
    def name(self) -> str:
        return self.words[0].decode().upper()


Answer = Optional[Union[bytes, Cut]]  # None: the server keeps silent


def bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


def error(text: str) -> bytes:
    return b"-" + text.encode() + b"\r\n"


HELLO = b"%3\r\n+server\r\n+redis\r\n+version\r\n+7.0.15\r\n+proto\r\n:3\r\n"


def introduce(request: Request) -> Answer:
    """What a healthy server says while a client introduces itself."""
    if request.name == "HELLO":
        return HELLO
    return error("ERR unknown subcommand") if b"MAINT_NOTIFICATIONS" in request.words else OK


def is_introduction(words: list[bytes]) -> bool:
    if words[0].upper() == b"CLIENT":
        return words[1].upper() in (b"ID", b"SETINFO", b"SETNAME", b"MAINT_NOTIFICATIONS")
    return words[0].upper() in (b"HELLO", b"AUTH", b"SELECT")


class ScriptedServer:
    """Listens on a loopback port, and counts what it is sent.

    Args:
        answer: called for each whole command that is no introduction, in the thread of its
            connection; OK to everything when it is None.
        introduction: the same for HELLO, AUTH, SELECT, CLIENT SETINFO and the like.

    Attributes:
        requests: the commands received whole, without introductions.
        introductions: those.
        connections: how many were accepted.
        reading: while cleared, nothing is read from any connection.
        gap: seconds between two bytes of an answer; 0: whole answers.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        answer: Callable[[Request], Answer] | None = None,
        introduction: Callable[[Request], Answer] = introduce,
        receive_buffer: int = 0,
    ) -> None:
        self.answer = answer or (lambda request: OK)
        self.introduction = introduction
        self.requests: list[Request] = []
        self.introductions: list[Request] = []
        self.connections = 0
        self.reading = threading.Event()
        self.reading.set()
        self.gap = 0.0
        self._stopping = threading.Event()
        self._live: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket()
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind((self.host, 0))
        self._listener.listen(1024)
        self.port = self._listener.getsockname()[1]

    @property
    def kwargs(self) -> dict[str, Any]:
        # RESP3, so that every version of redis-py says HELLO.
        return {"host": self.host, "port": self.port, "protocol": 3}

    def count(self, *names: str) -> int:
        """How often one of these commands came in whole; of all commands without names."""
        return sum(not names or request.name in names for request in list(self.requests))

    def cut(self) -> None:
        """Reset every open connection."""
        for connection in list(self._live):
            _reset(connection)

    def __enter__(self) -> ScriptedServer:
        self._spawn(self._accept)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        self.reading.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _spawn(self, function: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=function, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._live.add(connection)
            self._spawn(self._serve, connection, self.connections)

    def _serve(self, connection: socket.socket, number: int) -> None:
        held = b""
        try:
            while not self._stopping.is_set():
                words, held = take_command(held)
                if words is None:
                    self.reading.wait()
                    data = connection.recv(1 << 20)
                    if not data:
                        break
                    held += data
                    continue
                greeting = is_introduction(words)
                log = self.introductions if greeting else self.requests
                request = Request(number, len(log) + 1, words)
                log.append(request)
                answer = self.introduction(request) if greeting else self.answer(request)
                if isinstance(answer, Cut):
                    connection.sendall(answer.first)
                    break
                if answer is not None:
                    self._send(connection, answer)
        except OSError:
            pass
        finally:
            self._live.discard(connection)
            _reset(connection)

    def _send(self, connection: socket.socket, answer: bytes) -> None:
        if not self.gap:
            connection.sendall(answer)
            return
        for position in range(len(answer)):
            connection.sendall(answer[position : position + 1])
            if self._stopping.wait(self.gap):
                return


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)
    connection.close()


def take_command(data: bytes) -> tuple[list[bytes] | None, bytes]:
    """The first command of `data` and what follows it; (None, data) while it is not whole."""
    if not data.startswith(b"*") or b"\r\n" not in data:
        return None, data
    head, _, rest = data.partition(b"\r\n")
    words = []
    for _ in range(int(head[1:])):
        size, found, rest = rest.partition(b"\r\n")
        if not found or len(rest) < int(size[1:]) + 2:
            return None, data
        words.append(rest[: int(size[1:])])
        rest = rest[int(size[1:]) + 2 :]
    return words, rest
