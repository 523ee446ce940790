"""RedisCluster on real clusters: routing, redirections, parts, pipelines, transactions."""

import asyncio
import contextlib
import copy
import gc
import inspect
import os
import sys
import time
import weakref

import pytest
import redis.asyncio
import redis.exceptions as errors
from collecting import at_each_collection
from redis.asyncio.cluster import RedisCluster as BaseRedisCluster
from waiting import until

from aiecs_redis import OutcomeUnknownError, RedisCluster, _native, _topology

KEYS = [f"key:{number}" for number in range(60)]
HALVES = ["{way}1", "{way}2"]  # of one slot


@pytest.fixture
def client(native):
    return native


def stats(client):
    return client._topology.cluster.stats()


def other_master(cluster, key):
    return next(node for node in cluster.masters() if node is not cluster.owner_of(key))


# ---------------------------------------------------------------------- routing


async def test_is_a_drop_in(client):
    assert isinstance(client, redis.asyncio.RedisCluster)
    assert isinstance(client, BaseRedisCluster)
    assert asyncio.iscoroutine(command := client.get("key"))
    assert await command is None


async def test_commands_go_to_the_node_of_their_key(client, cluster):
    assert await asyncio.gather(*(client.set(key, key) for key in KEYS)) == [True] * len(KEYS)
    for node in cluster.masters():
        here = [key for key in KEYS if cluster.owner_of(key) is node]
        assert node.call("DBSIZE") == len(here) > 0
    assert await asyncio.gather(*(client.get(key) for key in KEYS)) == KEYS
    assert stats(client)["moved"] == 0


async def test_many_commands_may_wait_for_the_first_topology(cluster):
    """Each costs the same, however many there are: it was once the square of their number."""

    async def seconds_each(count):
        async with RedisCluster(**cluster.kwargs) as client:
            before = time.process_time()
            await asyncio.gather(*(client.get(f"key:{number}") for number in range(count)))
            return (time.process_time() - before) / count

    await seconds_each(1)
    few = min([await seconds_each(1_500) for _ in range(3)])
    # The square would be 20 times as much; a full cache and the garbage collector make it a few.
    assert min([await seconds_each(30_000) for _ in range(2)]) < 10 * few


async def test_one_connection_to_each_node(client, cluster):
    def connections():
        return [node.call("CLIENT", "LIST").count("\n") for node in cluster.masters()]

    before = connections()
    await asyncio.gather(*(client.get(key) for key in KEYS * 20))
    assert all(now <= then + 1 for now, then in zip(connections(), before))


@pytest.mark.parametrize(
    ("command", "result"),
    [
        (("HSET", "h", "f", "v"), 1),
        (("EVAL", "return KEYS[1]", 1, "k"), "k"),
        (("EVAL", "return 7", 0), 7),
        (("BITOP", "NOT", "{b}1", "{b}2"), 0),
        (("ZUNIONSTORE", "{z}1", 2, "{z}2", "{z}3"), 0),
        (("XREAD", "COUNT", 1, "STREAMS", "{s}1", "{s}2", "0", "0"), []),
        (("OBJECT", "ENCODING", "nothing"), None),
        (("MEMORY USAGE", "nothing"), None),
        ((b"get", b"nothing"), None),
        (("SET", 5, 1.5), True),
        pytest.param(
            ("LMPOP", 2, "{l}1", "{l}2", "LEFT"), None, marks=pytest.mark.since("7.0", "LMPOP")
        ),
    ],
)
async def test_where_keys_are(client, command, result):
    assert await client.execute_command(*command) == result
    assert stats(client)["moved"] == 0


async def test_commands_without_keys_and_for_named_nodes(client, cluster):
    await client.mset(dict.fromkeys(KEYS, "1"))
    assert await client.ping() is True
    assert await client.dbsize(target_nodes="primaries") == len(KEYS)
    assert sorted([key async for key in client.scan_iter()]) == sorted(KEYS)
    per_node = await client.execute_command("DBSIZE", target_nodes=client.get_primaries()[0])
    assert 0 < per_node < len(KEYS)
    assert len(await client.ping(target_nodes=RedisCluster.ALL_NODES) and client.get_nodes()) == 3
    assert set((await client.flushall()).values()) == {True}
    assert await client.dbsize(target_nodes="primaries") == 0


async def test_a_bad_argument_is_refused_before_anything_is_sent(client):
    await client.get("warm")
    with pytest.raises(errors.DataError, match="NoneType"):
        await client.set("key", None)
    with pytest.raises(errors.DataError):
        await client.mget(["a", None])


@pytest.mark.parametrize(
    "command", [("RENAME", "a", "b"), ("SINTER", "a", "b"), ("MSETNX", "a", 1, "b", 2)]
)
async def test_keys_in_several_slots(client, command):
    with pytest.raises(errors.RedisClusterException, match=f"{command[0]} - all keys must map"):
        await client.execute_command(*command)


# -------------------------------------------------------------- commands in parts


async def test_mget_and_mset_over_all_slots(client):
    values = {key: f"value of {key}" for key in KEYS}
    assert await client.mset(values) is True
    order = [*KEYS, "nothing", KEYS[3], KEYS[0]]
    assert await client.mget(order) == [values.get(key) for key in order]
    assert await client.mget(*KEYS[:2]) == [values[key] for key in KEYS[:2]]


async def test_counts_over_all_slots(client):
    await client.mset(dict.fromkeys(KEYS, "1"))
    assert await client.exists(*KEYS, "nothing", KEYS[0]) == len(KEYS) + 1
    assert await client.touch(*KEYS) == len(KEYS)
    assert await client.unlink(*KEYS[:10]) == 10
    assert await client.delete(*KEYS) == len(KEYS) - 10
    assert await client.delete(KEYS[0]) == 0


async def test_an_error_in_one_part_is_the_error(client):
    await client.mset(dict.fromkeys(KEYS, "1"))
    await client.lpush("list", "x")
    values = await client.mget(*KEYS, "list")  # MGET gives None for what is no string
    assert values[-1] is None
    with pytest.raises(errors.ResponseError, match="wrong number"):
        await client.execute_command("MSET", "a")


async def test_parts_of_a_cancelled_command_leave_nothing_behind(client):
    await client.mset({key: key for key in KEYS})
    for _ in range(50):
        task = asyncio.ensure_future(client.mget(KEYS))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await client.mget(KEYS) == KEYS


@pytest.mark.parametrize("kind", ["keys", "pipeline"])
async def test_a_finalizer_that_cancels_a_command_while_it_is_taken_apart(kind, client):
    await client.mset({key: key for key in KEYS})
    pipe = client.pipeline()
    for key in KEYS:
        pipe.get(key)
    for _ in range(5):
        command = asyncio.ensure_future(client.mget(KEYS) if kind == "keys" else pipe.execute())

        def cancel(command=command):
            if "pending" in repr(command):
                command.cancel()

        with at_each_collection(cancel):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await asyncio.gather(command, return_exceptions=True)
    assert await client.mget(KEYS) == KEYS


def test_where_the_keys_of_a_command_are():
    client = RedisCluster(host="127.0.0.1", port=1)  # is not connected to
    slots, slot = client._topology.cluster.slots, client.keyslot("key")
    assert slot != client.keyslot("other")
    for _ in range(2):  # names are remembered by their identity
        for name in ("GET", "get", b"GET", "".join(["G", "ET"]), "GeT"):
            assert slots((name, "key")) == [slot]
        assert slots(("OBJECT ENCODING", "key")) == [slot]
        assert slots(("OBJECT", "ENCODING", "key")) == [slot]
        assert slots(("OBJECT ", "ENCODING", "key")) == [slot]  # as it is split when it is sent
        assert slots((b" OBJECT\t  ENCODING", "key")) == [slot]
        assert slots(("\tGET ", "key")) == [slot]
        assert slots(("XGROUP CREATE key", "group", "$")) is None  # redis-py is asked
        assert slots((b"memory  usage ", "key")) == [slot]
        assert slots(("MEMORY USELESS", "key")) is slots(("MEMORY", "USELESS", "key")) is None
        assert slots(("MEMORY USAGE", "key")) == slots(("MEMORY", "USAGE", "key")) == [slot]
        assert slots(("MEMORY", "STATS")) is slots(("DBSIZE",)) is slots(("GET",)) is None
        assert slots(("ZUNIONSTORE", "key", 1, "other")) == [slot, client.keyslot("other")]
        assert slots((f"NO{'NE' * 20}", "key")) is None


def test_native_methods_of_the_cluster_classes():
    class Own(RedisCluster):
        def get(self, name):
            return super().get(f"own:{name}")

    client = Own(host="127.0.0.1", port=1)
    for command in (client.get("key"), RedisCluster.get(client, "key")):
        assert isinstance(command, _native.Command)
        command.close()
    assert RedisCluster.get is BaseRedisCluster.get
    with pytest.raises(TypeError, match=r"get\(\) is for a RedisCluster, not for a int"):
        RedisCluster.__dict__["get"](1, "key")
    with pytest.raises(TypeError, match="needs an instance"):
        RedisCluster.__dict__["get"]()
    with pytest.raises(AttributeError, match="was not called"):
        RedisCluster.__new__(RedisCluster).get("key")
    queued = client.pipeline()
    get = queued.get
    assert get("a").get("b") is queued
    assert len(queued) == 2


def test_code_that_has_run_often_finds_the_same_methods():
    """The interpreter then takes the descriptor itself for what it gives the class."""

    def of_the_class():
        return RedisCluster.get

    for _ in range(200):
        client = RedisCluster(host="127.0.0.1", port=1)
        client.get("key").close()  # the first one settles it
        for command in (client.exists("key"), client.mget("a", "b"), of_the_class()(client, "key")):
            assert isinstance(command, _native.Command)
            command.close()
        assert inspect.signature(of_the_class()) == inspect.signature(BaseRedisCluster.get)
        assert of_the_class().__doc__ == BaseRedisCluster.get.__doc__
        assert of_the_class().__name__ == "get"
        with pytest.raises(AttributeError):
            of_the_class().nothing  # noqa: B018


def test_a_pipeline_that_is_dropped_is_no_work_for_the_garbage_collector():
    client = RedisCluster(host="127.0.0.1", port=1)
    pipe = client.pipeline()
    pipe.get("a")
    gone = weakref.ref(pipe)
    gc.disable()
    try:
        del pipe
        assert gone() is None
    finally:
        gc.enable()


# ------------------------------------------------------------------- redirections


async def test_moved_is_followed_and_learnt(client, cluster):
    key = KEYS[0]
    await client.set(key, "here")
    source, slot = cluster.owner_of(key), client.keyslot(key)
    target = other_master(cluster, key)
    cluster.move_slots([slot], target)
    try:
        assert await client.get(key) == "here"
        assert stats(client)["moved"] == 1
        assert await client.get(key) == "here"
        assert stats(client)["moved"] == 1
        await asyncio.sleep(0.4)  # redis-py's own view of it follows
        assert client.get_node_from_key(key).port == target.port
    finally:
        cluster.move_slots([slot], source)


async def test_ask_while_a_slot_is_on_its_way(client, cluster):
    slot = client.keyslot("{way}")
    keys = [f"{{way}}{number}" for number in range(20)]
    await client.mset({key: key for key in keys})
    source, target = cluster.owner_of(keys[0]), other_master(cluster, keys[0])
    with cluster.move(slot, target) as move:
        move.move_keys(10)
        assert [await client.get(key) for key in keys] == keys
        assert stats(client)["asked"] == 10
        assert await client.incr("{way}new") == 1  # does not exist yet: belongs to the target
        pipe = client.pipeline()
        for key in keys:
            pipe.get(key)
        assert await pipe.execute() == keys
        # Some here, some there: nobody can answer until the move is over.
        waiting = asyncio.ensure_future(client.mget(keys))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        assert stats(client)["again"] > 0
        move.move_keys()
    assert await asyncio.wait_for(waiting, 3) == keys
    cluster.move_slots([slot], source)


@contextlib.asynccontextmanager
async def half_moved(cluster, socket_timeout):
    """A client, and the move of a slot: one of HALVES has gone with it, the other one has not."""
    async with RedisCluster(**cluster.kwargs, socket_timeout=socket_timeout) as client:
        await client.mset({HALVES[0]: "1", HALVES[1]: "2"})
        with cluster.move(client.keyslot(HALVES[0]), other_master(cluster, HALVES[0])) as move:
            move.move_keys(1)
            yield client, move


async def asked_in_vain(client):
    """A command that waits for HALVES to be on one node, after the first TRYAGAIN."""
    waiting = asyncio.ensure_future(client.mget(HALVES))
    await until(lambda: stats(client)["again"])
    return waiting


async def test_a_slot_that_never_settles_fails_with_the_servers_word(cluster):
    async with half_moved(cluster, 0.3) as (client, move):
        with pytest.raises(errors.TryAgainError):
            await client.mget(HALVES)
        move.move_keys()
        assert await client.mget(HALVES) == [b"1", b"2"]


async def test_the_time_for_an_answer_begins_anew_with_each_attempt(cluster):
    async with half_moved(cluster, 1) as (client, move):
        waiting = await asked_in_vain(client)
        await asyncio.sleep(0.5)
        move.source.pause()  # in flight a second after the first attempt, for less than a second
        await asyncio.sleep(0.7)
        move.source.resume()
        with pytest.raises(errors.TryAgainError):
            await waiting


async def test_a_topology_that_is_forgotten_and_never_comes_again_is_not_waited_for(
    cluster, monkeypatch
):
    async with half_moved(cluster, 0.5) as (client, move):
        waiting = await asked_in_vain(client)
        monkeypatch.setattr(client._topology, "_refresh_now", lambda: asyncio.sleep(60))
        move.source.pause()  # so that the command is in flight
        await asyncio.sleep(0.05)
        client._topology.cluster.reset()
        move.source.resume()
        with pytest.raises(errors.TimeoutError, match="waiting for a connection"):
            await asyncio.wait_for(waiting, 10)


async def test_a_stream_group_called_streams_is_no_key(client):
    topology = client._topology.cluster
    arguments = ("XREADGROUP", "GROUP", "streams", "a", "STREAMS", "{s}1", "{s}2", ">", ">")
    assert topology.slots(arguments) == [topology.slot("s")] * 2


async def test_blocking_pop_follows_its_slot(client, cluster):
    key = KEYS[7]
    source, slot = cluster.owner_of(key), client.keyslot(key)
    waiting = asyncio.ensure_future(client.blpop(key, timeout=10))
    await asyncio.sleep(0.1)
    cluster.move_slots([slot], other_master(cluster, key))
    await asyncio.sleep(0.1)
    await client.rpush(key, "item")
    assert await asyncio.wait_for(waiting, 5) == (key, "item")
    cluster.move_slots([slot], source)


async def test_a_cancelled_pop_takes_nothing(client):
    for _ in range(20):
        waiting = asyncio.ensure_future(client.blpop("queue", timeout=0))
        await asyncio.sleep(0.005)
        push = asyncio.ensure_future(client.rpush("queue", "item"))
        waiting.cancel()
        await asyncio.wait([waiting, push])
        if waiting.cancelled():
            await asyncio.sleep(0.02)
            assert await client.lpop("queue") == "item"


# --------------------------------------------------------------------- pipelines


async def test_pipeline_over_all_nodes_keeps_the_order(client):
    pipe = client.pipeline()
    for number, key in enumerate(KEYS):
        pipe.set(key, number).incr(key).get(key)
    results = await pipe.execute()
    assert results == [
        part for number in range(len(KEYS)) for part in (True, number + 1, str(number + 1))
    ]
    assert len(pipe) == 0


@pytest.mark.parametrize("kind", [redis.asyncio.RedisCluster, RedisCluster])
async def test_a_copied_pipeline(cluster, kind):
    """It is another name of the same one, which need not be held any more."""
    async with kind(**cluster.kwargs) as client:
        first = client.pipeline().set("a", 1)
        second = copy.copy(first)
        second.set("b", 2)
        assert (len(first), len(second)) == (2, 2)
        assert await second.execute() == [True, True]
        assert (len(first), len(second)) == (0, 0)
        third = copy.copy(second)
        del first, second
        gc.collect()
        third.get("a")
        third.execute_command("GET", "b")
        third.execute_command("CONFIG GET", "port", target_nodes="random")
        assert (await third.execute())[:2] == [b"1", b"2"]

        first = client.pipeline(transaction=True)
        await first.watch("a")
        second = copy.copy(first)
        assert await second.get("a") == b"1"
        second.multi()
        second.set("a", 3)
        assert await first.execute() == [True]
        assert await copy.copy(second).set("a", 4).execute() == [True]


async def test_pipeline_errors(client):
    await client.set("text", "x")
    pipe = client.pipeline().get("a").incr("text").get("b")
    with pytest.raises(errors.ResponseError, match=r"Command # 2 \(INCRBY text 1\) of pipeline"):
        await pipe.execute()
    results = await pipe.get("a").incr("text").execute(raise_on_error=False)
    assert results[0] is None
    assert isinstance(results[1], errors.ResponseError)


async def test_pipelined_commands_have_all_their_keys_in_one_slot(client):
    for command in [("ZUNIONSTORE", "a", 1, "b"), ("DEL", "a", "b")]:
        pipe = client.pipeline()
        pipe.execute_command(*command)
        with pytest.raises(errors.RedisClusterException, match="same key slot"):
            await pipe.execute()


async def test_pipeline_with_commands_for_named_nodes(client):
    node = client.get_primaries()[0]
    pipe = client.pipeline().set("a", 1)
    pipe.execute_command("DBSIZE", target_nodes=node)
    result = await pipe.get("a").execute()
    assert result[0] is True
    assert result[2] == "1"


async def test_pipeline_with_commands_for_nodes_keeps_its_order(client, cluster):
    await client.initialize()
    key = KEYS[0]
    node = client.get_node_from_key(key)
    here = [name for name in KEYS if client.get_node_from_key(name) is node]
    on_it = {"target_nodes": node}

    def queue(pipe, *args, **options):
        return pipe.execute_command(*args, **options)

    for _ in range(10):
        pipe = client.pipeline()
        for name in here[:5]:
            pipe.set(name, "x")
        queue(pipe, "DBSIZE", **on_it)
        pipe.lpush(key, 1).set(here[5], "y")
        queue(pipe, "DBSIZE", **on_it)
        queue(pipe, "FLUSHALL", target_nodes=node)
        queue(pipe, "DBSIZE", **on_it)
        pipe.get(key).hgetall(key)
        found = await pipe.execute(raise_on_error=False)
        assert found[:6] == [True] * 5 + [5]
        assert isinstance(found[6], errors.ResponseError)
        assert found[7:] == [True, 6, True, 0, None, {}]
    pipe = client.pipeline().set(key, "x")
    queue(pipe, "DBSIZE", **on_it)
    queue(pipe, "MGET", *KEYS)  # refused before anything is sent
    with pytest.raises(errors.RedisClusterException, match="same key slot"):
        await pipe.execute()
    assert await client.get(key) is None
    pipe = client.pipeline().lpush(key, 1).get(key)
    queue(pipe, "NOSUCH", target_nodes=node)
    with pytest.raises(errors.ResponseError, match="Command # 2 .GET"):
        await pipe.execute()


async def test_keys_of_a_queued_command_are_in_one_slot(client):
    for destination, well in (("{z}to", True), ("to", False)):
        pipe = client.pipeline().zadd("{z}a", {"m": 1}).zunionstore(destination, ["{z}a"])
        if well:
            assert await pipe.execute() == [1, 1]
        else:
            with pytest.raises(errors.RedisClusterException, match="same key slot"):
                await pipe.execute()


async def test_pipeline_survives_moved_slots(client, cluster):
    await client.mset({key: key for key in KEYS})
    key = KEYS[0]
    source, slot = cluster.owner_of(key), client.keyslot(key)
    cluster.move_slots([slot], other_master(cluster, key))
    pipe = client.pipeline()
    for name in KEYS:
        pipe.get(name)
    assert await pipe.execute() == KEYS
    cluster.move_slots([slot], source)


@pytest.mark.parametrize("found_at_all", [True, False])
async def test_a_pipeline_whose_client_goes_while_its_commands_are_sent_on(
    found_at_all, cluster, monkeypatch
):
    """Where a moved slot is now, Python code is asked: it gives the pipeline up, and the client."""
    keys = HALVES
    source = cluster.owner_of(keys[0])
    locate, asked, held = _topology.Topology._locate, [], {}

    def give_up(self, host, port):
        found = locate(self, host, port)
        asked.append(found[0])
        if held:
            held.pop("pipeline").cancel()
            held.clear()
            gc.collect()
            if not found_at_all:
                raise LookupError(host)
        return found

    monkeypatch.setattr(_topology.Topology, "_locate", give_up)
    client = RedisCluster(**cluster.kwargs)
    slot = client.keyslot(keys[0])
    await client.mset(dict.fromkeys(keys, "value"))
    cluster.move_slots([slot], other_master(cluster, keys[0]))
    try:
        queue = [((name, key), {}) for key in keys for name in ("GET", "STRLEN")]
        pipeline = client._core._native_batch(queue, _native.BATCH_PLAIN)
        held.update(pipeline=asyncio.ensure_future(pipeline), client=client)
        del client, pipeline
        await until(lambda: asked)
        await asyncio.sleep(0.05)
        assert len(asked) == 1
    finally:
        cluster.move_slots([slot], source)


async def test_transaction(client):
    async with client.pipeline(transaction=True) as pipe:
        assert await pipe.set("{t}a", 1).incr("{t}a").get("{t}a").execute() == [True, 2, "2"]
        with pytest.raises(errors.CrossSlotTransactionError):
            await pipe.set("a", 1).set("b", 1).execute()
        with pytest.raises(errors.RedisClusterException):
            await pipe.execute_command("PING").execute()


async def test_transaction_follows_its_slot(client, cluster):
    key = KEYS[0]
    await client.set(key, "0")
    source, slot = cluster.owner_of(key), client.keyslot(key)
    cluster.move_slots([slot], other_master(cluster, key))
    pipe = client.pipeline(transaction=True)
    assert await pipe.incr(key).incr(key).execute() == [1, 2]
    cluster.move_slots([slot], source)
    assert await pipe.incr(key).incr(key).execute() == [3, 4]


async def test_watch(client):
    await client.set("{w}a", "1")
    async with client.pipeline(transaction=True) as pipe:
        await pipe.watch("{w}a", "{w}b")
        value = int(await pipe.get("{w}a"))
        pipe.multi()
        assert await pipe.set("{w}a", value + 1).execute() == [True]
        await pipe.watch("{w}a")
        await client.set("{w}a", "changed")
        pipe.multi()
        with pytest.raises(errors.WatchError):
            await pipe.set("{w}a", 3).execute()
        with pytest.raises(errors.RedisClusterException, match="WATCH - all keys"):
            await pipe.watch("a", "b")
    assert await client.get("{w}a") == "changed"


# --------------------------------------------------- clients that are not plain ones


async def test_an_overridden_execute_command_is_called(cluster):
    seen = []

    class Counting(RedisCluster):
        async def execute_command(self, *args, **options):
            seen.append(args[0])
            return await super().execute_command(*args, **options)

    async with Counting(**cluster.kwargs) as client:
        await client.set("a", 1)
        assert await client.get("a") == b"1"
    assert seen == ["SET", "GET"]


async def test_a_replaced_execute_command_is_called(client):
    async def fake(*args, **options):
        return args

    await client.set("a", "1")
    client.execute_command = fake
    assert await client.get("a") == ("GET", "a")
    del client.execute_command
    assert await client.get("a") == "1"


async def test_response_callbacks(client):
    client.set_response_callback("GET", lambda reply: f"<{reply}>")
    await client.set("a", "1")
    assert await client.get("a") == "<1>"


async def test_resp2(cluster):
    async with RedisCluster(**cluster.kwargs, protocol=2) as client:
        await client.hset("h", mapping={"a": 1})
        assert await client.hgetall("h") == {b"a": b"1"}
        assert await client.zadd("z", {"m": 1.5}) == 1
        assert await client.zrange("z", 0, -1, withscores=True) == [(b"m", 1.5)]


async def test_other_encodings(cluster):
    async with RedisCluster(**cluster.kwargs, encoding="latin-1", decode_responses=True) as client:
        assert await client.set("schlüssel", "größe") is True
        assert await client.get("schlüssel") == "größe"


@pytest.mark.skipif(sys.version_info < (3, 10), reason="redis-py's locks belong to a loop")
def test_several_loops(cluster):
    client = RedisCluster(**cluster.kwargs)

    async def use():
        await client.set("a", 1)
        return await asyncio.gather(*(client.get("a") for _ in range(10)))

    for _ in range(3):
        assert asyncio.run(use()) == [b"1"] * 10
    asyncio.run(client.aclose())


async def test_closing(cluster):
    client = RedisCluster(**cluster.kwargs)
    pending = asyncio.ensure_future(client.blpop("nothing", timeout=0))
    await client.set("a", 1)
    await asyncio.sleep(0.05)
    await client.aclose()
    with pytest.raises(errors.ConnectionError):
        await pending
    assert await client.get("a") == b"1"  # connects anew
    await client.aclose()


async def test_nothing_is_left_open(cluster):
    async def once():
        async with RedisCluster(**cluster.kwargs) as client:
            await client.mget(KEYS)

    await once()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        await once()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


# ------------------------------------------------------------------------ replicas


def gets(nodes):
    return sum(
        int(line.split("calls=")[1].split(",")[0])
        for node in nodes
        for line in node.call("INFO", "commandstats").splitlines()
        if line.startswith("cmdstat_get:")
    )


@pytest.mark.parametrize("read_from", ["any", "replicas", "nearest"])
async def test_reading_from_replicas(replicated, read_from):
    for node in replicated.nodes:
        node.call("CONFIG", "RESETSTAT")
    async with RedisCluster(**replicated.kwargs, read_from=read_from) as client:
        await client.mset(dict.fromkeys(KEYS, "1"))
        await asyncio.sleep(0.2)  # until the replicas have it
        for _ in range(5):
            assert await asyncio.gather(*(client.get(key) for key in KEYS)) == [b"1"] * len(KEYS)
    by_replicas = gets(replicated.replicas())
    if read_from == "replicas":
        assert by_replicas == 5 * len(KEYS)
    elif read_from == "any":
        assert by_replicas == pytest.approx(2.5 * len(KEYS), rel=0.1)
    assert by_replicas + gets(replicated.masters()) == 5 * len(KEYS)


async def test_reading_in_a_zone(replicated):
    """Servers before Valkey 8 tell no zone: then reads go to all nodes in turn."""
    options = {**replicated.kwargs, "read_from": "zone", "zone": "here"}
    async with RedisCluster(**options) as client:
        await client.mset(dict.fromkeys(KEYS, "1"))
        await asyncio.sleep(0.2)
        near = {f"{node.host}:{node.port}": "here" for node in replicated.replicas()}
        for zones in ({}, near):
            client._topology._zones.update(zones)
            await client.nodes_manager.initialize()
            for node in replicated.nodes:
                node.call("CONFIG", "RESETSTAT")
            assert await asyncio.gather(*(client.get(key) for key in KEYS)) == [b"1"] * len(KEYS)
            by_masters = gets(replicated.masters())
            assert by_masters == 0 if zones else by_masters > 0
            assert by_masters + gets(replicated.replicas()) == len(KEYS)


async def test_reading_in_a_zone_that_the_servers_tell(replicated):
    """Each master is in one zone and its replica in another, and INFO says so (Valkey 8)."""
    if not replicated.nodes[0].call("CONFIG", "GET", "availability-zone"):
        version = replicated.nodes[0].cli("INFO", "server").split("redis_version:")[1].split()[0]
        pytest.skip(f"Redis {version} has no availability zones: those came with Valkey 8")
    masters, replicas = replicated.masters(), replicated.replicas()
    try:
        for zone, nodes in (("here", replicas), ("there", masters)):
            for node in nodes:
                node.call("CONFIG", "SET", "availability-zone", zone)
        for zone, near in (("here", replicas), ("there", masters), ("nowhere", [])):
            async with RedisCluster(**replicated.kwargs, read_from="zone", zone=zone) as client:
                await client.mset(dict.fromkeys(KEYS, "1"))
                await asyncio.sleep(0.2)
                for node in replicated.nodes:
                    node.call("CONFIG", "RESETSTAT")
                assert await asyncio.gather(*map(client.get, KEYS)) == [b"1"] * len(KEYS)
                assert gets(masters) + gets(replicas) == len(KEYS)
                if near:
                    assert gets(near) == len(KEYS)
                else:  # all nodes in turn
                    assert gets(masters) > 0 and gets(replicas) > 0
    finally:
        for node in replicated.nodes:
            node.call("CONFIG", "SET", "availability-zone", "")


async def test_reads_go_on_while_a_replica_is_down(replicated):
    async with RedisCluster(**replicated.kwargs, read_from="replicas") as client:
        await client.mset(dict.fromkeys(KEYS, "1"))
        await asyncio.sleep(0.2)
        for node in replicated.replicas():
            node.kill()
        assert await asyncio.wait_for(asyncio.gather(*(client.get(key) for key in KEYS)), 10) == [
            b"1"
        ] * len(KEYS)


async def test_a_write_under_way_to_a_killed_master_is_told_ambiguous(replicated):
    async with RedisCluster(**replicated.kwargs) as client:
        key = KEYS[0]
        await client.set(key, 0)
        master = replicated.owner_of(key)
        master.pause()
        doubtful = asyncio.ensure_future(client.incr(key))
        await asyncio.sleep(0.05)
        master.kill()
        with pytest.raises(OutcomeUnknownError):
            await asyncio.wait_for(doubtful, 5)


# ------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"read_from": "moon"}, "read_from='moon'.*'primary'"),
        ({"read_from": "any", "read_from_replicas": True}, "give one of them"),
        ({"read_from": "zone"}, "needs zone="),
        ({"zone": "a"}, "needs read_from='zone'"),
        ({"topology_refresh_interval": -1}, "topology_refresh_interval=-1"),
        ({"pool_timeout": "x"}, "pool_timeout='x'"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        RedisCluster(host="localhost", **options)


async def test_no_node_can_be_reached(unused_tcp_port):
    client = RedisCluster(host="127.0.0.1", port=unused_tcp_port)
    with pytest.raises(errors.RedisClusterException, match="cannot be connected"):
        await client.get("a")
    with pytest.raises(errors.RedisClusterException, match="cannot be connected"):
        await client.initialize()
    await client.aclose()


async def test_passwords_and_tls(start_cluster):
    cluster = start_cluster(requirepass="secret", tls=True)
    async with RedisCluster(**cluster.kwargs) as client:
        await client.mset(dict.fromkeys(KEYS, "1"))
        assert await client.mget(KEYS) == [b"1"] * len(KEYS)
    wrong = RedisCluster(**{**cluster.kwargs, "password": "other"})
    with pytest.raises(errors.RedisClusterException) as caught:
        await wrong.get("a")
    assert "other" not in str(caught.value)
    await wrong.aclose()


@pytest.mark.skipif(not hasattr(BaseRedisCluster, "pubsub"), reason="redis-py has none yet")
async def test_subscriptions(client):
    async with client.pubsub() as pubsub:
        await pubsub.subscribe("news")
        assert (await pubsub.get_message(timeout=2))["type"] == "subscribe"
        await client.publish("news", "hello")
        assert (await pubsub.get_message(timeout=2))["data"] == "hello"


async def test_scripts_and_locks(client):
    script = client.register_script("return redis.call('INCR', KEYS[1])")
    assert await script(keys=["counter"]) == 1
    async with client.lock("lock", timeout=5):
        assert await client.exists("lock") == 1
    assert await client.exists("lock") == 0


def test_the_topology_is_asked_for_again_after_an_interrupt(cluster, monkeypatch):
    """One that comes while it is being asked for, before anybody has been asked."""
    refresh, raised = _topology.Topology._refresh, []

    def interrupted(self):
        if not raised:
            raised.append(True)
            raise KeyboardInterrupt
        return refresh(self)

    monkeypatch.setattr(_topology.Topology, "_refresh", interrupted)
    loop = asyncio.new_event_loop()
    client = RedisCluster(**cluster.kwargs)

    async def main():
        return await asyncio.wait_for(client.set("key", "value"), 10)

    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    assert loop.run_until_complete(task)
    loop.run_until_complete(client.aclose())
    loop.close()


async def test_asking_for_the_topology_is_cancelled_before_it_has_begun(cluster):
    """By somebody who cancels every task there is, say: the command has it asked for again."""
    async with RedisCluster(**cluster.kwargs, socket_timeout=60) as client:
        first = asyncio.ensure_future(client.set("key", "value"))
        tasks = client._topology._tasks
        while not tasks:
            await asyncio.sleep(0)
        for task in list(tasks):
            assert task.cancel()
        assert await asyncio.wait_for(first, 20)


async def test_sums_of_replies_may_be_larger_than_a_reply_can_be(start_cluster):
    """What TOUCH answers is added up: it is another command here, which answers large numbers."""
    cluster = start_cluster(config={"rename-command": ['TOUCH ""', "INCR TOUCH"]})
    most = 2**63 - 2
    async with RedisCluster(**cluster.kwargs) as client:
        assert await client.mset(dict.fromkeys(KEYS[:3], most))
        assert await client.touch(*KEYS[:3]) == 3 * (most + 1)
