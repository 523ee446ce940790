"""The nodes of a cluster, each through a client of its own.

Subscriptions, client tracking and settings belong to one server, so on a `RedisCluster` they are
made on each master. Only redis-py's public interface is used, so that both its cluster client and
ours are served.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import redis.asyncio

__all__ = [
    "any_master",
    "hash_tag",
    "is_cluster",
    "masters",
    "node_client",
    "node_settings",
    "of_each",
]

_AT_ONCE = 32

# What a cluster's connections have and a client of one node must not: READONLY on connecting, and
# what follows the cluster's own announcements.
_NOT_FOR_ONE_NODE = (
    "redis_connect_func",
    "event_dispatcher",
    "maint_notifications_config",
    "oss_cluster_maint_notifications_handler",
    "orig_host_address",
    "orig_socket_timeout",
    "orig_socket_connect_timeout",
)


def is_cluster(redis_: Any) -> bool:
    """Whether it is a `redis.asyncio.RedisCluster`, or something made like it."""
    return hasattr(redis_, "get_primaries")


async def masters(redis_: Any, *, anew: bool = False) -> dict[str, Any]:
    """The cluster's masters by name; with `anew` the cluster is asked who they are.

    Raises:
        redis.exceptions.RedisError: no node answers.
    """
    await redis_.initialize()
    if anew:
        await redis_.nodes_manager.initialize()
    return {node.name: node for node in redis_.get_primaries()}


def node_settings(node: Any) -> tuple[type[Any], dict[str, Any]]:
    """The class and the arguments of connections to a node."""
    settings = {k: v for k, v in node.connection_kwargs.items() if k not in _NOT_FOR_ONE_NODE}
    return node.connection_class, {**settings, "host": node.host, "port": int(node.port)}


def node_client(node: Any) -> Any:
    """A client of one node; the caller closes it."""
    connection_class, settings = node_settings(node)
    pool = redis.asyncio.ConnectionPool(connection_class=connection_class, **settings)
    return redis.asyncio.Redis.from_pool(pool)


async def any_master(redis_: Any, *, anew: bool = False) -> Any:
    """A client of one master, whichever; the caller closes it."""
    return node_client(random.choice(list((await masters(redis_, anew=anew)).values())))


async def of_each(function: Callable[[Any], Awaitable[Any]], items: Iterable[Any]) -> list[Any]:
    """The results for some items, a few at a time: redis-py's cluster client has no queue for
    connections, it fails."""
    found: list[Any] = []
    left = list(items)
    for first in range(0, len(left), _AT_ONCE):
        found += await asyncio.gather(*map(function, left[first : first + _AT_ONCE]))
    return found


def hash_tag(name: str) -> str | None:
    """What alone decides about a key's slot in a cluster; None if it is the whole key."""
    start = name.find("{")
    end = name.find("}", start + 1)
    return name[start + 1 : end] if 0 <= start < end - 1 else None
