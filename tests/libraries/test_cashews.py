"""cashews: its clients are subclasses of redis.asyncio.Redis; it is imported afresh.

They override `execute_command`, and call ours from there. Its pipelines it makes by itself, of
redis-py's class under the name it has then: ours.
"""

import asyncio

import pytest

pytest.importorskip("cashews", reason="cashews is not installed, `make libraries` does that")


@pytest.fixture
async def make_cache(server, imported_afresh, native_names):
    """`make_cache(**options)`: a cashews.Cache on the server."""
    cashews = imported_afresh("cashews")
    from cashews.backends.redis import client

    assert issubclass(client.Redis, native_names) and issubclass(client.SafeRedis, native_names)
    made = []

    def make_cache(**options):
        made.append(cashews.Cache())
        made[-1].setup(server.url, **options)
        return made[-1]

    yield make_cache
    for cache in made:
        await cache.close()


@pytest.mark.parametrize("suppress", [True, False])
async def test_the_cache_as_such(make_cache, suppress, python_connections):
    cache = make_cache(suppress=suppress)
    await cache.set("user:1", {"name": "Ann"}, expire=60)
    assert await cache.get("user:1") == {"name": "Ann"}
    assert await cache.get("user:2", default="nobody") == "nobody"
    assert 55 < await cache.get_expire("user:1") <= 60
    assert await cache.set("user:1", "x", exist=False) is False
    assert await cache.incr("count") == 1
    assert sorted(await asyncio.gather(*(cache.incr("count") for _ in range(200)))) == list(
        range(2, 202)
    )
    assert await cache.get_many("user:1", "user:2", "count") == ({"name": "Ann"}, None, 201)
    assert await cache.exists("user:1") and not await cache.exists("user:2")
    assert await cache.ping() == b"PONG"
    assert not python_connections

    await cache.set_many({f"many:{n}": n for n in range(50)}, expire=60)
    assert sorted([key async for key in cache.scan("many:*")]) == sorted(
        f"many:{n}" for n in range(50)
    )
    await cache.delete_match("many:*")
    assert [key async for key in cache.scan("many:*")] == []
    assert not python_connections


async def test_a_locked_function_runs_once(make_cache, python_connections):
    cache = make_cache()
    calls = []

    @cache(ttl="1m", key="square:{n}", lock=True)
    async def square(n):
        calls.append(n)
        await asyncio.sleep(0.05)
        return n * n

    results = await asyncio.gather(*(square(n % 5) for n in range(60)))
    assert results == [(n % 5) ** 2 for n in range(60)]
    assert sorted(calls) == [0, 1, 2, 3, 4]
    assert not python_connections


async def test_locks_exclude_each_other(make_cache):
    cache = make_cache()
    inside = most = 0

    async def work():
        nonlocal inside, most
        async with cache.lock("key", expire="5s"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(10)))
    assert (inside, most) == (0, 1)


async def test_tags_take_their_keys_away(make_cache):
    cache = make_cache()
    calls = []

    @cache(ttl="1m", key="page:{user}:{page}", tags=["pages:{user}"])
    async def page(user, page):
        calls.append((user, page))
        return f"{user} {page}"

    async def all_pages():
        return await asyncio.gather(*(page(user, n) for user in "ab" for n in range(5)))

    first = await all_pages()
    assert await all_pages() == first and len(calls) == 10
    await cache.delete_tags("pages:a")
    assert await all_pages() == first
    assert sorted(calls[10:]) == [("a", n) for n in range(5)]


async def test_a_transaction_is_rolled_back(make_cache):
    cache = make_cache()
    await cache.set("a", 1)
    with pytest.raises(ZeroDivisionError):
        async with cache.transaction():
            await cache.set("a", 2)
            1 / 0  # noqa: B018
    assert await cache.get("a") == 1
    async with cache.transaction():
        await cache.set("a", 3)
        await cache.set("b", 4)
    assert await cache.get_many("a", "b") == (3, 4)


async def test_a_rate_limit(make_cache):
    cache = make_cache()
    from cashews.exceptions import RateLimitError

    @cache.slice_rate_limit(limit=5, period="1m", key="calls:{user}")
    async def call(user):
        return user

    results = await asyncio.gather(*(call("ann") for _ in range(12)), return_exceptions=True)
    assert results.count("ann") == 5
    assert sum(isinstance(result, RateLimitError) for result in results) == 7


async def test_client_side_caches_are_invalidated(make_cache):
    """CLIENT TRACKING over a pub/sub connection: the second cache forgets what the first sets.

    On RESP2: with RESP3 these invalidations are pushes, which redis-py's PubSub does not hand out.
    """
    first = make_cache(client_side=True, protocol=2)
    second = make_cache(client_side=True, protocol=2)
    await first.set("shared", "old")
    assert await second.get("shared") == "old"
    await first.set("shared", "new")
    for _ in range(200):
        if await second.get("shared") == "new":
            break
        await asyncio.sleep(0.01)
    assert await second.get("shared") == "new"


async def test_errors_are_suppressed_or_not(make_cache, start_server):
    """A server that went away: SafeRedis answers from nothing, Redis raises cashews' error."""
    from cashews.exceptions import CacheBackendInteractionError

    server = start_server()
    safe, strict = make_cache(), make_cache()
    safe.setup(server.url)
    strict.setup(server.url, suppress=False)
    for cache in safe, strict:
        await cache.set("key", "value")
    server.kill()
    assert await safe.get("key", default="missing") == "missing"
    with pytest.raises(CacheBackendInteractionError):
        await strict.get("key")
    server.restart()
    for cache in safe, strict:
        await cache.set("key", "again")
        assert await cache.get("key") == "again"
