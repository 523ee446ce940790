"""aiocache: RedisCache looks up redis.asyncio.Redis when it is made; the patched name suffices."""

import asyncio

import pytest

pytest.importorskip("aiocache", reason="aiocache is not installed, `make libraries` does that")

import aiocache
from aiocache.lock import OptimisticLock, OptimisticLockError, RedLock
from aiocache.serializers import PickleSerializer


@pytest.fixture
def location(server):
    """aiocache's arguments for the server."""
    known = {name: server.kwargs.get(name) for name in ("port", "db", "password")}
    return {"endpoint": server.kwargs["host"], **known}


@pytest.fixture
def make_cache(location, native_names):
    """`make_cache(**options)`: a RedisCache on the server."""

    def make_cache(**options):
        cache = aiocache.Cache(aiocache.Cache.REDIS, **location, **options)
        assert type(cache.client) is native_names
        return cache

    return make_cache


async def test_a_cache_with_a_namespace(make_cache, admin, python_connections):
    async with make_cache(namespace="shop") as cache:
        await cache.set("1", {"name": "ball", "price": 3.5})
        assert admin.get("shop:1") == '{"name": "ball", "price": 3.5}'
        assert await cache.get("1") == {"name": "ball", "price": 3.5}
        assert await cache.get("2", default="none") == "none"

        await cache.multi_set([("2", [1, 2]), ("3", None)], ttl=60)
        assert await cache.multi_get(["1", "2", "3", "4"]) == [
            {"name": "ball", "price": 3.5},
            [1, 2],
            None,
            None,
        ]
        assert 55 < admin.ttl("shop:2") <= 60

        await cache.set("short", "x", ttl=0.5)
        assert 0 < admin.pttl("shop:short") <= 500
        await cache.add("new", 1)
        with pytest.raises(ValueError, match="already exists"):
            await cache.add("new", 2)
        assert [await cache.exists("new"), await cache.exists("old")] == [True, False]
        assert await cache.expire("new", 100) and admin.ttl("shop:new") > 90
        assert await cache.delete("new") == 1

        admin.set("elsewhere", "kept")
        await cache.clear(namespace="shop")
        assert admin.keys() == ["elsewhere"]
    assert not python_connections


async def test_counting_by_many_tasks(make_cache, python_connections):
    async with make_cache() as cache:
        counts = await asyncio.gather(*(cache.increment("visits", 2) for _ in range(300)))
        assert sorted(counts) == list(range(2, 602, 2))
        await cache.set("word", "text")
        with pytest.raises(TypeError, match="not an integer"):
            await cache.increment("word")
    assert not python_connections


async def test_binary_values(make_cache):
    async with make_cache(serializer=PickleSerializer()) as cache:
        value = {"bytes": bytes(range(256)), "set": {1, 2}, "none": None}
        await cache.set("pickled", value)
        assert await cache.get("pickled") == value


async def test_red_lock_lets_one_task_compute(make_cache):
    """A stampede of 50 tasks on one missing value computes it once."""
    computed = []
    async with make_cache() as cache:

        async def value():
            if (found := await cache.get("value")) is not None:
                return found
            async with RedLock(cache, "value", lease=5):
                if (found := await cache.get("value")) is not None:
                    return found
                computed.append(1)
                await asyncio.sleep(0.05)
                await cache.set("value", 42)
                return 42

        assert await asyncio.gather(*(value() for _ in range(50))) == [42] * 50
    assert len(computed) == 1


async def test_optimistic_lock_notices_another_writer(make_cache):
    async with make_cache() as cache:
        await cache.set("balance", 10)
        async with OptimisticLock(cache, "balance") as lock:
            await lock.cas(11)
        assert await cache.get("balance") == 11
        async with OptimisticLock(cache, "balance") as lock:
            await cache.set("balance", 99)
            with pytest.raises(OptimisticLockError):
                await lock.cas(12)
        assert await cache.get("balance") == 99


async def test_cached_function(location, native_names, admin):
    calls = []

    @aiocache.cached(
        ttl=60, key_builder=lambda f, n: f"square:{n}", cache=aiocache.Cache.REDIS, **location
    )
    async def square(n):
        calls.append(n)
        return n * n

    assert type(square.cache.client) is native_names
    async with square.cache:
        for _ in range(3):
            results = await asyncio.gather(*(square(n) for n in range(20)))
            assert results == [n * n for n in range(20)]
    assert sorted(calls) == list(range(20))
    assert admin.get("square:7") == "49"
