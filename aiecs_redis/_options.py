"""From a redis-py connection pool to the settings of the native transport.

redis-py itself interprets the settings: one of its connections is constructed (never connected)
and read, so that defaults and conversions are those of the version installed.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import time
import weakref
from typing import Any, Callable

import redis.exceptions
from redis._parsers import Encoder, _AsyncHiredisParser, _AsyncRESP2Parser, _AsyncRESP3Parser
from redis.asyncio.connection import (
    AbstractConnection,
    BlockingConnectionPool,
    Connection,
    ConnectionPool,
    DefaultParser,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection
from redis.backoff import ExponentialWithJitterBackoff
from redis.credentials import CredentialProvider
from redis.event import AsyncAfterConnectionReleasedEvent, AsyncReAuthConnectionListener

from aiecs_redis import _native
from aiecs_redis._bind import BaseRedis
from aiecs_redis.circuit_breaker import CircuitBreaker

POOL_TIMEOUT = 20.0
"""Seconds to wait for a leased connection, as redis-py's BlockingConnectionPool does."""

MAX_PENDING_BYTES = 64 * 1024 * 1024
"""Unsent bytes from which on commands wait."""

USER_TIMEOUT = 30.0
"""Seconds that sent data may stay unacknowledged (TCP_USER_TIMEOUT)."""

HAND_BACK_TIMEOUT = 1.0
"""Seconds that closing waits for items popped by cancelled commands to be put back."""

_TIMEOUTS = (redis.exceptions.TimeoutError, socket.timeout, asyncio.TimeoutError)

NATIVE_CONNECTIONS: set[type] = {Connection, SSLConnection, UnixDomainSocketConnection}
"""Connection classes, redis-py's and (added by connection.py) ours, whose settings say all."""


def _default_retry() -> Retry:
    import inspect

    default: Retry = inspect.signature(BaseRedis.__init__).parameters["retry"].default
    return default


DEFAULT_RETRY = _default_retry()


MANAGED_CONNECTIONS: set[type] = {SentinelManagedConnection, SentinelManagedSSLConnection}
"""Connection classes of redis-py's whose address comes from Sentinel."""


class ConnectRetry(Retry):
    """How often and how fast to try to connect.

    Not a policy for commands: what was sent on a connection that is lost is sent again only where
    that changes nothing.
    """


FAILOVER_RETRY = ConnectRetry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), 25)
"""With Sentinel the server is away while a failover lasts: about ten seconds are waited."""

_PARSERS = (_AsyncHiredisParser, _AsyncRESP2Parser, _AsyncRESP3Parser)


def _asks_for_redis_py(pool: Any) -> bool:
    """Whether a setting means redis-py's own connections: their code, or what they tell others."""
    kwargs = pool.connection_kwargs
    if kwargs.get("redis_connect_func") is not None:
        return True
    if kwargs.get("encoder_class", Encoder) is not Encoder:
        return True
    if kwargs.get("parser_class", DefaultParser) not in _PARSERS:
        return True
    maintenance = getattr(pool, "maint_notifications_enabled", None)
    if maintenance is not None and maintenance() is True:  # "auto" means: if there are any
        return True
    return _listens_to_releases(kwargs.get("event_dispatcher"))


def _listens_to_releases(dispatcher: Any) -> bool:
    """Whether somebody is to be told when a connection goes back to its pool: ours never leave."""
    if dispatcher is None:
        return False
    mapping = getattr(dispatcher, "_event_listeners_mapping", None)
    if mapping is None:
        return True  # a dispatcher of the user's own: nobody knows
    return any(
        type(listener) is not AsyncReAuthConnectionListener
        for listener in mapping.get(AsyncAfterConnectionReleasedEvent, ())
    )


def is_native_pool(pool: Any) -> bool:
    """Whether the pool's settings say all there is to know about its connections.

    Pools that find their server or make their connections in a way of their own (a user's subclass)
    are left to redis-py. That of `aiecs_redis.Sentinel` says where to connect by `locate()`.
    """
    cls = type(pool)
    return (
        isinstance(pool, ConnectionPool)
        and cls.get_connection
        in (ConnectionPool.get_connection, BlockingConnectionPool.get_connection)
        and cls.make_connection
        in (ConnectionPool.make_connection, BlockingConnectionPool.make_connection)
        and (
            pool.connection_class in NATIVE_CONNECTIONS
            or (pool.connection_class in MANAGED_CONNECTIONS and hasattr(cls, "locate"))
        )
        and not _asks_for_redis_py(pool)
    )


def asynchronous_retry(retry: Any) -> Any:
    """The asyncio Retry for one of either class: the other one would never wait for a reply."""
    if retry is None or isinstance(retry, Retry):
        return retry
    return Retry(retry._backoff, retry._retries, retry._supported_errors)


def explicit_retry(pool: Any) -> bool:
    """Whether the user asked for a retry policy, as opposed to redis-py's default."""
    kwargs = pool.connection_kwargs
    retry, errors = kwargs.get("retry"), kwargs.get("retry_on_error")
    if errors and kwargs.get("retry_on_timeout"):
        # Each connection that redis-py makes has added these to the pool's own list.
        errors = [error for error in errors if error not in _TIMEOUTS]
    if retry is None or isinstance(retry, ConnectRetry):
        return bool(errors)
    return bool(errors) or retry != DEFAULT_RETRY


def make_connection(pool: Any, connection_class: Any) -> Any:
    """A connection by the pool's settings, not connected; the settings stay as they are."""
    kwargs = dict(pool.connection_kwargs)
    if connection_class not in MANAGED_CONNECTIONS:
        kwargs.pop("connection_pool", None)  # what Sentinel's connections ask for their address
    if "retry_on_error" in kwargs:
        kwargs["retry_on_error"] = list(kwargs["retry_on_error"] or ())
    if "port" in kwargs:
        kwargs["port"] = _whole("port", kwargs["port"])
    return connection_class(**kwargs)


def _check(template: Any) -> None:
    """Refuse numbers that mean nothing."""
    for name in ("socket_timeout", "socket_connect_timeout", "health_check_interval"):
        value = getattr(template, name)
        if value is None or (name == "health_check_interval" and value == 0):
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise ValueError(f"{name}={value!r}: give a number of seconds greater than 0, or None")


def _credentials(template: Any) -> Callable[[], Any] | None:
    provider = template.credential_provider
    if provider is None:
        username, password = template.username, template.password
        if not username and not password:
            return None
        pair = (username, password or "") if username else (password,)
        return lambda: pair
    if type(provider).get_credentials_async is not CredentialProvider.get_credentials_async:
        return provider.get_credentials_async  # type: ignore[no-any-return]
    return provider.get_credentials  # type: ignore[no-any-return]


def _tls(template: Any) -> dict[str, Any] | None:
    settings = getattr(template, "ssl_context", None)
    if settings is None:
        return None
    flags = int(ssl.create_default_context().verify_flags)
    for flag in settings.include_verify_flags or ():
        flags |= int(flag)
    for flag in settings.exclude_verify_flags or ():
        flags &= ~int(flag)
    minimum = ssl.TLSVersion.TLSv1_2 if settings.min_version is None else settings.min_version
    file, folder = settings.ca_certs, getattr(settings, "ca_path", None)
    if file is None and folder is None and settings.ca_data is None:
        # Python's own answer (it heeds SSL_CERT_FILE, too): the OpenSSL that came with a wheel
        # would look where the system that it was built on has them.
        file, folder = ssl.get_default_verify_paths()[:2]
    return {
        "cafile": _path(file),
        "capath": _path(folder),
        "cadata": settings.ca_data,
        "certfile": _path(settings.certfile),
        "keyfile": _path(settings.keyfile),
        "password": getattr(settings, "password", None),
        "ciphers": settings.ciphers,
        "verify": int(settings.cert_reqs),
        "check_hostname": int(settings.check_hostname),
        "min_version": max(int(minimum), 0),
        "verify_flags": flags,
    }


def _path(value: Any) -> str | None:
    return None if value is None else str(value)


def _socket_options(template: Any) -> tuple[tuple[int, int, int], ...]:
    options: list[tuple[int, int, int]] = []
    if getattr(template, "socket_keepalive", False):
        chosen = getattr(template, "socket_keepalive_options", None) or {}
        options += [(socket.IPPROTO_TCP, int(key), int(value)) for key, value in chosen.items()]
    user_timeout = getattr(socket, "TCP_USER_TIMEOUT", None)
    if user_timeout is not None:
        options.append((socket.IPPROTO_TCP, user_timeout, int(USER_TIMEOUT * 1000)))
    return tuple(options)


def _driver(template: AbstractConnection) -> tuple[str | None, str | None]:
    info = getattr(template, "driver_info", None)
    if info is None:
        name, version = getattr(template, "lib_name", None), getattr(template, "lib_version", None)
    else:
        name, version = info.formatted_name, info.lib_version
    return name or None, version or None


def set_own_options(pool: Any, options: dict[str, Any]) -> None:
    """Keep what redis-py's pools do not know beside the pool's own settings."""
    pool._aiecs_options = options


class Link:
    """What a redis-py pool carries of ours: the transport made by its settings."""

    def __init__(self, pool: Any) -> None:
        config, self.retry = build_config(pool)
        self.settings = _settings(pool)
        self.transport = _native.Transport(config)


def _settings(pool: Any) -> tuple[Any, ...]:
    """Everything that build_config() reads, to tell whether it has changed."""
    return (
        dict(pool.connection_kwargs),
        pool.connection_class,
        pool.max_connections,
        getattr(pool, "timeout", None),
        dict(getattr(pool, "_aiecs_options", {})),
    )


def link(pool: Any) -> Link:
    """The pool's transport; clients made on one pool share it as long as its settings stay.

    Raises:
        redis.exceptions.ConnectionError: a TLS file cannot be read.
    """
    current: Link | None = getattr(pool, "_aiecs_link", None)
    if current is None or current.settings != _settings(pool):
        if current is None:
            pool._aiecs_transports = weakref.WeakSet()
            pool.disconnect = functools.partial(_disconnect, weakref.ref(pool))
            pool.re_auth_callback = functools.partial(_re_auth_callback, weakref.ref(pool))
        current = pool._aiecs_link = Link(pool)
        pool._aiecs_transports.add(current.transport)
    return current


async def _hand_back(transport: _native.Transport) -> None:
    """Wait until what cancelled blocking commands had popped is back in its place."""
    end = time.monotonic() + HAND_BACK_TIMEOUT
    while transport.stats().get("handing_back") and time.monotonic() < end:
        await asyncio.sleep(0.001)


async def _disconnect(reference: weakref.ref[Any], *args: Any, **kwargs: Any) -> None:
    """The pool's disconnect(), and so its aclose(): closes our connections as well."""
    pool = reference()
    if pool is None:
        return
    idle_only = not kwargs.get("inuse_connections", args[0] if args else True)
    for transport in list(pool._aiecs_transports):
        if not (idle_only and transport.stats().get("inflight")):
            await _hand_back(transport)
            transport.close()
    await type(pool).disconnect(pool, *args, **kwargs)
    if not idle_only and hasattr(pool, "locate"):
        await pool.unwatch()
    await asyncio.sleep(0)  # the connection whose reply woke this task is closed in its turn


def _whole(name: str, value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}={value!r}: give a whole number") from None


def _seconds(template: AbstractConnection, name: str) -> float:
    value = getattr(template, name) or 0
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}={value!r}: give a number of seconds, or None") from None


def _endpoint(template: Any) -> dict[str, Any]:
    """What every connection needs: where to, how, and how to read and write text."""
    encoder = template.encoder
    utf8 = encoder.encoding.lower().replace("_", "-") in ("utf-8", "utf8")
    strict = encoder.encoding_errors == "strict"
    where: dict[str, Any] = {"path": getattr(template, "path", None)}
    if type(template) in MANAGED_CONNECTIONS:
        where = _located_by(template.connection_pool)
    elif not hasattr(template, "path"):
        where = {"host": template.host, "port": int(template.port)}
    return {
        **where,
        "encoding": None if utf8 else encoder.encoding,
        "errors": None if strict else encoder.encoding_errors,
        "decode_responses": bool(encoder.decode_responses),
        "connect_timeout": _seconds(template, "socket_connect_timeout"),
        "keepalive": bool(getattr(template, "socket_keepalive", False)),
        "socket_options": _socket_options(template),
        "tls": _tls(template),
    }


async def _locate(reference: weakref.ref[Any], in_use: list[tuple[str, int]]) -> Any:
    pool = reference()
    if pool is None:
        raise redis.exceptions.ConnectionError("The client has been closed.")
    return await pool.locate(in_use)


def _located_by(pool: Any) -> dict[str, Any]:
    """A pool of `aiecs_redis.Sentinel` is asked for the address of each connection."""
    role = "master" if pool.is_master else "replica"
    return {
        "host": f"{role} {pool.service_name}",
        "locate": functools.partial(_locate, weakref.ref(getattr(pool, "itself", pool))),
        "read_only_moves": bool(pool.is_master),
    }


def connection_config(connection: Any) -> _native.Config:
    """The native settings for one connection that redis-py's code will introduce to the server.

    Raises:
        redis.exceptions.ConnectionError: a TLS file cannot be read.
    """
    return _native.Config(**_endpoint(connection), introduce=False)


async def _re_auth_callback(reference: weakref.ref[Any], token: Any) -> None:
    """The pool's re_auth_callback(): a new token is for our connections as well."""
    pool = reference()
    if pool is None:
        return
    words = (token.try_get("oid"), token.get_value())
    here = asyncio.get_running_loop()
    answers: list[Any] = []
    for transport in list(pool._aiecs_transports):
        for loop in transport.loops():
            if loop is here:
                answers += transport.reauthenticate(words)
            else:
                loop.call_soon_threadsafe(transport.reauthenticate, words)
    results = await asyncio.gather(*answers, return_exceptions=True)
    await type(pool).re_auth_callback(pool, token)
    for result in results:
        if isinstance(result, BaseException) and not _is_loss(result):
            raise result


def _is_loss(error: BaseException) -> bool:
    """Of the connection, which needs no new token then: the next one asks for credentials."""
    lost = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)
    return isinstance(error, lost) and not isinstance(error, redis.exceptions.AuthenticationError)


def build_config(pool: Any) -> tuple[_native.Config, Retry]:
    """The native settings for a pool, and the retry policy of its connections.

    Raises:
        ValueError: a setting is no number where it has to be one.
        redis.exceptions.ConnectionError: a TLS file cannot be read, or the protocol is unknown.
        redis.exceptions.DataError: a password beside a credential provider.
    """
    template = make_connection(pool, pool.connection_class)
    _check(template)
    retry = template.retry
    explicit = explicit_retry(pool)
    if type(template) in MANAGED_CONNECTIONS and pool.connection_kwargs.get("retry") is None:
        retry = FAILOVER_RETRY
    lib_name, lib_version = _driver(template)
    own: dict[str, Any] = getattr(pool, "_aiecs_options", {})
    pool_timeout = own.get("pool_timeout", getattr(pool, "timeout", POOL_TIMEOUT))
    max_pending_bytes = own.get("max_pending_bytes", MAX_PENDING_BYTES)
    breaker: CircuitBreaker | None = own.get("circuit_breaker")
    retry_on_timeout = bool(template.retry_on_timeout or own.get("retry_on_timeout"))
    config = _native.Config(
        **_endpoint(template),
        db=_whole("db", template.db or 0),
        credentials=_credentials(template),
        client_name=template.client_name,
        lib_name=lib_name,
        lib_version=lib_version,
        protocol=int(template.protocol or 3),
        timeout=_seconds(template, "socket_timeout"),
        max_connections=min(int(pool.max_connections), 2**31 - 1),
        pool_timeout=float(pool_timeout or 0),
        max_pending_bytes=int(min(max_pending_bytes, 2**63 - 1)),
        retries=0 if explicit else int(retry.get_retries()),
        backoff=retry._backoff.compute,
        replay=not explicit,
        retry_on_timeout=retry_on_timeout and not explicit,
        health_check_interval=_seconds(template, "health_check_interval"),
        operation_timeout=float(own.get("operation_timeout", 0)),
        breaker_failures=breaker.failures if breaker is not None else 0,
        breaker_recovery=breaker.recovery if breaker is not None else 0.0,
        breaker_jitter=breaker.jitter if breaker is not None else 0.0,
        readonly=bool(own.get("readonly")),
    )
    return config, retry
