"""limits: its redispy storage looks up redis.asyncio.Redis when made; the patched name suffices."""

import asyncio

import pytest

pytest.importorskip("limits", reason="limits is not installed, `make libraries` does that")

from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.aio import strategies
from limits.storage import storage_from_string

STRATEGIES = [
    strategies.FixedWindowRateLimiter,
    strategies.MovingWindowRateLimiter,
    strategies.SlidingWindowCounterRateLimiter,
]


@pytest.fixture
async def storage(server, native_names):
    storage = storage_from_string(f"async+{server.url}", implementation="redispy")
    client = storage.bridge.get_connection()
    assert type(client) is native_names
    yield storage
    await client.aclose()


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_of_many_concurrent_hits_as_many_pass_as_allowed(
    storage, strategy, python_connections
):
    limiter = strategy(storage)
    limit = RateLimitItemPerMinute(25)
    for user in "ann", "bob":
        passed = await asyncio.gather(*(limiter.hit(limit, user) for _ in range(100)))
        assert passed.count(True) == 25
        assert not await limiter.test(limit, user)
        assert (await limiter.get_window_stats(limit, user)).remaining == 0
    await limiter.clear(limit, "ann")
    assert await limiter.hit(limit, "ann")
    assert not await limiter.hit(limit, "bob")
    assert not python_connections


@pytest.mark.parametrize("strategy", STRATEGIES[:2])
async def test_a_window_opens_again(storage, strategy):
    limiter = strategy(storage)
    limit = RateLimitItemPerSecond(2)
    # All within one window, which on a slow machine may take a second try.
    for _ in range(5):
        if [await limiter.hit(limit, "x") for _ in range(3)] == [True, True, False]:
            break
        await asyncio.sleep(1.1)
    else:
        pytest.fail("no window let two of three hits pass")
    await asyncio.sleep(1.1)
    assert await limiter.hit(limit, "x")


async def test_scripts_are_loaded_again_after_a_script_flush(storage, admin):
    limiter = strategies.MovingWindowRateLimiter(storage)
    limit = RateLimitItemPerMinute(10)
    assert await limiter.hit(limit, "x")
    admin.script_flush()
    passed = await asyncio.gather(*(limiter.hit(limit, "x") for _ in range(20)))
    assert passed.count(True) == 9


async def test_check_and_reset(storage, admin):
    assert await storage.check()
    await storage.incr("a", 60, 5)
    assert [await storage.get("a"), await storage.get("b")] == [5, 0]
    assert admin.keys("LIMITS*")
    admin.set("elsewhere", "kept")
    await storage.bridge.lua_reset()
    assert admin.keys() == ["elsewhere"]
