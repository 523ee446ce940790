"""redis-py's asyncio connections on the native transport.

`Connection`, `SSLConnection` and `UnixDomainSocketConnection` are redis-py's own classes with the
socket, the encoder and the parser replaced: whatever drives a connection of redis-py's (pools,
Sentinel, user code) drives these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import redis.exceptions
from redis.asyncio.connection import (
    AbstractConnection,
)
from redis.asyncio.connection import (
    Connection as BaseConnection,
)
from redis.asyncio.connection import (
    SSLConnection as BaseSSLConnection,
)
from redis.asyncio.connection import (
    UnixDomainSocketConnection as BaseUnixDomainSocketConnection,
)

from aiecs_redis import _native, _options
from aiecs_redis._link_parser import LinkParser, LinkStream

if TYPE_CHECKING:
    _Base = AbstractConnection
else:
    _Base = object

__all__ = ["Connection", "LeasedConnection", "SSLConnection", "UnixDomainSocketConnection"]


class _LinkConnection(_Base):
    """The part of a connection that is ours."""

    _parser: LinkParser
    _writer: Any
    _reader: Any

    @property
    def link(self) -> _native.Link | None:
        """The native connection; None when not connected."""
        stream: LinkStream | None = self._writer
        return None if stream is None else stream.link

    def set_parser(self, parser_class: Any) -> None:
        """Any parser class stands for ours: it reads both protocols."""
        self._parser = LinkParser(socket_read_size=self._socket_read_size)

    def _adopt(self, link: _native.Link) -> None:
        self._reader = self._writer = LinkStream(link)

    async def _connect(self) -> None:
        link = _native.Link(_options.connection_config(self))
        try:
            await link.connect()
        except redis.exceptions.TimeoutError as error:
            raise asyncio.TimeoutError(str(error)) from error
        except BaseException:
            link.close()
            raise
        self._adopt(link)


class Connection(_LinkConnection, BaseConnection):
    """redis.asyncio.Connection on the native transport."""


class SSLConnection(_LinkConnection, BaseSSLConnection):
    """redis.asyncio.SSLConnection on the native transport: TLS by the core's OpenSSL."""


class UnixDomainSocketConnection(_LinkConnection, BaseUnixDomainSocketConnection):
    """redis.asyncio.UnixDomainSocketConnection on the native transport."""


_options.NATIVE_CONNECTIONS.update({Connection, SSLConnection, UnixDomainSocketConnection})


class _Commands(list):  # type: ignore[type-arg]
    """Commands that the core encodes when they are sent."""


class LeasedConnection(_LinkConnection):
    """A connection of a client's native pool, for the time of one use.

    The pool connects and introduces it, counts it among max_connections, and takes it back when
    its state is as new.
    """

    _transport: _native.Transport
    _retrying: bool

    async def connect(self) -> None:
        """Wait for a connection of the pool, which tries again unless the user's policy does."""
        if self.is_connected:
            return
        if not self._retrying:
            await self.connect_check_health()
            return

        async def failed(_error: BaseException) -> None:
            """The core has dropped what was broken."""

        await self.retry.call_with_retry(self.connect_check_health, failed)

    async def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> None:
        """As connect(): the pool looks after the health of its idle connections."""
        if self.is_connected:
            return
        self._adopt(await self._transport.lend())
        self._parser.on_connect(self)
        self._connect_callbacks = [ref for ref in self._connect_callbacks if ref() is not None]
        try:
            for reference in self._connect_callbacks:
                callback = reference()
                outcome = callback(self) if callback is not None else None
                if outcome is not None:
                    await outcome
        except redis.exceptions.RedisError:
            await self.disconnect()
            raise

    def release(self) -> None:
        """Give the connection back; one whose state was changed is closed."""
        link = self.link
        self._reader = self._writer = None
        self._parser.on_disconnect()
        self.set_parser(None)  # the next user's pushes are not for this one's handlers
        if link is not None:
            link.release()

    async def send_command(self, *args: Any, **kwargs: Any) -> None:
        """Send one command, encoded by the core."""
        await self.send_packed_command(
            cast(Any, _Commands([args])), check_health=kwargs.get("check_health", True)
        )

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        """Keep the commands as they are: the core encodes them when they are sent."""
        return cast("list[bytes]", _Commands(tuple(command) for command in commands))

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send what pack_commands() returned, or bytes.

        Raises:
            redis.exceptions.TimeoutError: nothing was taken for `socket_timeout` seconds; the
                connection is closed then.
            redis.exceptions.DataError: an argument that cannot be sent.
        """
        if not isinstance(command, _Commands):
            await super().send_packed_command(command, check_health)
            return
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if check_health:
            await self.check_health()  # type: ignore[no-untyped-call]
        link = self.link
        assert link is not None
        try:
            link.send(command)
            if link.unsent:
                await asyncio.wait_for(link.drain(), self.socket_timeout)
        except asyncio.TimeoutError:
            await self.disconnect(nowait=True)
            raise redis.exceptions.TimeoutError("Timeout writing to socket") from None
        except (redis.exceptions.DataError, UnicodeError):
            raise  # before anything was sent
        except BaseException:
            await self.disconnect(nowait=True)
            raise

    def __del__(self, _warnings: Any = None) -> None:
        """Dropped without a word, as a connection that is in use in a redis-py pool."""
        link = self.link
        if link is not None:
            link.close()


class _LeasedTcp(LeasedConnection, Connection):
    pass


class _LeasedTls(LeasedConnection, SSLConnection):
    pass


class _LeasedUnix(LeasedConnection, UnixDomainSocketConnection):
    pass


_LEASED = {
    BaseConnection: _LeasedTcp,
    BaseSSLConnection: _LeasedTls,
    BaseUnixDomainSocketConnection: _LeasedUnix,
    Connection: _LeasedTcp,
    SSLConnection: _LeasedTls,
    UnixDomainSocketConnection: _LeasedUnix,
}


class _ManagedLease(LeasedConnection):
    """One to a master that Sentinel names: it is closed when that is a replica now."""

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """As redis.asyncio's, of Sentinel's connections."""
        try:
            return await super().read_response(*args, **kwargs)
        except redis.exceptions.ReadOnlyError:
            await self.disconnect()
            raise redis.exceptions.ConnectionError("The previous master is now a slave") from None


class _ManagedLeasedTcp(_ManagedLease, _LeasedTcp):
    pass


class _ManagedLeasedTls(_ManagedLease, _LeasedTls):
    pass


def _lease_class(pool: Any) -> Any:
    cls = pool.connection_class
    if cls not in _options.MANAGED_CONNECTIONS:
        return _LEASED[cls]
    if issubclass(cls, BaseSSLConnection):
        return _ManagedLeasedTls if pool.is_master else _LeasedTls
    return _ManagedLeasedTcp if pool.is_master else _LeasedTcp


class Leases:
    """What redis-py's PubSub, Pipeline and Monitor take for their connection pool.

    Everything but the connections is the real pool's.
    """

    def __init__(self, pool: Any, transport: _native.Transport, retrying: bool) -> None:
        self._pool = pool
        self._transport = transport
        self._retrying = retrying
        self._spare: list[LeasedConnection] = []

    async def get_connection(
        self, command_name: Any = None, *keys: Any, **options: Any
    ) -> LeasedConnection:
        """A connected LeasedConnection; past max_connections callers wait in order of arrival."""
        connection = self._spare.pop() if self._spare else self._make()
        await connection.connect()
        return connection

    def _make(self) -> LeasedConnection:
        connection: LeasedConnection = _options.make_connection(
            self._pool, _lease_class(self._pool)
        )
        connection._transport = self._transport
        connection._retrying = self._retrying
        return connection

    async def release(self, connection: Any) -> None:
        """Take a connection back."""
        if isinstance(connection, LeasedConnection):
            connection.release()
            if not connection._connect_callbacks and not self._spare:
                self._spare.append(connection)
        else:
            await self._pool.release(connection)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)
