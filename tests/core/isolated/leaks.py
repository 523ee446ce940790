"""Does one kind of work leave objects, references or memory behind?

    leaks.py PORT KIND ROUNDS

Prints what keeps growing: nothing, when all is well.
"""

import asyncio
import contextlib
import gc
import os
import sys

import aiecs_redis
from aiecs_redis import _native

port, kind, rounds = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
BATCH = 100
LIMITS = [8 * rounds, rounds, 500_000]  # ten clients a round is the least of the kinds
if "asan" in os.environ.get("LD_PRELOAD", ""):
    LIMITS[2] = 1 << 40  # the sanitizer keeps freed memory aside


def usage():
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * 4096
    return sys.getallocatedblocks(), len(gc.get_objects()), resident


async def quietly(awaitable):
    try:
        return await awaitable
    except (Exception, asyncio.CancelledError) as error:
        return type(error)


async def awaited(client):
    for _ in range(BATCH):
        await client.get("key")


async def gathered(client):
    await asyncio.gather(*(client.set("key", "x" * 50, ex=100) for _ in range(BATCH)))


async def tasks(client):
    await asyncio.gather(*(asyncio.create_task(client.get("key")) for _ in range(BATCH)))


async def errors(client):
    found = await asyncio.gather(
        *(client.execute_command("NOSUCH", "x") for _ in range(BATCH)), return_exceptions=True
    )
    assert all(isinstance(error, Exception) for error in found)


async def wrong_arguments(client):
    for _ in range(BATCH):
        await quietly(client.execute_command("SET", "key", object()))


async def reauthenticated(client):
    await client.ping()
    for words in (("default", "any"), ("nobody", "wrong")):  # accepted without a password; refused
        for _ in range(BATCH // 2):
            answers = client._native_transport.reauthenticate(words)
            await asyncio.gather(*answers, return_exceptions=True)


async def cancelled_pops(client):
    for _ in range(3):
        pops = [asyncio.ensure_future(client.blpop("none", 0)) for _ in range(4)]
        await asyncio.sleep(0.01)
        for pop in pops:
            pop.cancel()
        await asyncio.gather(*map(quietly, pops))
        await client.ping()


async def subscribed(client):
    for _ in range(3):
        async with client.pubsub() as pubsub:
            await pubsub.subscribe("channel")
            await client.publish("channel", "x" * 100)
            await pubsub.get_message(timeout=1)
            await pubsub.get_message(timeout=1)
            reading = asyncio.ensure_future(pubsub.get_message(timeout=None))
            await asyncio.sleep(0)
            reading.cancel()
            await quietly(reading)


async def lent(client):
    for _ in range(5):
        async with client.pipeline() as pipe:
            await pipe.watch("key")
            await pipe.get("key")
            pipe.multi()
            await pipe.set("key", "1").execute()


async def cancelled(client):
    futures = [asyncio.ensure_future(client.get("key")) for _ in range(BATCH)]
    await asyncio.sleep(0)
    for future in futures[::2]:
        future.cancel()
    await asyncio.gather(*map(quietly, futures))


async def cancelled_before(client):
    for _ in range(BATCH):
        future = asyncio.ensure_future(client.get("key"))
        future.cancel()
        await quietly(future)


async def cancelled_tasks(client):
    made = [asyncio.create_task(client.get("key")) for _ in range(BATCH)]
    await asyncio.sleep(0)
    for task in made:
        task.cancel("why")
    await asyncio.gather(*map(quietly, made))


async def timed_out(client):
    await asyncio.gather(*(quietly(asyncio.wait_for(client.get("key"), 0)) for _ in range(BATCH)))


async def undecodable(client):
    await client.set("bad", b"\xff\xfe")
    await asyncio.gather(*(quietly(client.get("bad")) for _ in range(BATCH)))


async def closed(client):
    for _ in range(BATCH):
        client.get("key").close()


async def thrown(client):
    for _ in range(BATCH):
        with contextlib.suppress(ZeroDivisionError):
            client.get("key").throw(ZeroDivisionError)


async def forgotten(client):
    for _ in range(BATCH):
        asyncio.ensure_future(client.get("key"))
    await client.ping()


async def callbacks(client):
    def seen(future):
        pass

    futures = [asyncio.ensure_future(client.get("key")) for _ in range(BATCH)]
    for future in futures:
        future.add_done_callback(seen)
        future.add_done_callback(print)
        future.add_done_callback(lambda future: future.result())
        future.remove_done_callback(print)
    await asyncio.gather(*futures)


async def cycles(client):
    class Holder:
        pass

    for _ in range(BATCH):
        holder = Holder()
        holder.future = asyncio.ensure_future(client.get("key"))
        holder.future.add_done_callback(lambda _, holder=holder: None)
    await client.ping()


async def aggregates(client):
    await client.hset("hash", mapping={f"field{n}": n for n in range(20)})
    await client.zadd("zset", {f"member{n}": n for n in range(20)})
    await client.rpush("list", "x")
    for _ in range(BATCH // 10):
        await asyncio.gather(
            client.hgetall("hash"),
            client.zrange("zset", 0, -1, withscores=True),
            client.lrange("list", 0, 5),
            client.smembers("nothing"),
            client.mget("a", "b", "key"),
            client.info("server"),
            client.eval("return {1, {2, 'x'}, redis.error_reply('E')}", 0),
        )


async def large(client):
    value = bytes(200_000)
    for _ in range(BATCH // 10):
        await client.set("large", value)
        await client.get("large")


async def pipelines(client):
    for transaction in (False, True):
        for _ in range(BATCH // 20):
            pipeline = client.pipeline(transaction=transaction)
            for n in range(10):
                pipeline.set(f"k{n}", n).get(f"k{n}")
            await pipeline.execute()
            pipeline = client.pipeline(transaction=transaction)
            pipeline.execute_command("NOSUCH")
            await quietly(pipeline.execute())


async def response_callbacks(client):
    def broken(reply, **options):
        raise ZeroDivisionError

    client.set_response_callback("ECHO", broken)
    for _ in range(BATCH):
        await quietly(client.echo("x"))


async def blocking(client):
    for _ in range(BATCH // 10):
        await client.rpush("blocking", "item")
        await client.blpop("blocking", 1)


async def reconnects(client):
    for _ in range(BATCH // 20):
        identity = await client.client_id()
        await quietly(client.execute_command("CLIENT", "KILL", "ID", identity))
        await quietly(client.get("key"))


class Whereabouts:
    """In the place of a Sentinel: one server by two names."""

    addresses = (("127.0.0.1", port), ("localhost", port))
    now = 0

    async def discover_master(self, name):
        return self.addresses[self.now]

    async def discover_slaves(self, name):
        return list(self.addresses)


async def moved(client):
    """A pool that is told, under load, that its master is elsewhere; one whose replicas change."""
    where = Whereabouts()
    pool = aiecs_redis.SentinelConnectionPool("name", where)
    replicas = aiecs_redis.SentinelConnectionPool("name", where, is_master=False)
    async with aiecs_redis.Redis.from_pool(pool) as other:
        async with aiecs_redis.Redis.from_pool(replicas) as reader:
            for number in range(BATCH // 10):
                under_way = [asyncio.ensure_future(other.get("key")) for _ in range(3)]
                lost = asyncio.ensure_future(quietly(other.incr("counter")))
                await asyncio.sleep(0)
                where.now = number % 2
                await pool.moved_to(where.addresses[where.now])
                await replicas.replicas_are(where.addresses[: 1 + number % 2])
                await asyncio.gather(*under_way, lost, reader.get("key"))


async def clients(client):
    for _ in range(BATCH // 10):
        async with aiecs_redis.Redis(port=port) as other:
            await other.get("key")


async def dropped_clients(client):
    for _ in range(BATCH // 10):
        other = aiecs_redis.Redis(port=port)
        await other.get("key")
        del other
        await asyncio.sleep(0)


async def guarded(client):
    for _ in range(BATCH):
        command = client.execute_command("NOSUCH")
        assert await _native.guard(command, lambda key, error: None, "key") is None


async def encoding(client):
    for _ in range(BATCH):
        _native.encode(("SET", "key", 1, 2.5, b"x", bytearray(b"y"), memoryview(b"z"), "ü"))
        with contextlib.suppress(Exception):
            _native.encode(("SET", "key", None))


async def parsing(client):
    data = b"*3\r\n%1\r\n+k\r\n$1\r\n\xff\r\n~1\r\n-ERR x\r\n,1.5\r\n|1\r\n+a\r\n+b\r\n+x\r\n"
    for _ in range(BATCH // 10):
        for options in ({}, {"encoding": "utf-8"}):
            for end in (len(data), len(data) - 12, 9):
                reader = _native.Reader(**options)
                reader.feed(data[:end])
                for _ in range(2):
                    with contextlib.suppress(UnicodeDecodeError):
                        reader.gets()
            reader = _native.Reader(**options)
            reader.feed(b"*2\r\n%1\r\n*0\r\n*1\r\n:1\r\n?\r\n")
            with contextlib.suppress(Exception):
                reader.gets()


async def measured(client):
    """Counters with both callbacks, turned on and off, errors and pipelines included."""
    client._native_observe(True, lambda record: None, lambda record: 1 / 0, 10.0)
    for n in range(BATCH):
        await client.get("key")
        await quietly(client.execute_command(f"no such {n % 10}", b"x"))
    await quietly(asyncio.wait_for(client.blpop("empty", timeout=1), 0.001))
    pipe = client.pipeline()
    pipe.get("key").hget("key", "field")
    await pipe.execute(raise_on_error=False)
    for name, figures in client._native_metrics().items():
        assert figures[0] or figures[4], name
    client._native_observe(False, None, None, 0.0)
    await client.get("key")


async def observed_clients(client):
    """A cycle through the client's own callback."""
    for _ in range(BATCH // 10):
        other = aiecs_redis.Redis(port=port)
        other._native_observe(True, lambda record, other=other: None, None, 0.0)
        await other.get("key")
        await other.aclose()


async def main() -> None:
    work = globals()[kind]
    options = {"decode_responses": kind == "undecodable"}
    async with aiecs_redis.Redis(port=port, **options) as client:
        await client.set("key", "value")

        async def several(number):
            for _ in range(number):
                await work(client)
            for _ in range(3):
                await asyncio.sleep(0)
                gc.collect()

        # Caches fill, then stop growing; what leaks grows in every window, by BATCH or so a round.
        await several(max(rounds // 2, 5))
        for _ in range(15):
            before = usage()
            await several(rounds)
            grown = [now - then for now, then in zip(usage(), before)]
            if all(number <= limit for number, limit in zip(grown, LIMITS)):
                return
    print("{} blocks, {} objects, {} bytes in the last rounds".format(*grown))


asyncio.run(main())
