"""The cache: three levels, single-flight, early refresh, tags, and Redis in trouble."""

import asyncio
import logging
import os
import sys
import time
from pathlib import Path

import pytest
import redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from aiecs_redis.cache import CacheManager
from aiecs_redis.serialization import Codec, SerializationError

ROOT = Path(__file__).resolve().parents[2]


class Loader:
    """A database: counts its queries, and answers when it is told to."""

    def __init__(self, value="loaded", seconds=0.0):
        self.value = value
        self.seconds = seconds
        self.calls = 0
        self.go = None

    async def __call__(self):
        self.calls += 1
        if self.go is not None:
            await self.go.wait()
        await asyncio.sleep(self.seconds)
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.fixture
async def cache(client):
    async with CacheManager(client) as cache:
        yield cache


@pytest.fixture
async def other(make_client):
    """The cache of another process, as far as Redis can tell."""
    async with CacheManager(await make_client()) as cache:
        yield cache


# --------------------------------------------------------------------- levels


async def test_as_documented(any_client, admin):
    async with CacheManager(any_client) as cache:
        assert await cache.get("user:1") is None
        assert await cache.set("user:1", '{"name": "Jane"}', ttl=600) is True
        assert await cache.get("user:1") == '{"name": "Jane"}'
        assert 530_000 < admin.pttl("cache:user:1") <= 600_000
        assert await cache.delete("user:1") == 1
        assert await cache.get("user:1") is None
        assert await cache.delete("user:1") == 0
        assert await cache.delete() == 0


async def test_from_the_loader_to_redis_to_the_process(any_client, kind, make_client, until):
    load = Loader({"name": "Jürgen"})
    async with CacheManager(any_client) as cache:
        assert await cache.get("user:1", loader=load) == {"name": "Jürgen"}
        async with CacheManager(await make_client(kind=kind)) as other:
            assert await other.get("user:1", loader=load) == {"name": "Jürgen"}
            assert other.get_nowait("user:1") == {"name": "Jürgen"}
            assert (other.stats.redis_hits, other.stats.local_hits) == (1, 1)
    assert load.calls == 1
    assert cache.stats.loads == cache.stats.misses == 1


async def test_a_change_by_anyone_reaches_every_process(cache, other, admin, until):
    await cache.set("a", 1)
    assert await other.get("a") == 1
    await cache.set("a", 2)
    await until(lambda: other.get_nowait("a") is None)
    assert await other.get("a") == 2
    admin.set("cache:a", "3")
    await until(lambda: other.get_nowait("a") is None)
    assert await other.get("a") == 3
    admin.pexpire("cache:a", 1)
    await until(lambda: other.get_nowait("a") is None)
    assert await other.get("a") is None
    await cache.set("a", 4)
    assert await other.get("a") == 4
    admin.flushall()
    await until(lambda: other.get_nowait("a") is None)


async def test_one_reads_what_one_wrote(cache):
    for version in range(200):
        await cache.set("a", version)
        assert await cache.get("a") == version


async def test_a_read_that_began_before_a_delete_does_not_serve_those_after(cache):
    await cache.set("a", "old")
    await asyncio.sleep(0.05)
    cache._flush()
    before = asyncio.ensure_future(cache.get("a"))
    await asyncio.sleep(0)
    await cache.delete("a")
    assert await cache.get("a") is None
    await before
    assert await cache.get("a") is None


async def test_no_longer_here_than_in_redis(client, admin, until):
    admin.set("cache:a", "1", px=1000)  # before, or its invalidation would come in between
    async with CacheManager(client, local_ttl=60) as cache:
        assert await cache.get("a") == 1
        assert cache._entries["a"][1] - time.monotonic() <= 1.0
        await asyncio.sleep(1.05)
        assert cache.get_nowait("a", "gone") == "gone"


async def test_no_longer_here_than_allowed(client, admin):
    admin.set("cache:a", "1")
    async with CacheManager(client, local_ttl=0.6) as cache:
        assert await cache.get("a") == 1
        assert cache.get_nowait("a") == 1
        await asyncio.sleep(0.65)
        assert cache.get_nowait("a") is None
        assert await cache.get("a") == 1


async def test_the_local_level_is_bounded(client, admin):
    admin.mset({f"cache:{n}": n for n in range(20)})
    async with CacheManager(client, local_size=10) as cache:
        for n in range(10):
            await cache.get(str(n))
        cache.get_nowait("0")  # used last
        for n in range(10, 19):
            await cache.get(str(n))
        assert cache.get_nowait("0") == 0
        assert cache.get_nowait("1") is None
        assert (cache.stats.local_size, cache.stats.evictions) == (10, 9)


async def test_without_a_local_level(client, admin):
    async with CacheManager(client, local_ttl=0) as cache:
        await cache.set("a", 1)
        assert await cache.get("a") == 1
        assert cache.get_nowait("a") is None


async def test_a_local_hit_costs_a_few_calls(client, admin):
    """A quarter of a microsecond on a usual machine; here counted, in Python and in C."""
    admin.set("cache:a", "1")
    async with CacheManager(client) as cache:
        assert await cache.get("a") == 1
        called = []

        def note(frame, event, what):
            if event in ("call", "c_call"):
                called.append(frame.f_code.co_name if event == "call" else what.__name__)

        def seen(hit):
            called.clear()
            sys.setprofile(note)
            try:
                found = hit()
            finally:
                sys.setprofile(None)
            assert found == 1
            return called[: called.index("setprofile")]

        def awaited():
            try:
                cache.get("a").send(None)
            except StopIteration as stop:  # it waits for nothing
                return stop.value

        look = ["get_nowait", "get", "monotonic", "move_to_end"]
        assert seen(lambda: cache.get_nowait("a"))[1:] == look
        assert seen(awaited)[1:] == ["send", "get", *look]
        assert cache.stats.local_hits == 2


async def test_a_cached_function_counts_its_hits(cache, until):
    @cache.cached(key="user:{number}")
    async def user(number):
        return number

    await user(1)
    await until(lambda: cache.stats.invalidations)
    assert [await user(1) for _ in range(10)] == [1] * 10
    assert (cache.stats.local_hits, cache.stats.redis_hits) == (9, 1)


async def test_a_lost_connection_empties_the_local_level(make_client, proxy, until):
    async with CacheManager(await make_client(proxy)) as cache:
        await cache.set("a", 1)
        await cache.get("a")
        proxy.refuse()
        proxy.cut()
        await until(lambda: not cache.coherent)
        assert cache.stats.local_size == 0
        proxy.accept()
        await until(lambda: cache.coherent)
        assert await cache.get("a") == 1
        assert cache.get_nowait("a") == 1


async def test_a_connection_that_fell_silent_empties_it_too(make_client, proxy, admin, until):
    client = await make_client(proxy)
    admin.set("cache:a", "1")
    async with CacheManager(client, heartbeat=0.1) as cache:
        assert await cache.get("a") == 1
        await asyncio.sleep(0.5)
        assert cache.get_nowait("a") == 1  # the heartbeat is answered
        proxy.to_client.stall()
        await until(lambda: cache.get_nowait("a") is None)
        proxy.to_client.resume()
        await until(lambda: cache.coherent)


async def test_any_prefix(client, admin, until):
    async with CacheManager(client, prefix="") as cache:
        await cache.set("user:1", 1, tags=("t",))
        assert admin.get("user:1") == "1"
        assert await cache.get("user:1") == 1
        admin.delete("user:1")
        await until(lambda: cache.get_nowait("user:1") is None)
        assert await cache.get("a", loader=Loader()) == "loaded"


# --------------------------------------------------------------- single-flight


async def test_a_thousand_misses_load_once(cache, other):
    load = Loader(seconds=0.05)
    reads = [(cache, other)[n % 2].get("a", loader=load) for n in range(1000)]
    assert await asyncio.gather(*reads) == ["loaded"] * 1000
    assert load.calls == 1


async def test_across_processes(own):
    running = []
    try:
        for _ in range(3):
            running.append(
                await asyncio.create_subprocess_exec(
                    sys.executable,
                    str(Path(__file__).parent / "isolated" / "cache_readers.py"),
                    own.url,
                    "334",
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                )
            )
        for process in running:
            assert await process.stdout.readline() == b"ready\n"
        for process in running:
            process.stdin.write(b"go\n")
        loads = [int(await asyncio.wait_for(p.stdout.readline(), 30)) for p in running]
        assert sum(loads) == 1
    finally:
        for process in running:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_who_waits_for_another_process_does_not_poll(cache, other, admin):
    load = Loader(seconds=0.6)
    first = asyncio.ensure_future(cache.get("a", loader=load))
    await asyncio.sleep(0.1)
    second = asyncio.ensure_future(other.get("a", loader=load))
    await asyncio.sleep(0.1)
    before = admin.info("commandstats")["cmdstat_evalsha"]["calls"]
    await asyncio.sleep(0.2)
    assert admin.info("commandstats")["cmdstat_evalsha"]["calls"] == before
    assert await asyncio.gather(first, second) == ["loaded"] * 2
    assert load.calls == 1


async def test_without_being_told_of_changes_it_still_loads_once(start_server, make_client):
    server = start_server(users={"default": "on nopass ~* &* +@all -client"})
    caches = [CacheManager(await make_client(server)) for _ in range(2)]
    load = Loader(seconds=0.2)
    assert not await caches[0].start()
    values = await asyncio.gather(*(caches[n % 2].get("a", loader=load) for n in range(100)))
    assert values == ["loaded"] * 100
    assert load.calls == 1
    assert caches[0].get_nowait("a") is None
    for cache in caches:
        await cache.aclose()


async def test_a_loader_that_takes_longer_than_its_lease(make_client):
    load = Loader(seconds=1.5)
    async with CacheManager(await make_client(), lease=0.9) as one:
        async with CacheManager(await make_client(), lease=0.9) as two:
            values = await asyncio.gather(one.get("a", loader=load), two.get("a", loader=load))
    assert values == ["loaded"] * 2
    assert load.calls == 1


async def test_a_process_that_died_while_loading_is_replaced(client, admin):
    admin.set("aiecs:lease:{cache:a}", "someone dead", px=300)
    async with CacheManager(client) as cache:
        assert await asyncio.wait_for(cache.get("a", loader=Loader()), 10) == "loaded"


async def test_what_a_loader_raises_reaches_everyone_and_nothing_is_kept(cache, other, admin):
    load = Loader(LookupError("on purpose"), seconds=0.05)
    results = await asyncio.gather(
        *(cache.get("a", loader=load) for _ in range(10)), return_exceptions=True
    )
    assert {str(result) for result in results} == {"on purpose"}
    assert load.calls == 1
    assert admin.keys("*") == []
    assert cache.stats.load_errors == 1
    load.value = "well"
    assert await other.get("a", loader=load) == "well"


async def test_cancelling_one_does_not_cancel_the_others(cache):
    load = Loader(seconds=0.1)
    first, second = (asyncio.ensure_future(cache.get("a", loader=load)) for _ in range(2))
    await asyncio.sleep(0.02)
    first.cancel()
    assert await second == "loaded"
    assert first.cancelled()
    assert load.calls == 1


async def test_a_plain_function_as_loader(cache):
    assert await cache.get("a", loader=lambda: [1]) == [1]


# -------------------------------------------------------------- late and early


@pytest.mark.parametrize("how", ["delete", "set", "tag"])
async def test_what_was_loaded_before_a_change_is_not_stored_after_it(cache, other, admin, how):
    load = Loader("old")
    load.go = asyncio.Event()
    reading = asyncio.ensure_future(cache.get("a", loader=load, tags=("t",)))
    while not load.calls:
        await asyncio.sleep(0.01)
    if how == "delete":
        await other.delete("a")
    elif how == "set":
        await other.set("a", "new")
    else:
        await other.invalidate_tag("t")
    load.go.set()
    assert await reading == "old"
    assert cache.stats.refused_stores == 1
    assert await cache.get("a") == ("new" if how == "set" else None)
    assert admin.get("cache:a") == ('"new"' if how == "set" else None)


async def test_nothing_found_is_remembered_for_a_while(client, other, admin):
    async with CacheManager(client, negative_ttl=1, jitter=0) as cache:
        load = Loader(None)
        assert await cache.get("a", loader=load) is None
        assert await other.get("a", loader=load) is None
        assert await cache.get("a", loader=load) is None
        assert load.calls == 1
        assert cache.get_nowait("a", "unknown") is None
        await asyncio.sleep(1.1)
        load.value = "there now"
        assert await cache.get("a", loader=load) == "there now"


async def test_nothing_found_need_not_be_remembered(client, admin):
    async with CacheManager(client, negative_ttl=0) as cache:
        load = Loader(None)
        assert [await cache.get("a", loader=load) for _ in range(3)] == [None] * 3
        assert load.calls == 3
        assert admin.keys("*") == []


async def test_lifetimes_are_scattered(client, admin):
    async with CacheManager(client, ttl=1000, jitter=0.5) as cache:
        for number in range(40):
            await cache.set(str(number), 1)
    left = [admin.pttl(f"cache:{number}") for number in range(40)]
    assert max(left) <= 1_000_000
    assert min(left) >= 490_000
    assert max(left) - min(left) > 100_000


async def test_early_refresh_in_the_background(client, admin, until, monkeypatch):
    load = Loader("first", seconds=0.02)
    async with CacheManager(client, local_ttl=0, jitter=0) as cache:
        await cache.get("a", ttl=60, loader=load)
        await cache.get("a", ttl=60, loader=load)
        assert load.calls == 1
        monkeypatch.setattr(cache, "_early_by", lambda cost: 1e5 if cost else 0.0)
        load.value = "second"
        assert await cache.get("a", ttl=60, loader=load) == "first"  # nobody waits
        monkeypatch.undo()
        await until(lambda: cache.stats.stores == 2)
        assert await cache.get("a", ttl=60, loader=load) == "second"
        assert (load.calls, cache.stats.early_refreshes) == (2, 1)


async def test_how_early():
    import aiecs_redis

    cache = CacheManager(aiecs_redis.Redis())
    times = sorted(cache._early_by(2.0) for _ in range(4000))
    assert 1.8 < sum(times) / len(times) < 2.2  # exponential, with the cost for its mean
    assert 1.2 < times[2000] < 1.6
    assert cache._early_by(0.0) == 0.0
    assert not CacheManager(aiecs_redis.Redis(), beta=0)._is_early(100, 0.001)


# ------------------------------------------------------------------------ tags


async def test_tags(any_client, other, admin):
    async with CacheManager(any_client) as cache:
        await cache.set("a", 1, tags=("users", "all"))
        await cache.get("b", loader=Loader(2), tags=("users",))
        await cache.set("c", 3, tags=("all",))
        assert [await other.get(key) for key in "abc"] == [1, 2, 3]
        assert await cache.invalidate_tag("users") == 2
        assert [await cache.get(key) for key in "abc"] == [None, None, 3]
        assert await cache.invalidate_tag("users", "nothing") == 0
        assert await cache.invalidate_tag("all") == 1


async def test_a_tag_of_many_keys(cache, admin):
    await asyncio.gather(*(cache.set(str(n), n, tags=("many",)) for n in range(1200)))
    assert await cache.invalidate_tag("many") == 1200
    assert admin.keys("*") == []


async def test_a_load_from_before_its_tag_was_invalidated_is_not_given_to_others(cache, admin):
    loader = Loader("before")
    loader.go = asyncio.Event()
    early = asyncio.ensure_future(cache.get("a", loader=loader, tags=["t"]))
    while not admin.exists("aiecs:tag:cache:t"):
        await asyncio.sleep(0.01)
    assert await cache.invalidate_tag("t") == 0
    loader.go.set()
    late = asyncio.ensure_future(cache.get("a", loader=Loader("after"), tags=["t"]))
    assert await early == "before"
    assert await late == "after"
    assert await cache.get("a") == "after"


async def test_a_tag_forgets_keys_that_have_expired(cache, admin):
    await cache.set("a", 1, ttl=0.05, tags=("t",))
    await asyncio.sleep(0.1)
    await cache.set("b", 1, ttl=50, tags=("t",))
    assert admin.zrange("aiecs:tag:cache:t", 0, -1) == ["cache:b"]
    assert admin.pttl("aiecs:tag:cache:t") > 0


# ----------------------------------------------------------------------- codec


async def test_codecs(client, admin):
    packed = Codec("pickle", signing_key="k" * 16, compression="zlib", compress_above=10)
    async with CacheManager(client, codec=packed, local_ttl=0) as cache:
        await cache.set("a", {1, 2})
        assert await cache.get("a") == {1, 2}
        await cache.set("b", [1], codec=Codec())
        assert admin.get("cache:b") == "[1]"
        assert await cache.get("b") == [1]
        await cache.get("c", loader=Loader({3}, seconds=0.01))
        assert await cache.get("c") == {3}


async def test_damage(cache, admin, caplog):
    admin.set("cache:a", "{oops")
    with pytest.raises(SerializationError, match="cache:a"):
        await cache.get("a")
    assert await cache.get("a", loader=Loader("new")) == "new"
    assert admin.get("cache:a").endswith('"new"')
    with pytest.raises(SerializationError, match="cache:b"):
        await cache.get("b", loader=Loader(object()))
    assert not admin.exists("aiecs:lease:{cache:b}")


# --------------------------------------------------------------------- @cached


async def test_cached(cache, other, admin):
    calls = []

    @cache.cached(ttl=600, key="user:{user_id}", tags=("users", "user-{user_id}"))
    async def get_user(user_id, full=False):
        """Docs."""
        calls.append(user_id)
        return {"id": user_id}

    assert [await get_user(1), await get_user(user_id=1), await get_user(2)] == [
        {"id": 1},
        {"id": 1},
        {"id": 2},
    ]
    assert calls == [1, 2]
    assert await other.get("user:1") == {"id": 1}
    assert get_user.key(1) == "user:1"
    await get_user.invalidate(1)
    await get_user(1)
    await other.invalidate_tag("user-2")
    await asyncio.sleep(0.05)
    await get_user(2)
    assert calls == [1, 2, 1, 2]
    assert (get_user.__name__, get_user.__doc__) == ("get_user", "Docs.")


async def test_keys_of_arguments(cache):
    @cache.cached()
    async def f(a, b=2, *rest, **options):
        return [a, b, list(rest), options]

    assert f.key(1) == f.key(1, 2) == f.key(a=1) != f.key(1, 3)
    assert f.key("1") != f.key(1)
    assert f.key(1, x={"b": 1, "a": 2}) == f.key(1, x={"a": 2, "b": 1})
    assert await f(1, 2, 3, x=4) == [1, 2, [3], {"x": 4}]
    with pytest.raises(TypeError, match="type object"):
        await f(object())
    by_function = cache.cached(key=lambda a: f"mine:{a}")(f)
    assert by_function.key(5) == "mine:5"
    # What compares equal and is written in different ways, asked twice as keys are remembered.
    by_template = cache.cached(key="{a}:{b}")(f)
    for _ in range(2):
        written = [by_template.key(a) for a in (1, True, "1", 1.0, 0.0, -0.0, b"1", None)]
        assert written == ["1:2", "True:2", "1:2", "1.0:2", "0.0:2", "-0.0:2", "b'1':2", "None:2"]
        assert by_template.key((1,)) != by_template.key((True,))


async def test_cached_methods(cache):
    class Users:
        def __init__(self, name):
            self.name = name
            self.calls = 0

        @cache.cached(key="{self.name}:{number}")
        async def get(self, number):
            self.calls += 1
            return [self.name, number]

    a, b = Users("a"), Users("b")
    assert [await a.get(1), await a.get(1), await b.get(1)] == [["a", 1], ["a", 1], ["b", 1]]
    assert (a.calls, b.calls) == (1, 1)
    await a.get.invalidate(1)
    await a.get(1)
    assert (a.calls, b.calls) == (2, 1)


# --------------------------------------------------------------------- trouble


async def test_when_redis_is_gone_loaders_go_on(start_server, make_client, caplog):
    caplog.set_level(logging.ERROR)
    server = start_server()
    client = await make_client(server, retry=Retry(NoBackoff(), 0), socket_connect_timeout=0.5)
    async with CacheManager(client) as cache:
        server.kill()
        load = Loader(seconds=0.02)
        values = await asyncio.gather(*(cache.get("a", loader=load) for _ in range(20)))
        assert values == ["loaded"] * 20
        assert load.calls == 1
        assert await cache.get("b") is None
        assert await cache.set("a", 1) is False
        for change in (cache.delete("a"), cache.invalidate_tag("t")):
            with pytest.raises(redis.exceptions.ConnectionError):
                await change
        said = [record.getMessage() for record in caplog.records]
        assert any(line.startswith("Redis get failed for key cache:a: ") for line in said)
        assert any(line.startswith("Redis set failed for key cache:a: ") for line in said)
        server.start()
        assert await cache.get("a", loader=load) == "loaded"


async def test_one_loop_each(client):
    cache = CacheManager(client)
    await cache.start()

    def elsewhere():
        with pytest.raises(RuntimeError, match="one event loop"):
            asyncio.run(cache.get("a"))

    await asyncio.get_running_loop().run_in_executor(None, elsewhere)
    await cache.aclose()


async def test_closing_cancels_nobody_who_waits(client, admin):
    """They got a CancelledError, which ends a task, or a group's, without a word."""
    cache = CacheManager(client)
    loader = Loader()
    loader.go = asyncio.Event()
    waiting = [asyncio.ensure_future(cache.get("a", loader=loader)) for _ in range(3)]
    while not loader.calls:
        await asyncio.sleep(0.01)
    waiting[0].cancel()
    await cache.aclose()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    for result in results[1:]:
        assert isinstance(result, RuntimeError) and "closed meanwhile" in str(result)
    loader.go.set()
    assert await cache.get("a", loader=loader) == "loaded"
    await cache.aclose()


def test_a_second_run(own):
    import aiecs_redis

    cache = CacheManager(aiecs_redis.Redis(**own.kwargs))

    async def use():
        await cache.start()
        await cache.set("a", 1)
        return await cache.get("a")

    assert asyncio.run(use()) == 1  # not closed: as a program that ends does
    assert asyncio.run(use()) == 1


async def test_nothing_is_left_behind(client, admin, until):
    before = asyncio.all_tasks()
    async with CacheManager(client) as cache:
        reading = asyncio.ensure_future(cache.get("a", loader=Loader(seconds=60)))
        await asyncio.sleep(0.05)
    with pytest.raises(RuntimeError, match="closed meanwhile"):
        await reading
    await until(lambda: asyncio.all_tasks() == before)
    await until(lambda: not admin.pubsub_channels())
    assert admin.keys("*") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("ttl", 0), ("lease", -1), ("local_ttl", -1), ("jitter", 1), ("local_size", -1)],
)
async def test_wrong_values(name, value):
    import aiecs_redis

    with pytest.raises(ValueError, match=f"{name}={value}"):
        CacheManager(aiecs_redis.Redis(), **{name: value})


async def test_a_wrong_ttl_of_a_call(cache):
    with pytest.raises(ValueError, match="ttl=0"):
        await cache.set("a", 1, ttl=0)
