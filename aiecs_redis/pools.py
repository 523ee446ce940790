"""redis-py's asyncio connection pools, of native connections.

A client needs none of these: given a pool it takes the pool's settings, and the pool closes the
client's connections. They are for code that takes connections out of a pool itself.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio.connection import BlockingConnectionPool as BaseBlockingConnectionPool
from redis.asyncio.connection import Connection as BaseConnection
from redis.asyncio.connection import ConnectionPool as BaseConnectionPool
from redis.asyncio.connection import SSLConnection as BaseSSLConnection
from redis.asyncio.connection import UnixDomainSocketConnection as BaseUnixDomainSocketConnection

from aiecs_redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

__all__ = ["BlockingConnectionPool", "ConnectionPool"]

_NATIVE: dict[Any, Any] = {
    BaseConnection: Connection,
    BaseSSLConnection: SSLConnection,
    BaseUnixDomainSocketConnection: UnixDomainSocketConnection,
}


class ConnectionPool(BaseConnectionPool):
    """redis.asyncio.ConnectionPool; redis-py's connection classes stand for the native ones."""

    def __init__(self, connection_class: Any = Connection, *args: Any, **kwargs: Any) -> None:
        super().__init__(_NATIVE.get(connection_class, connection_class), *args, **kwargs)


class BlockingConnectionPool(BaseBlockingConnectionPool):
    """redis.asyncio.BlockingConnectionPool; callers wait when all connections are in use."""

    def __init__(
        self,
        max_connections: int = 50,
        timeout: float | None = 20,
        connection_class: Any = Connection,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        native = _NATIVE.get(connection_class, connection_class)
        super().__init__(max_connections, timeout, native, *args, **kwargs)
