"""Something happens to a client in the middle of whatever it does, wherever an object is made.

    finalizers.py PORT SCENARIO FIRST STEP

The garbage collector may run finalizers at each object that is made, and they may do anything. Each
scenario is run for each act with the act at one collection after the other: the one with the number
FIRST, and then each STEP further. Prints what is wrong: nothing, when all is well.
"""

import asyncio
import contextlib
import gc
import sys
import threading

import redis

import aiecs_redis
from aiecs_redis import RedisCluster

port, scenario, first, step = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
SURE = 20.0  # seconds after which something hangs
THREAD = threading.get_ident()
KEYS = [f"key{number}" for number in range(9)]
admin = redis.Redis(port=port)


class Collections:
    """Counts them while it is on, and acts at the one with the number."""

    def __init__(self):
        self.on, self.seen, self.number, self.act = False, 0, -1, None

    def __call__(self, phase, info):
        if phase != "start" or not self.on or threading.get_ident() != THREAD:
            return
        self.seen += 1
        if self.seen - 1 == self.number:
            self.act()

    @contextlib.contextmanager
    def watched(self, number, act, odd):
        before = gc.get_threshold()
        self.seen, self.number, self.act = 0, number, act
        gc.set_threshold(1, 1, 1)  # every other object leads to a collection
        shift = [[]] if odd else None
        self.on = True
        try:
            yield shift
        finally:
            self.on = False
            gc.set_threshold(*before)


class Stage:
    """A client, and what is under way."""

    def __init__(self, client):
        self.client, self.under_way, self.later = client, [], []
        self.neighbour = None

    def go(self, awaitable):
        self.under_way.append(asyncio.ensure_future(awaitable))

    async def over(self):
        pending = [*self.under_way, *self.later]
        if pending:
            _, hung = await asyncio.wait(pending, timeout=SURE)
            assert not hung, hung


# ---- what is done to it


def cancel(stage):
    for future in stage.under_way:
        future.cancel()


def cancel_first(stage):
    for future in stage.under_way[:1]:
        future.cancel()


def close(stage):
    if isinstance(stage.client, RedisCluster):
        stage.client._topology.cluster.reset()
    elif stage.client is not None:
        stage.client._native_transport.close()


def cancel_and_close(stage):
    cancel(stage)
    close(stage)


def close_and_cancel(stage):
    close(stage)
    cancel(stage)


def drop(stage):
    stage.client = None
    stage.under_way.clear()


def ask(stage):
    if stage.client is not None:
        stage.later += [asyncio.ensure_future(stage.client.get("key")) for _ in range(40)]


def block(stage):
    if stage.client is not None:
        stage.later.append(asyncio.ensure_future(stage.client.blpop("nothing", 1)))
        stage.later[-1].cancel()


def forsake(stage):
    """Another client of the loop becomes garbage, with all that it does."""
    stage.neighbour = None


def listen(stage):
    def nothing(future):
        pass

    for future in stage.under_way:
        future.add_done_callback(nothing)
        future.add_done_callback(lambda future: None)
        future.remove_done_callback(nothing)


ACTS = [
    cancel,
    cancel_first,
    close,
    cancel_and_close,
    close_and_cancel,
    drop,
    ask,
    block,
    forsake,
    listen,
]


async def neighbour():
    """A client in the middle of something, in cycles of references."""
    client = made()
    await client.get("key")
    client.tasks = [asyncio.ensure_future(client.blpop("nothing", 0)) for _ in range(2)]
    if isinstance(client, aiecs_redis.Redis):
        client.subscription = client.pubsub()
        await client.subscription.subscribe("channel")
        client.tasks.append(asyncio.ensure_future(client.subscription.get_message(timeout=None)))
    await asyncio.sleep(0.001)
    client.tasks.append(asyncio.ensure_future(client.get("key")))
    return client


# ---- what it does meanwhile


async def commands(stage):
    client = stage.client
    stage.go(client.set("key", 1))
    stage.go(client.mget(KEYS))
    stage.go(client.hset("hash", mapping=dict.fromkeys(KEYS, 1)))
    stage.go(client.hgetall("hash"))
    stage.go(client.zadd("zset", {"a": 1, "b": 2}))
    stage.go(client.zrange("zset", 0, -1, withscores=True))
    stage.go(client.execute_command("NOSUCH"))
    stage.go(client.eval("return {1, 'a', {2, redis.error_reply('E no')}}", 0))
    stage.go(asyncio.wait_for(client.get("key"), SURE))


async def pipelines(stage):
    for transaction in (False, True):
        pipe = stage.client.pipeline(transaction=transaction)
        pipe.set("key", 1).get("key").lpush("key", 1).zrange("zset", 0, -1, withscores=True)
        stage.go(pipe.execute(raise_on_error=False))


async def watching(stage):
    async def run(client):
        async with client.pipeline() as pipe:
            await pipe.watch("watched")
            await pipe.get("watched")
            pipe.multi()
            await pipe.set("watched", 1).execute()

    stage.go(run(stage.client))
    stage.go(run(stage.client))


async def blocking(stage):
    stage.go(stage.client.blpop(["list", "another"], 0))
    stage.go(stage.client.bzpopmin("scores", 0))
    await asyncio.sleep(0.002)
    stage.go(stage.client.rpush("list", "item", "other"))
    await asyncio.sleep(0.001)
    cancel(stage)


async def subscribing(stage):
    async def run(client):
        async with client.pubsub() as pubsub:
            await pubsub.subscribe("channel", "other")
            await client.publish("channel", "message")
            for _ in range(3):
                await pubsub.get_message(timeout=0.02)
            await pubsub.unsubscribe("channel")

    stage.go(run(stage.client))


async def connecting(stage):
    await stage.client.aclose()
    stage.client = aiecs_redis.Redis(
        host="localhost", port=port, client_name="name", db=1, decode_responses=True
    )
    stage.go(stage.client.get("key"))
    stage.go(stage.client.wait(0, 10))


async def losing_connections(stage):
    admin.client_kill_filter(_type="normal", skipme=True)
    stage.go(stage.client.get("key"))
    stage.go(stage.client.incr("n"))
    stage.go(stage.client.wait(0, 10))


async def closing(stage):
    stage.go(stage.client.get("key"))
    stage.go(stage.client.blpop("nothing", 1))
    await asyncio.sleep(0.001)
    stage.go(stage.client.aclose())


async def scattered(stage):
    client = stage.client
    stage.go(client.mset(dict.fromkeys(KEYS, 1)))
    stage.go(client.mget(KEYS))
    stage.go(client.delete(*KEYS))
    pipe = client.pipeline()
    for key in KEYS:
        pipe.set(key, 1).incr(key)
    stage.go(pipe.execute())
    pipe = client.pipeline(transaction=True)
    stage.go(pipe.set("{a}1", 1).get("{a}2").execute())


async def misled(stage):
    """By a topology in which each slot is another master's."""
    topology = stage.client._topology
    nodes = topology.nodes_cache
    index = {name: number for number, name in enumerate(nodes)}
    known = [
        (name, topology.transport(node.host, int(node.port)), False) for name, node in nodes.items()
    ]
    leaders = [members[0] for *_, members in topology._ranges]
    shards = [
        ([(begin, end)], [index[leaders[number - 1]]])
        for number, (begin, end, _) in enumerate(topology._ranges)
    ]
    topology.cluster.update(known, shards)
    stage.go(stage.client.get(KEYS[0]))
    stage.go(stage.client.mget(KEYS))
    pipe = stage.client.pipeline()
    for key in KEYS:
        pipe.set(key, 1)
    stage.go(pipe.execute())


async def without_topology(stage):
    stage.client._topology.cluster.reset()
    stage.go(stage.client.get(KEYS[0]))
    stage.go(stage.client.mget(KEYS))


# ---- one after the other


def made():
    if scenario in ("scattered", "misled", "without_topology"):
        return RedisCluster(host="127.0.0.1", port=port)
    return aiecs_redis.Redis(port=port)


async def perform(collections, act, number, odd):
    stage = Stage(made())
    await stage.client.get("key")
    if act is forsake:
        stage.neighbour = await neighbour()
    with collections.watched(number, lambda: act(stage), odd):
        # Of a client that was dropped there is nothing left to be used.
        with contextlib.suppress(redis.RedisError, AttributeError, asyncio.CancelledError):
            await globals()[scenario](stage)
        await stage.over()
    await asyncio.gather(*stage.under_way, *stage.later, return_exceptions=True)
    if stage.client is not None:
        assert await asyncio.wait_for(stage.client.exists("key"), SURE) in (0, 1)
        await stage.client.aclose()
    return collections.seen


async def main():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)  # nobody retrieves what was dropped
    collections = Collections()
    gc.callbacks.append(collections)
    gc.collect()
    gc.freeze()  # what there is already is not looked through each time
    gc.collect()  # and does not count as what a full collection would have to look through
    for act in ACTS:
        number, most = first, first + 1
        while number < most:
            for odd in (False, True):
                try:
                    performed = perform(collections, act, number, odd)
                    most = max(most, await asyncio.wait_for(performed, 3 * SURE))
                except Exception as error:
                    print(f"{scenario}, {act.__name__} at {number}, odd={odd}: {error!r}")
            number += step


asyncio.run(main())
