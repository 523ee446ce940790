"""A pytest plugin that puts another package's classes in the place of redis-py's.

It is loaded before redis-py's tests are, so that their imports find the others.

COMPAT_SWAP: the package, or "none".
COMPAT_NAMES: "clients" (Redis, StrictRedis, RedisCluster and Sentinel), or "all": every class of
    redis.asyncio that the package has a subclass of, pools and connections too.
"""

import collections
import functools
import importlib
import os
import tracemalloc
import types

import pytest
import redis
import redis.asyncio
import redis.asyncio.client
import redis.asyncio.cluster
import redis.asyncio.connection
import redis.asyncio.sentinel
import redis.commands.helpers

# The suite's conftest traces allocations for the whole session, which only takes time.
tracemalloc.start = tracemalloc.stop = lambda *arguments: None

SWAP = os.environ.get("COMPAT_SWAP", "none")
CLIENTS = ("Redis", "StrictRedis", "RedisCluster", "Sentinel")
ORIGINALS = {
    name: value
    for name in redis.asyncio.__all__
    if isinstance(value := getattr(redis.asyncio, name), type)
}

swapped = {}  # name -> the class now in its place


def _swap(package):
    module = importlib.import_module(package)  # first: it binds the originals
    every = os.environ.get("COMPAT_NAMES") == "all"
    for name, original in ORIGINALS.items():
        cls = getattr(module, name, None)
        ours = isinstance(cls, type) and cls is not original and issubclass(cls, original)
        if ours and (every or name in CLIENTS):
            swapped[name] = cls
    if not swapped:
        raise pytest.UsageError(f"{package} exports no class that could be swapped in")
    of = redis.asyncio
    for name, cls in swapped.items():
        homes = (of, of.client, of.cluster, of.sentinel)
        if name not in CLIENTS:
            homes = (of, of.connection, of.sentinel)
        for home in homes:
            if getattr(home, name, None) is ORIGINALS[name]:
                setattr(home, name, cls)
    if "Redis" in swapped:
        _swap_defaults(swapped["Redis"])
    # redis-py asks isinstance(x, redis.asyncio.Redis), of its own pipelines too.
    redis.commands.helpers.redis = types.SimpleNamespace(
        Redis=redis.Redis,
        cluster=redis.cluster,
        asyncio=types.SimpleNamespace(Redis=ORIGINALS["Redis"]),
    )


def _swap_defaults(cls):
    """`Sentinel.master_for(redis_class=Redis)` and the like bound the original at import."""
    for function in vars(ORIGINALS["Sentinel"]).values():
        if isinstance(function, types.FunctionType) and function.__defaults__:
            function.__defaults__ = tuple(
                cls if default is ORIGINALS["Redis"] else default
                for default in function.__defaults__
            )


if SWAP != "none":
    _swap(SWAP)

# ---- What a test really used: without these counts, a swap that took no effect, or clients that
# ---- quietly went redis-py's way, would look like success.

made = collections.Counter()  # clients by kind: "ours", "redis-py"
reads = 0  # replies read by redis-py's own transport


def _count_instances(cls):
    init = cls.__init__

    @functools.wraps(init)
    def counting(self, *args, **kwargs):
        made["ours" if isinstance(self, tuple(swapped.values())) else "redis-py"] += 1
        return init(self, *args, **kwargs)

    cls.__init__ = counting


def _count_reads(cls):
    read = cls.read_response

    @functools.wraps(read)
    async def counting(self, *args, **kwargs):
        global reads
        reads += 1
        return await read(self, *args, **kwargs)

    cls.read_response = counting


for _name in ("Redis", "RedisCluster", "Sentinel"):
    _count_instances(ORIGINALS[_name])
_count_reads(redis.asyncio.connection.AbstractConnection)


def reset():
    """Begin to count anew."""
    global reads
    reads = 0
    made.clear()
