"""The server under the benchmark: that of REDIS_HOST and REDIS_PORT, or one started for the run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from aiecs_redis.testing import ClusterServers, RedisServer
from benchmarks.address import Address


@contextlib.contextmanager
def server() -> Iterator[Address]:
    """Yield the address of a real redis-server; one that was started here is stopped on exit."""
    host = os.environ.get("REDIS_HOST")
    if host:
        yield Address(host, int(os.environ.get("REDIS_PORT") or 6379))
        return
    with RedisServer() as started:
        assert started.port is not None
        yield Address(started.host, started.port)


def is_external() -> bool:
    """Whether the server is someone else's, so that what was written is to be removed."""
    return bool(os.environ.get("REDIS_HOST"))


@contextlib.contextmanager
def cluster() -> Iterator[Address]:
    """Yield the address of a node of a cluster with three masters; it is stopped on exit."""
    with ClusterServers(masters=3) as started:
        host, port = started.addresses[0]
        yield Address(host, port)
