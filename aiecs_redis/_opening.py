"""Makes the client under a RedisClient, and tests its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import redis.asyncio.cluster
from redis.asyncio.connection import SSLConnection
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError, TimeoutError

from aiecs_redis import settings
from aiecs_redis._options import ConnectRetry
from aiecs_redis.client import Redis, take_own_options
from aiecs_redis.cluster import RedisCluster
from aiecs_redis.sentinel import Sentinel

__all__ = ["is_cluster", "open_redis", "test_connection"]

_BaseRedisCluster = redis.asyncio.cluster.RedisCluster
_ClusterNode = redis.asyncio.cluster.ClusterNode

_FAILOVER = 15.0
"""Seconds that the first command may wait for a master, besides its own time."""


def is_cluster(client: Any) -> bool:
    """Whether it is a client of a cluster."""
    return isinstance(client, _BaseRedisCluster)


def _connectable(arguments: dict[str, Any]) -> Any:
    if "connection_pool" in arguments:
        return Redis(**arguments)
    if arguments.get("sentinels") is not None:
        return _through_sentinels(arguments)
    cluster = arguments.pop("cluster", None)
    if cluster or arguments.get("cluster_nodes") is not None:
        return _of_cluster(arguments)
    own_policy = any(arguments.get(key) for key in ("retry", "retry_on_error"))
    retry_on_timeout = arguments.pop("retry_on_timeout")
    if not own_policy:
        arguments["retry"] = ConnectRetry(ExponentialBackoff(), 3)
    client = Redis(**arguments)
    # Not through the constructor: it only warns that redis-py retries anyway.
    made = client.connection_pool.connection_kwargs
    made["retry_on_timeout"] = retry_on_timeout
    if not made.get("retry_on_error"):
        made.pop("retry_on_error", None)  # a list of the pool's that every connection would extend
    client._configure()
    return client


def _through_sentinels(arguments: dict[str, Any]) -> Any:
    """A client of the master; with it the connections to the Sentinels are closed."""
    taken = {key: arguments.pop(key, None) for key in settings.SENTINEL_KEYS}
    arguments.pop("cluster", None)
    own = take_own_options(arguments)
    own_policy = any(arguments.get(key) for key in ("retry", "retry_on_error"))
    retry_on_timeout = arguments.pop("retry_on_timeout")
    # redis-py's own way from arguments to those of a pool.
    pool = Redis(**arguments).connection_pool
    made = dict(pool.connection_kwargs)
    for key in ("host", "port", *(() if own_policy else ("retry", "retry_on_error"))):
        made.pop(key, None)
    tls = issubclass(pool.connection_class, SSLConnection)
    about = {
        key: value
        for key, value in made.items()
        if key.startswith("socket_") or (tls and key.startswith("ssl_"))
    }
    sentinel_tls = tls if taken["sentinel_ssl"] is None else taken["sentinel_ssl"]
    if not sentinel_tls:
        about = {key: value for key, value in about.items() if not key.startswith("ssl_")}
    about.update(
        ssl=sentinel_tls,
        username=taken["sentinel_username"],
        password=taken["sentinel_password"],
    )
    sentinel = Sentinel(taken["sentinels"], sentinel_kwargs=about)
    client = sentinel.master_for(
        taken["sentinel_master"],
        **{**made, **own},
        max_connections=pool.max_connections,
        retry_on_timeout=retry_on_timeout,
        ssl=tls,
    )
    client.connection_pool.owns_sentinel = True
    return client


def _of_cluster(arguments: dict[str, Any]) -> Any:
    """The client of a cluster."""
    nodes = arguments.pop("cluster_nodes", None)
    arguments.pop("retry_on_timeout")  # a cluster's client has its own policy
    arguments.pop("db")
    if nodes is not None:
        arguments["startup_nodes"] = [_ClusterNode(host, port) for host, port in nodes]
    known = {*settings.parameters(RedisCluster), *settings.OURS}
    unknown = [key for key, value in arguments.items() if key not in known and value is not None]
    if unknown:
        raise ValueError(f"{unknown[0]} is set, but the client of a cluster has no such setting")
    return RedisCluster(**{key: value for key, value in arguments.items() if key in known})


async def _belongs_to_cluster(client: Any) -> bool:
    try:
        info = await client.info("cluster")
    except RedisError:
        return False  # not allowed to ask
    return bool(info.get("cluster_enabled"))


def _say_where(exc: RedisError, where: str) -> None:
    # redis-py names the server when it refuses, not when it times out or rejects the password.
    text = str(exc)
    if where.rpartition("/")[0] not in text and len(exc.args) < 2:
        exc.args = (f"{text} ({where})",)


async def test_connection(client: Any, where: str) -> None:
    """PING once; an error, of redis.exceptions, says where the server is."""
    pool = getattr(client, "connection_pool", None)
    limits = client.get_connection_kwargs() if pool is None else pool.connection_kwargs
    patience = [limits.get(key, 5) for key in ("socket_connect_timeout", "socket_timeout")]
    # A host that swallows packets is given one attempt, not several.
    limit = None if None in patience else max(patience) + 1
    if limit is not None and (pool is None or hasattr(pool, "locate")):
        limit += _FAILOVER
    try:
        await asyncio.wait_for(client.ping(), limit)
    except asyncio.TimeoutError:
        raise TimeoutError(f"Timeout connecting to server ({where})") from None
    except RedisError as exc:
        _say_where(exc, where)
        raise


async def open_redis(config: Mapping[str, Any]) -> tuple[Any, str]:
    """Return a connected client and its location, `host:port/db`.

    Args:
        config: explicit settings; the environment and the defaults complete them.

    Raises:
        ValueError: a wrong setting.
        redis.exceptions.RedisError: the server cannot be reached, or sends us away.
    """
    arguments = settings.load(config)
    where = settings.location(arguments)
    asked = "cluster" not in arguments and "connection_pool" not in arguments
    plain = asked and not {"sentinels", "cluster_nodes"} & set(arguments)
    client = await _tested(dict(arguments), where)
    if plain and await _belongs_to_cluster(client):
        await client.aclose()
        client = await _tested({**arguments, "cluster": True}, where)
    return client, where


async def _tested(arguments: dict[str, Any], where: str) -> Any:
    client = _connectable(arguments)
    try:
        await test_connection(client, where)
    except BaseException:
        await client.aclose()
        raise
    return client
