"""`Redis`: redis-py's asyncio client on the native transport."""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any, Callable, Literal, TypeVar, overload
from urllib.parse import unquote_plus

from redis.asyncio.client import Monitor

from aiecs_redis import _native, _options
from aiecs_redis._bind import BaseRedis, observability_collector, response_callbacks
from aiecs_redis._clients import known_clients
from aiecs_redis._generic import Commands, T_co
from aiecs_redis._stand_in import StandIn
from aiecs_redis.circuit_breaker import CircuitBreaker
from aiecs_redis.connection import LeasedConnection, Leases
from aiecs_redis.pipeline import Pipeline
from aiecs_redis.timeouts import call_with_retry

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool
    from redis.asyncio.retry import Retry
    from typing_extensions import Unpack

    from aiecs_redis._commands.options import RedisOptions
    from aiecs_redis.pubsub import PubSub

    # For type checkers, redis-py's annotations of what Commands lacks come first.
    _First = BaseRedis
    _Second = _native.Client
else:
    _First = _native.Client
    _Second = BaseRedis

__all__ = ["Redis", "StrictRedis", "from_url"]

Self = TypeVar("Self", bound="Redis[Any]")

_SECRETS = ("username", "password", "ssl_password", "ssl_ca_data")
_OWN_OPTIONS = ("max_pending_bytes", "pool_timeout", "operation_timeout", "circuit_breaker")


def take_own_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Our own constructor arguments, taken out of those for redis-py, and checked."""
    given = {name: kwargs.pop(name) for name in _OWN_OPTIONS if name in kwargs}
    # None is the default, which of pool_timeout alone is not the same as no limit.
    own = {name: v for name, v in given.items() if v is not None or name == "pool_timeout"}
    for name, value in own.items():
        if value is None:
            continue
        if name == "circuit_breaker":
            if not isinstance(value, CircuitBreaker):
                raise ValueError(f"{name}={value!r}: give an aiecs_redis.CircuitBreaker, or None")
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise ValueError(f"{name}={value!r}: give a number greater than 0")
    return own


# How a URL writes them; the number for a circuit breaker is that of its failures.
_URL_OPTIONS: dict[str, tuple[Callable[[str], Any], str]] = {
    "max_pending_bytes": (int, "give a whole number greater than 0"),
    "pool_timeout": (float, "give a number greater than 0"),
    "operation_timeout": (float, "give a number greater than 0"),
    "circuit_breaker": (
        lambda text: CircuitBreaker(failures=int(text)),
        "give the number of failures, at least 1",
    ),
}


def _take_url_options(url: str) -> tuple[str, dict[str, Any]]:
    """The URL without our own options, the rest of it letter by letter, and those options."""
    before, mark, query = url.partition("?")
    query, fragment_mark, fragment = query.partition("#")
    own: dict[str, Any] = {}
    kept = []
    for pair in query.split("&"):
        name, text = map(unquote_plus, pair.partition("=")[::2])
        parse, fix = _URL_OPTIONS.get(name, (None, ""))
        if parse is None:
            kept.append(pair)
            continue
        try:
            own.setdefault(name, parse(text))
        except ValueError:
            raise ValueError(f"{name}={text!r} in the URL: {fix}") from None
    if not own:
        return url, own
    rest = "&".join(kept)
    return before + (mark + rest if rest else "") + fragment_mark + fragment, own


class CoroutineExecutor:
    """A client for redis-py's methods that do more to a reply if it is a coroutine's."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        return await self._client.execute_command(*args, **options)


class Redis(Commands[T_co], _First, _Second, metaclass=StandIn):  # type: ignore[misc]
    """redis.asyncio.Redis with its commands on native, multiplexed connections.

    Takes every argument of redis.asyncio.Redis, and four of its own:

    Args:
        max_pending_bytes: unsent bytes on a connection from which on further commands wait
            for room, default 64 MiB.
        pool_timeout: seconds that a command which needs a connection of its own (BLPOP, say)
            waits for one when max_connections are in use, default 20; None: without end.
        operation_timeout: seconds for each operation as a whole: waiting for a connection and for
            room, being sent again after a lost connection, the reply. Default None: the timeouts
            of the parts only. `aiecs_redis.timeout()` bounds a block of code.
        circuit_breaker: an `aiecs_redis.CircuitBreaker`: fail at once while the server cannot be
            reached. Default None: wait for as many attempts to connect as `retry` says.

    Commands of all tasks share one connection, pipelined in the order in which they were
    issued; cancelling or timing out a command leaves the connection in place. After a lost
    connection, commands that were not sent, reads, and writes whose repetition changes nothing
    are sent again; others raise `aiecs_redis.exceptions.OutcomeUnknownError`. An explicit
    `retry=` or `retry_on_error=` has redis-py's meaning instead. One client may be used from
    several event loops and after fork(): each has connections of its own.

    To type checkers it is generic in the type of strings in replies: Redis[str] with
    decode_responses=True, else Redis[bytes]; plain Redis stands for either.
    """

    @overload  # the pool decides on the replies
    def __init__(
        self,
        *,
        connection_pool: ConnectionPool | None,
        decode_responses: bool = False,
        **kwargs: Unpack[RedisOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: Redis[bytes],
        *,
        decode_responses: Literal[False] = False,
        **kwargs: Unpack[RedisOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: Redis[str], *, decode_responses: Literal[True], **kwargs: Unpack[RedisOptions]
    ) -> None: ...
    @overload
    def __init__(
        self: Redis, *, decode_responses: bool = False, **kwargs: Unpack[RedisOptions]
    ) -> None: ...

    def __init__(self, **kwargs: Any) -> None:
        own = take_own_options(kwargs)
        if "retry" in kwargs:
            kwargs["retry"] = _options.asynchronous_retry(kwargs["retry"])
        if kwargs.get("retry_on_timeout") and kwargs.get("connection_pool") is None:
            own["retry_on_timeout"] = True  # redis-py's client keeps it from its pool
        super().__init__(**kwargs)
        if own:
            _options.set_own_options(self.connection_pool, own)
        known_clients[id(self.response_callbacks)] = self
        self._configure()
        self._feed_observability()

    def _feed_observability(self) -> None:
        """Have redis-py's own metrics, if they are on, told of the native commands."""
        collected = observability_collector()
        if collected is not None:
            from aiecs_redis._observability import feed  # needs the client

            feed(self, collected)

    def __repr__(self) -> str:
        text: str = super().__repr__()  # type: ignore[no-untyped-call]
        for key in _SECRETS:  # the pools of redis-py 7 show them
            value = self.connection_pool.connection_kwargs.get(key)
            if value is not None:
                text = text.replace(f"{key}={value}", f"{key}=<REDACTED>")
        return text

    def __copy__(self: Self) -> Self:
        """As of redis.asyncio.Redis: another client of the same pool, with the same callbacks."""
        copied = type(self).__new__(type(self))
        for name, value in vars(self).items():
            if name != "_client_metrics":  # it counts for itself
                setattr(copied, name, value)
        copied._configure()
        copied._feed_observability()
        return copied

    def _configure(self) -> None:
        """Take the transport of the pool, made anew when the pool's settings have changed.

        Called by the constructor, so that bad settings are told there, and with the first command.
        """
        pool = self.connection_pool
        self._retry_policy: Retry | None = None
        self._leases: Leases | None = None
        if not _options.is_native_pool(pool):
            self._native_configure(None, False)
            return
        link = _options.link(pool)
        retrying = _options.explicit_retry(pool)
        self._leases = Leases(pool, link.transport, retrying)
        if self.single_connection_client:
            self._native_configure(None, False)  # redis-py's code drives a leased connection
            return
        self._retry_policy = link.retry
        self._native_configure(link.transport, retrying)

    @classmethod
    def from_url(
        cls: type[Self],
        url: str,
        single_connection_client: bool = False,
        auto_close_connection_pool: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """A client for redis://, rediss:// or unix:// URLs, as redis.asyncio.Redis.from_url.

        The URL's query may hold our own options, too (`?pool_timeout=2&circuit_breaker=5`, the
        number of failures); as with redis-py's, they come before keywords.

        Raises:
            ValueError: an option has no such value, or the URL another scheme.
        """
        url, from_url = _take_url_options(url)
        own = take_own_options({**kwargs, **from_url})
        for name in _OWN_OPTIONS:
            kwargs.pop(name, None)
        if "retry" in kwargs:
            kwargs["retry"] = _options.asynchronous_retry(kwargs["retry"])
        make: Any = super().from_url
        client: Self = make(url, single_connection_client, auto_close_connection_pool, **kwargs)
        if own:
            _options.set_own_options(client.connection_pool, own)
            client._configure()
        return client

    async def _retry_execute(self, *args: Any, **options: Any) -> Any:
        """One command under the user's own retry policy."""
        return await self._retrying(lambda: self._native_execute(*args, **options))

    async def _retrying(self, attempt: Callable[[], Any]) -> Any:
        own = getattr(self.connection_pool, "_aiecs_options", {})
        assert self._retry_policy is not None
        return await call_with_retry(self._retry_policy, own.get("operation_timeout"), attempt)

    def _on_resp2_fallback(self) -> None:
        """The server speaks RESP2 only: use redis-py's callbacks for it, keep the user's own."""
        settings = self.connection_pool.connection_kwargs
        legacy = settings.get("legacy_responses", True)
        before = response_callbacks(settings.get("protocol"), legacy)
        after = response_callbacks(2, legacy)
        for name in {*before, *after}:
            if self.response_callbacks.get(name) is not before.get(name):
                continue
            if name in after:
                self.response_callbacks[name] = after[name]
            else:
                del self.response_callbacks[name]

    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(types.GenericAlias)

        @functools.wraps(BaseRedis.xread)
        def xread(self, *args: Any, **kwargs: Any) -> Any:
            return BaseRedis.xread(CoroutineExecutor(self), *args, **kwargs)

        @functools.wraps(BaseRedis.xreadgroup)
        def xreadgroup(self, *args: Any, **kwargs: Any) -> Any:
            return BaseRedis.xreadgroup(CoroutineExecutor(self), *args, **kwargs)

    def set_retry(self, retry: Retry) -> None:
        """Change the retry policy; native connections are made anew with the next command."""
        super().set_retry(_options.asynchronous_retry(retry))
        self._configure()

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline[T_co]:
        """A queue of commands sent in one write, as redis.asyncio.Redis.pipeline."""
        return Pipeline(
            self.connection_pool,
            self.response_callbacks,
            transaction,
            shard_hint,
            client=self,
        )

    def pubsub(self, **kwargs: Any) -> PubSub:
        """Subscriptions on a connection of their own: see `aiecs_redis.PubSub` for arguments."""
        from aiecs_redis.pubsub import PubSub

        return PubSub(
            self._leases or self.connection_pool,
            **{"event_dispatcher": self._event_dispatcher, **kwargs},
        )

    def monitor(self) -> Monitor:
        """Every command that the server receives, as redis.asyncio.Redis.monitor()."""
        return Monitor(self._leases or self.connection_pool)  # type: ignore[arg-type]

    async def initialize(self: Self) -> Self:
        """With single_connection_client, take the connection; as redis.asyncio.Redis does."""
        if self.single_connection_client and self._leases is not None:
            async with self._single_conn_lock:
                if self.connection is None:
                    connection: Any = await self._leases.get_connection()
                    self.connection = connection
        await super().initialize()
        return self

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """As redis.asyncio.Redis.aclose(); closing the pool closes the native connections.

        Commands still pending then fail with redis.exceptions.ConnectionError; the next one
        connects anew.
        """
        connection: Any = self.connection
        if isinstance(connection, LeasedConnection) and self._leases is not None:
            self.connection = None
            await self._leases.release(connection)
        await super().aclose(close_connection_pool)


StrictRedis = Redis


def from_url(url: str, **kwargs: Any) -> Redis:
    """A client for a redis://, rediss:// or unix:// URL, as redis.asyncio.from_url()."""
    return Redis.from_url(url, **kwargs)
