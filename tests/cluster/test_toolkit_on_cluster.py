"""Lock, cache, stores and keyspace events on a real cluster, with each cluster client."""

import asyncio
import contextlib

import pytest
import pytest_asyncio
import redis.asyncio
from waiting import until

import aiecs_redis
from aiecs_redis._lock_scripts import place_keys
from aiecs_redis._nodes import hash_tag
from aiecs_redis.cache import CacheManager
from aiecs_redis.events import GapEvent, KeyEvent, KeyspaceEvents, KeyspaceEventsError
from aiecs_redis.lock import DistributedLock, LockLostError, StaleFencingTokenError
from aiecs_redis.sessions import SessionStore
from aiecs_redis.tasks import TaskResultStore, TaskStatusStore

KINDS = {
    # Transactions of older ones fail in HGETALL's response callback.
    "redis-py": redis.asyncio.RedisCluster
    if hasattr(redis.asyncio.RedisCluster, "pubsub")
    else None,
    "aiecs_redis": getattr(aiecs_redis, "RedisCluster", None),
}


@pytest.fixture(params=[kind for kind, found in KINDS.items() if found is not None])
def kind(request):
    return KINDS[request.param]


@pytest_asyncio.fixture
async def connect(kind):
    """`await connect(cluster)`: a client, closed at the end."""
    made = []

    async def connect(cluster, **options):
        made.append(kind(**{**cluster.kwargs, "decode_responses": True, **options}))
        return await made[-1].initialize()

    yield connect
    for client in made:
        with contextlib.suppress(redis.exceptions.RedisError):
            await client.aclose()


@pytest_asyncio.fixture
async def client(cluster, connect):
    return await connect(cluster)


def of_each_master(cluster, prefix):
    """A key with the prefix for each master."""
    found = {}
    number = 0
    while len(found) < len(cluster.masters()):
        key = f"{prefix}{number}"
        found.setdefault(cluster.owner_of(key).port, key)
        number += 1
    return list(found.values())


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("a", None),
        ("{a}b", "a"),
        ("a{b}{c}", "b"),
        ("a{}b{c}", None),
        ("}a{", None),
        ("{{a}}", "{a"),
    ],
)
def test_hash_tags(cluster, name, tag):
    assert hash_tag(name) == tag
    if tag is not None:
        node = cluster.nodes[0]
        assert node.call("CLUSTER", "KEYSLOT", name) == node.call("CLUSTER", "KEYSLOT", tag)


# ----------------------------------------------------------------------------- lock


@pytest.mark.parametrize("fair", [False, True])
async def test_lock(cluster, client, connect, fair):
    other = await connect(cluster)
    for name in of_each_master(cluster, "lock:"):
        inside, order = [], []

        async def work(number, name=name, inside=inside, order=order):
            which = (client, other)[number % 2]
            lock = DistributedLock(which, name[5:], wait=20, fair=fair)
            async with lock:
                inside.append(number)
                assert inside == [number]
                assert await lock.execute(("SET", f"{{{name}}}:written", number)) == ["OK"]
                await asyncio.sleep(0.01)
                inside.remove(number)
                order.append(number)

        async with DistributedLock(client, name[5:]):
            tasks = []
            for number in range(6):
                tasks.append(asyncio.ensure_future(work(number)))
                while fair and await client.zcard(place_keys(name)[0]) <= number:
                    await asyncio.sleep(0.01)
        await asyncio.wait_for(asyncio.gather(*tasks), 10)  # a release is told, not waited for
        assert sorted(order) == list(range(6))
        if fair:
            assert order == list(range(6))


async def test_a_lock_and_its_fence(client):
    stale = DistributedLock(client, "fenced", timeout=30)
    with pytest.raises(LockLostError):
        async with stale:
            await client.delete("lock:fenced")
            await stale.extend()
    async with DistributedLock(client, "fenced") as lock:
        assert lock.token > stale.token
        with pytest.raises(StaleFencingTokenError):
            await stale.execute(("SET", "{lock:fenced}:written", 1))


# ---------------------------------------------------------------------------- cache


async def test_cache(cluster, client, connect):
    other = await connect(cluster)
    keys = [key[6:] for key in of_each_master(cluster, "cache:")]
    async with CacheManager(client) as cache, CacheManager(other) as second:
        assert cache.coherent
        for key in keys:
            assert (
                await cache.get(key, loader=lambda key=key: f"value of {key}") == f"value of {key}"
            )
            # What one has written oneself is told, too.
            await until(lambda key=key: cache.get_nowait(key) is None)
            assert await cache.get(key) == cache.get_nowait(key) == f"value of {key}"
            assert await second.get(key) == f"value of {key}"
            await second.set(key, "changed")
            await until(lambda key=key: cache.get_nowait(key) is None)
            assert await cache.get(key) == "changed"
        assert await cache.delete(*keys) == len(keys)
        await until(lambda: all(second.get_nowait(key) is None for key in keys))


async def test_one_load_for_all(cluster, client, connect):
    other = await connect(cluster)
    loads = []

    async def load():
        loads.append(1)
        await asyncio.sleep(0.1)
        return 7

    async with CacheManager(client) as cache, CacheManager(other) as second:
        for key in [key[6:] for key in of_each_master(cluster, "cache:")]:
            loads.clear()
            found = await asyncio.gather(
                *(which.get(key, loader=load) for which in (cache, second) for _ in range(50))
            )
            assert found == [7] * 100
            assert len(loads) == 1


async def test_tags_across_masters(client, cluster):
    keys = [f"tagged:{number}" for number in range(600)]
    async with CacheManager(client) as cache:
        for first in range(0, 600, 50):  # redis-py's cluster client has connections for 100
            some = keys[first : first + 50]
            assert all(await asyncio.gather(*(cache.set(key, 1, tags=["all"]) for key in some)))
        await cache.get("loaded", loader=lambda: 2, tags=["all"])
        await cache.set("other", 3)
        assert await cache.invalidate_tag("all") == 601
        assert await cache.get(keys[0]) is None
        assert await cache.get("loaded") is None
        assert await cache.get("other") == 3
        assert await cache.invalidate_tag("all") == 0
        assert not await client.exists("aiecs:tag:cache:all")


async def test_what_was_loaded_before_a_tag_was_invalidated_is_not_stored(client):
    begun, go = asyncio.Event(), asyncio.Event()

    async def load():
        begun.set()
        await go.wait()
        return "old"

    async with CacheManager(client) as cache:
        loading = asyncio.ensure_future(cache.get("key", loader=load, tags=["t"]))
        await begun.wait()
        await cache.invalidate_tag("t")
        go.set()
        assert await loading == "old"
        assert cache.stats.refused_stores == 1
        assert await cache.get("key") is None


async def test_the_cache_follows_a_failover(replicated, connect):
    client = await connect(replicated)
    key = "followed"
    async with CacheManager(client, heartbeat=0.5, local_ttl=3600, ttl=3600) as cache:
        await cache.set(key, "before")
        await until(lambda: cache.stats.invalidations == 1)
        assert await cache.get(key) == cache.get_nowait(key) == "before"
        master = replicated.owner_of(f"cache:{key}")
        replicas = replicated.replicas(master)
        master.kill()
        await until(lambda: cache.get_nowait(key) is None)
        assert not cache.coherent
        await asyncio.get_running_loop().run_in_executor(
            None, replicated.wait_for_promotion, replicas
        )
        await until(lambda: cache.coherent, 30)
        told = cache.stats.invalidations
        assert await cache.set(key, "after")
        await until(lambda: cache.stats.invalidations > told)
        assert await cache.get(key) == cache.get_nowait(key) == "after"
        writer = await connect(replicated)
        await writer.set(f"cache:{key}", '"by another"')
        await until(lambda: cache.get_nowait(key) is None)
        assert await cache.get(key) == "by another"


# --------------------------------------------------------------------------- stores


async def test_stores(client):
    statuses, results, sessions = (
        TaskStatusStore(client),
        TaskResultStore(client),
        SessionStore(client),
    )
    ids = [f"task_{number}" for number in range(250)]  # more than a portion of SCAN
    for one in ids:
        await statuses.set(one, "running", 5)
        await results.set(one, {"id": one})
    assert (await statuses.update(ids[0], progress=7)).progress == 7
    assert {status.task_id async for status in statuses} == set(ids)
    assert {one: result["id"] async for one, result in results} == {one: one for one in ids}
    assert await results.delete(*ids) == len(ids)
    assert await statuses.delete(*ids[1:]) == len(ids) - 1
    session = await sessions.create("ann", {"role": "admin"})
    assert (await sessions.get(session.session_id)).data == {"role": "admin"}
    assert [found.user_id async for found in sessions] == ["ann"]


# --------------------------------------------------------------------------- events


async def test_events_of_every_master(cluster, client):
    heard = []
    events = KeyspaceEvents(client)
    events.on("set expired", heard.append)
    keys = of_each_master(cluster, "key:")
    async with events:
        for node in cluster.masters():
            assert set(node.call("CONFIG", "GET", "notify-keyspace-events")[1]) >= set("E$x")
        for key in keys:
            await client.set(key, 1, px=10)
        await until(lambda: len(heard) == 2 * len(keys))
    assert set(map(repr, heard)) == {
        repr(KeyEvent(event, key, 0)) for event in ("set", "expired") for key in keys
    }


async def test_a_session_that_ends_on_any_master(client):
    sessions, ended = SessionStore(client, ttl=0.05), []
    events = KeyspaceEvents(client)
    sessions.on_expired(events, ended.append)
    async with events:
        made = [await sessions.create(f"user_{number}") for number in range(20)]
        await until(lambda: len(ended) == 20)
    assert set(ended) == {session.session_id for session in made}


async def test_a_master_that_refuses_leaves_nothing_on_the_others(cluster, client):
    """One that was slow meanwhile subscribed when all was over."""
    refusing, slow, *_ = cluster.masters()
    for node in cluster.masters():
        node.call("CONFIG", "SET", "notify-keyspace-events", "")
    events = KeyspaceEvents(client)
    events.on("set", print)
    before = asyncio.all_tasks()
    refusing.call("ACL", "SETUSER", "default", "-config")
    try:
        slow.call("CLIENT", "PAUSE", "500")
        with pytest.raises(KeyspaceEventsError):
            await events.start()
    finally:
        refusing.call("ACL", "SETUSER", "default", "+@all")
    await asyncio.sleep(0.7)
    for node in cluster.masters():
        assert not node.call("PUBSUB", "CHANNELS")
    await until(lambda: asyncio.all_tasks() == before)


def test_events_in_a_second_run(cluster):
    """An Event that belonged to the first loop was asked for without end."""

    def questions():
        said = [node.call("INFO", "commandstats") for node in cluster.nodes]
        return sum(
            int(text.partition("cluster|slots:calls=")[2].partition(",")[0] or 0) for text in said
        )

    client = aiecs_redis.RedisCluster(**cluster.kwargs)
    events = KeyspaceEvents(client, heartbeat=5)
    events.on("set", print)

    async def use():
        async with events:
            before = questions()
            await asyncio.sleep(0.5)
            asked = questions() - before
        await client.aclose()
        return asked

    assert [asyncio.run(use()), asyncio.run(use())] == [0, 0]


async def test_events_follow_a_failover(replicated, connect):
    client = await connect(replicated)
    heard = []
    events = KeyspaceEvents(client, heartbeat=0.5)
    events.on("set", heard.append)
    events.on_gap(heard.append)
    master = replicated.masters()[0]
    replicas = replicated.replicas(master)
    key = next(
        f"key:{n}" for n in range(100000) if replicated.owner_of(f"key:{n}").port == master.port
    )
    async with events:
        await client.set(key, 1)
        await until(lambda: heard == [KeyEvent("set", key, 0)])
        heard.clear()
        master.kill()
        promoted = await asyncio.get_running_loop().run_in_executor(
            None, replicated.wait_for_promotion, replicas
        )
        await until(lambda: any(isinstance(one, GapEvent) for one in heard), 30)
        await until(lambda: str(promoted.port) in heard[-1].reason, 30)
        heard.clear()
        await client.set(key, 2)
        await until(lambda: heard == [KeyEvent("set", key, 0)])


async def test_nothing_is_left_behind(client, cluster):
    before = asyncio.all_tasks()
    events = KeyspaceEvents(client)
    events.on("set", print)
    async with events, CacheManager(client) as cache:
        await cache.set("a", 1)
        async with DistributedLock(client, "a", wait=1):
            pass
    await until(lambda: asyncio.all_tasks() == before)
    for node in cluster.masters():
        await until(lambda node=node: not node.call("PUBSUB", "CHANNELS"))
