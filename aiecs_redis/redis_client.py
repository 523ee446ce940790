"""The documented RedisClient, and the one instance an application shares.

    await initialize_redis_client()          # once, at start-up
    client = await get_redis_client()        # anywhere
    await client.set("user:123:email", "john@example.com", ex=3600)
    await close_redis_client()               # at shutdown

The module global `redis_client` is that instance: None before `initialize_redis_client()`
and after `close_redis_client()`. Read it through the module each time
(`from ... import redis_client` inside the function that uses it), or call
`get_redis_client()`.

The module that AIECS knows as `aiecs/infrastructure/persistence/redis_client.py` may consist of
the one line

    from aiecs_redis import redis_client as _; _.alias(__name__)

after which both names lead to the same module object: the global, and whatever a test puts in
its place, is one and the same through either path.

Every method is a plain function that returns the awaitable of the native client, with the
documented error policy attached to it: no coroutine of its own stands between the caller and
the connection. As with any coroutine, nothing is sent before it is awaited or scheduled.
"""

from __future__ import annotations

import inspect
import logging
import sys
import threading
import types
from collections.abc import Coroutine, Mapping
from importlib.machinery import SourceFileLoader
from typing import TYPE_CHECKING, Any, Literal, Optional, TypedDict, TypeVar, Union, overload

import redis.asyncio

from aiecs_redis import settings
from aiecs_redis._cluster_info import cluster_info
from aiecs_redis._native import guard, truth
from aiecs_redis._opening import is_cluster, open_redis, test_connection
from aiecs_redis._single_flight import SingleFlight

if TYPE_CHECKING:
    import datetime

    from typing_extensions import Unpack

    from aiecs_redis.client import Redis

__all__ = [
    "RedisClient",
    "alias",
    "close_redis_client",
    "get_redis_client",
    "initialize_redis_client",
    "redis_client",
]

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")
Call = Coroutine[Any, Any, T]  # what an `async def` returns: awaited, gathered, made a task
Key = Union[str, bytes, memoryview]
Value = Union[str, bytes, bytearray, memoryview, int, float]

_SET_OPTIONS = frozenset(inspect.signature(redis.asyncio.Redis.set).parameters).difference(
    ("self", "name", "value", "ex", "nx")
)  # those of the installed redis-py
_publishing = threading.Lock()  # held for an assignment, never across an await


class SetOptions(TypedDict, total=False):
    """What `RedisClient.set` takes besides `ex`, `nx` and `get` (of redis-py's `set`)."""

    px: int | datetime.timedelta | None
    xx: bool
    keepttl: bool
    exat: int | datetime.datetime | None
    pxat: int | datetime.datetime | None
    ifeq: bytes | str | None
    ifne: bytes | str | None
    ifdeq: str | None
    ifdne: str | None


# ---------------------------------------------------------------- error policy


def _set_failed(key: object, exc: Exception) -> bool:
    logger.error("Redis set failed for key %s: %s", key, exc)
    return False


def _get_failed(key: object, exc: Exception) -> None:
    logger.error("Redis get failed for key %s: %s", key, exc)


def _delete_failed(_: object, exc: Exception) -> int:
    logger.error("Redis delete failed: %s", exc)
    return 0


def _ping_failed(_: object, exc: Exception) -> bool:
    logger.error("Redis ping failed: %s", exc)
    return False


def _info_failed(_: object, exc: Exception) -> dict[str, Any]:
    logger.error("Redis info failed: %s", exc)
    return {}


async def _raising(exc: Exception) -> Any:
    raise exc


class _NotInitialized:
    """In the place of the Redis object while there is none."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("Redis client not initialized. Call initialize() first.")


_NO_CLIENT: Any = _NotInitialized()


# ------------------------------------------------------------------ the client


class RedisClient:
    """A Redis client with the documented methods and error policy.

    `set`, `get`, `delete`, `ping`, `info` and `get_connection_info` never raise: an error is
    logged at level error and gives False, None, 0, False, {} and {}. The other methods let
    redis-py's exceptions (`redis.exceptions.ConnectionError`, `TimeoutError`,
    `ResponseError`, ...) through. Before `initialize()` each of them meets a RuntimeError,
    with the same policy.

    One instance may be used from several event loops, one after the other or in several
    threads. Origin: the RedisClient documentation of AIECS; the call forms of AIECS 2.1 too.

    Args:
        config: settings as `aiecs_redis.settings` describes them; what is not given comes
            from the environment when `initialize()` runs.
        **kwargs: the same, as keywords; they come before `config`.

    Raises:
        TypeError: config is no mapping.
        ValueError: an unknown setting or a wrong value; named, and never a password.
    """

    def __init__(self, config: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self._config = settings.merged(config, kwargs)
        self._client: Any = None  # Optional[Redis]; untyped, as redis-py's return types are wide
        self._where = ""
        self._opening = SingleFlight()

    def __repr__(self) -> str:
        state = f"connected to {self._where}" if self._client is not None else "not initialized"
        return f"<{type(self).__name__} {state}>"

    async def initialize(self) -> None:
        """Connect to the server and test the connection with PING.

        On a client that is initialized already it tests the connection again. Concurrent
        calls share one attempt.

        Raises:
            ValueError: a wrong setting in the environment.
            redis.exceptions.RedisError: the server cannot be reached, refuses the password
                and so on; the text names host and port. The client stays uninitialized, and
                may be tried again.
        """
        await self._opening.run(self._open)

    async def _open(self) -> None:
        try:
            if self._client is not None:
                await test_connection(self._client, self._where)
                return
            client, where = await open_redis(self._config)
        except Exception as exc:
            logger.error("Failed to initialize Redis client: %s", exc)
            raise
        with _publishing:
            first = self._client is None
            if first:
                self._client, self._where = client, where
        if first:
            logger.info("Redis client initialized successfully: %s", where)
        else:  # another event loop was faster
            await client.aclose()

    async def get_client(self) -> Redis[str]:
        """Return the `redis.asyncio.Redis` (our subclass of it) underneath; of a cluster, the
        `redis.asyncio.RedisCluster`.

        Raises:
            RuntimeError: `initialize()` has not been called, or `close()` has.
        """
        if self._client is None:
            raise RuntimeError("Redis client not initialized. Call initialize() first.")
        return self._client  # type: ignore[no-any-return]

    async def close(self) -> None:
        """Close all connections; `initialize()` opens them again. Twice does no harm."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
            logger.info("Redis client closed")

    # ------------------------------------------------------- errors are logged

    @overload
    def set(
        self,
        key: Key,
        value: Value,
        ex: int | datetime.timedelta | None = None,
        nx: bool = False,
        *,
        get: Literal[False] = False,
        **options: Unpack[SetOptions],
    ) -> Call[bool]: ...

    @overload
    def set(
        self,
        key: Key,
        value: Value,
        ex: int | datetime.timedelta | None = None,
        nx: bool = False,
        *,
        get: Literal[True],
        **options: Unpack[SetOptions],
    ) -> Call[str | bytes | bool | None]: ...

    def set(self, key: Key, value: Value, ex: Any = None, nx: bool = False, **options: Any) -> Any:
        """Set a key (SET).

        Args:
            key: its name.
            value: what to store.
            ex: expiration time, seconds (int or timedelta); None for none.
            nx: only if the key does not exist.
            **options: redis-py's other options: px (milliseconds), xx, keepttl, exat, pxat
                (Unix time in seconds, milliseconds), get, and, where redis-py has them,
                ifeq, ifne, ifdeq, ifdne.

        Returns:
            True if it was set. False if a condition (`nx`, `xx`, `if...`) was not met, or
            after an error, which is logged: `Redis set failed for key {key}: {e}`. With
            `get=True` the answer is the value before, None if there was none, whether the
            condition was met or not (as the server gives it); False still means an error.

        Raises:
            TypeError: an option that redis-py's `set` does not have.
        """
        if options and not _SET_OPTIONS.issuperset(options):
            unknown = min(options.keys() - _SET_OPTIONS)
            raise TypeError(f"set() got an unexpected keyword argument {unknown!r}")
        try:
            client = self._client or _NO_CLIENT
            if options:
                call = client.set(key, value, ex=ex, nx=nx, **options)
                return guard(call if options.get("get") else truth(call), _set_failed, key)
            call = client.set(key, value, ex=ex, nx=True) if nx else client.set(key, value, ex=ex)
            return guard(truth(call), _set_failed, key)
        except Exception as exc:
            return guard(_raising(exc), _set_failed, key)

    def get(self, key: Key) -> Call[str | None]:
        """Return the value of a key (GET), as str; None if there is none.

        After an error too, which is logged: `Redis get failed for key {key}: {e}`. With
        `decode_responses=False` the value is bytes.
        """
        try:
            return guard((self._client or _NO_CLIENT).get(key), _get_failed, key)
        except Exception as exc:
            return guard(_raising(exc), _get_failed, key)

    def delete(self, *keys: Key) -> Call[int]:
        """Delete keys (DEL); return how many there were.

        After an error 0, and it is logged: `Redis delete failed: {e}`.
        """
        try:
            return guard((self._client or _NO_CLIENT).delete(*keys), _delete_failed, None)
        except Exception as exc:
            return guard(_raising(exc), _delete_failed, None)

    def ping(self) -> Call[bool]:
        """Return whether the server answers (PING).

        After an error False, and it is logged: `Redis ping failed: {e}`.
        """
        try:
            client = self._client or _NO_CLIENT
            if is_cluster(client):  # of a replica that is down nobody need know
                return guard(truth(client.ping(target_nodes="primaries")), _ping_failed, None)
            return guard(client.ping(), _ping_failed, None)
        except Exception as exc:
            return guard(_raising(exc), _ping_failed, None)

    def info(self, section: str | None = None) -> Call[dict[str, Any]]:
        """Return what INFO says, parsed by redis-py; of one section if it is named.

        Of a cluster, what its masters say, counts added; `nodes` has what each of them says.
        After an error {}, and it is logged: `Redis info failed: {e}`.
        """
        try:
            client = self._client or _NO_CLIENT
            if is_cluster(client):
                return guard(cluster_info(client, section), _info_failed, section)
            call = client.info() if section is None else client.info(section)
            return guard(call, _info_failed, section)
        except Exception as exc:
            return guard(_raising(exc), _info_failed, section)

    async def get_connection_info(self) -> dict[str, Any]:
        """Return three fields of INFO clients, 0 where the server has no such field.

        They are `connected_clients`, `client_recent_max_input_buffer` and
        `client_recent_max_output_buffer` (bytes). After an error {}, and it is logged:
        `Failed to get connection info: {e}`.
        """
        try:
            client: Any = await self.get_client()
            if is_cluster(client):
                info = await cluster_info(client, "clients")
            else:
                info = await client.info("clients")
            return {
                "connected_clients": info.get("connected_clients", 0),
                "client_recent_max_input_buffer": info.get("client_recent_max_input_buffer", 0),
                "client_recent_max_output_buffer": info.get("client_recent_max_output_buffer", 0),
            }
        except Exception as exc:
            logger.error("Failed to get connection info: %s", exc)
            return {}

    # ----------------------------------------------------- errors pass through

    def hset(
        self,
        name: Key,
        key: Key | Mapping[Any, Value] | None = None,
        value: Value | None = None,
        mapping: Mapping[Any, Value] | None = None,
    ) -> Call[int]:
        """Set fields of a hash (HSET); return how many of them are new.

        Call forms: `hset(name, mapping)`, `hset(name, mapping=mapping)`,
        `hset(name, key, value)`, `hset(name, key=key, value=value)`.

        Raises:
            ValueError: (these when awaited) neither a mapping nor a key and a value.
            redis.exceptions.DataError: the mapping is empty.
            redis.exceptions.RedisError: as redis-py.
        """
        try:
            client = self._client or _NO_CLIENT
            if mapping is None:
                if value is not None and key is not None:
                    return client.hset(name, key, value)  # type: ignore[no-any-return]
                if value is not None or not (type(key) is dict or isinstance(key, Mapping)):
                    raise ValueError(
                        "Either provide (key, value) or mapping parameter:"
                        " hset(name, key, value) or hset(name, mapping)"
                    )
                return client.hset(name, mapping=key)  # type: ignore[no-any-return]
            if key is None and value is None:
                return client.hset(name, mapping=mapping)  # type: ignore[no-any-return]
            return client.hset(name, key, value, mapping)  # type: ignore[no-any-return]
        except Exception as exc:
            return _raising(exc)

    def hget(self, name: Key, key: Key) -> Call[str | None]:
        """Return the value of one field of a hash (HGET), as str; None if there is none.

        Raises redis.exceptions.RedisError when awaited, as redis-py.
        """
        try:
            return (self._client or _NO_CLIENT).hget(name, key)  # type: ignore[no-any-return]
        except Exception as exc:
            return _raising(exc)

    def hgetall(self, name: Key) -> Call[dict[str, str]]:
        """Return all fields of a hash (HGETALL), {} if there is none.

        Raises redis.exceptions.RedisError when awaited, as redis-py.
        """
        try:
            return (self._client or _NO_CLIENT).hgetall(name)  # type: ignore[no-any-return]
        except Exception as exc:
            return _raising(exc)

    def hincrby(self, name: Key, key: Key, amount: int = 1) -> Call[int]:
        """Add to a field of a hash, atomically (HINCRBY); return its new value.

        Raises redis.exceptions.RedisError when awaited, as redis-py.
        """
        try:
            client = self._client or _NO_CLIENT
            return client.hincrby(name, key, amount)  # type: ignore[no-any-return]
        except Exception as exc:
            return _raising(exc)

    def exists(self, name: Key) -> Call[bool]:
        """Return whether a key exists (EXISTS).

        Raises redis.exceptions.RedisError when awaited, as redis-py.
        """
        try:
            return truth((self._client or _NO_CLIENT).exists(name))
        except Exception as exc:
            return _raising(exc)

    def expire(self, name: Key, time: int | datetime.timedelta) -> Call[bool]:
        """Let a key expire in `time` seconds (EXPIRE); return whether there is such a key.

        Raises redis.exceptions.RedisError when awaited, as redis-py.
        """
        try:
            return (self._client or _NO_CLIENT).expire(name, time)  # type: ignore[no-any-return]
        except Exception as exc:
            return _raising(exc)


# --------------------------------------------------------- the shared instance

redis_client: Optional[RedisClient] = None  # noqa: UP045 (as documented)
"""The shared instance; None before it is initialized and after it is closed."""

_initializing = SingleFlight()


async def initialize_redis_client(config: Mapping[str, Any] | None = None) -> None:
    """Create and initialize the shared instance, unless there is one.

    Concurrent calls give one instance. After a failure the global stays None, so that the
    next call tries again.

    Args:
        config: as for `RedisClient`; not looked at when there is an instance already.

    Raises:
        ValueError, redis.exceptions.RedisError: as `RedisClient.initialize()`.
    """

    async def create() -> None:
        global redis_client
        client = RedisClient(config)
        await client.initialize()
        with _publishing:
            first = redis_client is None
            if first:
                redis_client = client
        if not first:  # another event loop was faster
            await client.close()

    if redis_client is None:
        await _initializing.run(create)


async def get_redis_client() -> RedisClient:
    """Return the shared instance.

    Raises:
        RuntimeError: there is none (yet, or any more).
    """
    if redis_client is None:
        raise RuntimeError("Redis client not initialized. Call initialize_redis_client() first.")
    return redis_client


async def close_redis_client() -> None:
    """Close the shared instance and forget it; does nothing when there is none."""
    global redis_client
    client, redis_client = redis_client, None
    if client is not None:
        await client.close()


class _LoaderOfAliases(SourceFileLoader):
    """Finds the code whatever the module is called, for `python -m` with an alias."""

    def get_code(self, fullname: str) -> types.CodeType | None:
        return super().get_code(self.name)


def alias(name: str) -> None:
    """Let another name stand for this module.

    Args:
        name: the `__name__` of the module that calls this in its only line. Nothing happens
            when that is run as a script (`python -m ...`).
    """
    if name == "__main__":
        return
    module = sys.modules[name] = sys.modules[__name__]
    spec = module.__spec__
    if spec is not None and type(spec.loader) is SourceFileLoader:
        spec.loader = _LoaderOfAliases(spec.loader.name, spec.loader.path)
