"""Allocations of the core fail one after the other: an error, never a crash, a hang or a leak.

    failing_malloc.py PORT SCENARIO FIRST LAST STEP BURST FRAMES [CERTIFICATES]

Runs a scenario with the FIRST, the FIRST + STEP, ... LAST allocation failing, together with the
BURST - 1 behind it, or until a run has no more allocations. FRAMES: how near to the core a call
has to be to count, 0 for every allocation of the process. failing_malloc.c has to be preloaded,
with PYTHONMALLOC=malloc.
"""

import asyncio
import concurrent.futures
import contextlib
import ctypes
import faulthandler
import gc
import logging
import sys
import warnings

import redis

import aiecs_redis

port, scenario_name = int(sys.argv[1]), sys.argv[2]
first, last, step, burst, frames = map(int, sys.argv[3:8])
HANG = 20.0  # seconds: a busy machine takes its time
# Of the client, beyond HANG: what would wait for nothing is not to be ended by them.
limits = {"socket_connect_timeout": 3 * HANG, "socket_timeout": 3 * HANG}
options = {"host": "127.0.0.1", "port": port, **limits}
if len(sys.argv) > 8:
    options.update(ssl=True, ssl_ca_certs=sys.argv[8])

library = ctypes.CDLL(None)
library.failing_live.restype = library.failing_disarm.restype = ctypes.c_long
arm, disarm, live = library.failing_arm, library.failing_disarm, library.failing_live
arm.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_int]

SPARES = 300  # more than the core keeps of the memory of commands
# Blocks that asyncio's run_in_executor() leaves by itself (a future in a cycle of C objects).
CPYTHON_LEAVES = {"names": 60}
EXPECTED = (
    MemoryError,
    SystemError,
    redis.RedisError,
    redis.exceptions.RedisClusterException,
    OSError,
)  # hiredis and OpenSSL tell it in their words
strange = []


def tolerable(exception):
    while exception is not None:
        if isinstance(exception, EXPECTED) and not isinstance(exception, TimeoutError):
            return True
        if isinstance(exception, SystemError) and "without exception set" in str(exception):
            frame = exception.__traceback__
            while frame.tb_next is not None:
                frame = frame.tb_next
            # CPython's own: a dict in asyncio that lacks memory for its KeyError.
            return "asyncio" in frame.tb_frame.f_code.co_filename
        exception = exception.__cause__ or exception.__context__
    return False


def note(message, exception):
    if exception is None or not (tolerable(exception) or isinstance(exception, RuntimeWarning)):
        strange.append(f"{message}: {exception!r}")


sys.unraisablehook = lambda hook: note("unraisable", hook.exc_value)


@contextlib.contextmanager
def failing(number):
    arm(number, number + burst - 1, frames)
    try:
        yield
    finally:
        counts.append(disarm())


counts = []


def check(results, expected):
    for result in results:
        if isinstance(result, BaseException):
            note("raised", result)
        elif result not in expected:
            strange.append(f"wrong result: {result!r}")


async def tried(make, *expected):
    try:
        result = await make()
    except EXPECTED as exception:
        note("raised", exception)
    else:
        check([result], expected)


async def closed(client):
    try:
        await client.aclose()
    except EXPECTED as exception:
        note("raised", exception)
        await client.aclose()


def made():
    return aiecs_redis.Redis(**options)


async def connect(number):
    client = made()
    with failing(number):
        await tried(lambda: client.get("key"), b"value")
    await tried(lambda: client.get("key"), b"value")
    await closed(client)


tls = connect


class Direct(concurrent.futures.ThreadPoolExecutor):
    """Without memory, CPython's own loses its lock, or waits for a thread that never started."""

    def submit(self, function, *args):
        future = concurrent.futures.Future()
        future.set_result(function(*args))
        return future


class Whereabouts:
    """In the place of a Sentinel: one server by two names."""

    now = "127.0.0.1"

    async def discover_master(self, name):
        return self.now, port


async def followed(number):
    """The address is asked for, and another one the next time."""
    where = Whereabouts()
    own = {"socket_connect_timeout": 0.3, "socket_timeout": 1}
    pool = aiecs_redis.SentinelConnectionPool("name", where, **own)
    client = aiecs_redis.Redis.from_pool(pool)
    asyncio.get_running_loop().set_default_executor(Direct())
    with failing(number):
        await tried(lambda: client.get("key"), b"value")
        where.now = "localhost"
        await tried(lambda: pool.moved_to((where.now, port)), None)
        await tried(lambda: client.get("key"), b"value")
    await closed(client)


async def names(number):
    # Where a future of asyncio loses its callback, the connection's own deadline is what remains.
    own = {"host": "localhost", "client_name": "n", "db": 1, "socket_connect_timeout": 0.3}
    client = aiecs_redis.Redis(**{**options, **own})
    asyncio.get_running_loop().set_default_executor(Direct())
    with failing(number):
        await tried(lambda: client.get("key"), None)
    await closed(client)


async def get(number):
    client = made()
    await client.get("key")
    with failing(number):
        await tried(lambda: client.get("key"), b"value")
        await tried(lambda: client.set("key", "value", ex=100), True)
        await tried(lambda: client.hgetall("hash"), {b"f": b"v"})
        await tried(lambda: client.execute_command("NOSUCH"))
        await tried(lambda: client.execute_command("SET", "other", object()))
    assert await client.get("key") == b"value"
    await closed(client)


async def gather(number):
    client = made()
    await client.get("key")
    results = []
    with failing(number), contextlib.suppress(MemoryError):
        results = await asyncio.gather(
            *(client.get("key") for _ in range(30)),
            *(asyncio.create_task(client.get("key")) for _ in range(10)),
            return_exceptions=True,
        )
    check(results, [b"value"])
    assert await client.get("key") == b"value"
    await closed(client)


async def pipeline(number):
    client = made()
    await client.get("key")
    with failing(number):
        for transaction in (False, True):
            with contextlib.suppress(*EXPECTED):
                made_of = client.pipeline(transaction=transaction)
                made_of.set("key", "value").get("key").hgetall("hash").execute_command("NOSUCH")
                found = await made_of.execute(raise_on_error=False)
                check(found[:3], [True, b"value", {b"f": b"v"}])
    assert await client.get("key") == b"value"
    await closed(client)


async def pubsub(number):
    client = made()
    pubsub = client.pubsub()
    with failing(number), contextlib.suppress(*EXPECTED):
        await pubsub.subscribe("channel")
        await pubsub.get_message(timeout=1)
        await client.publish("channel", "text")
        await pubsub.get_message(timeout=1)
        await pubsub.unsubscribe("channel")
    await pubsub.aclose()
    await closed(client)


async def blocking(number):
    client = made()
    await client.delete("list")
    with failing(number):
        with contextlib.suppress(MemoryError):
            waiting = asyncio.ensure_future(client.blpop("list", 2))
            await tried(lambda: client.rpush("list", "item"), 1)
            with contextlib.suppress(*EXPECTED):
                assert list(await waiting or ()) in ([b"list", b"item"], [])
    await closed(client)


async def handback(number):
    """Popped, read, and given up before anybody has been told."""
    client = made()
    await client.delete("list")
    waiting = asyncio.ensure_future(client.blpop("list", 2))
    async with redis.asyncio.Redis(**options) as other:
        while not (await other.info("clients"))["blocked_clients"]:
            await asyncio.sleep(0.001)
        with failing(number):
            with contextlib.suppress(*EXPECTED):
                await client.rpush("list", "item")
            await asyncio.sleep(0.003)
            with contextlib.suppress(MemoryError):
                waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError, *EXPECTED):
                await waiting
            await asyncio.sleep(0.003)
    del waiting
    await closed(client)


async def watch(number):
    client = made()
    await client.get("key")
    with failing(number), contextlib.suppress(*EXPECTED):
        async with client.pipeline() as pipe:
            await pipe.watch("key")
            assert await pipe.get("key") == b"value"
            pipe.multi()
            pipe.set("key", "value").get("key")
            check(await pipe.execute(), [True, b"value"])
    await tried(lambda: client.get("key"), b"value")
    await closed(client)


async def single(number):
    """redis-py's own code on a connection of ours."""
    client = made()
    with failing(number), contextlib.suppress(*EXPECTED):
        async with client.client() as alone:
            await tried(lambda: alone.get("key"), b"value")
            await tried(lambda: alone.hgetall("hash"), {b"f": b"v"})
    await tried(lambda: client.get("key"), b"value")
    await closed(client)


async def resubscribe(number):
    """The connection of a subscription is lost and made anew."""
    client = made()
    pubsub = client.pubsub()
    await pubsub.subscribe("channel")
    await pubsub.get_message(timeout=1)
    async with redis.asyncio.Redis(**options) as other:
        await other.ping()  # its own connecting takes long while each allocation is looked at
        with failing(number), contextlib.suppress(*EXPECTED):
            await other.client_kill_filter(_type="pubsub")
            await pubsub.get_message(timeout=0.05)
            await other.publish("channel", "text")
            await pubsub.get_message(timeout=0.05)
    await pubsub.aclose()
    await closed(client)


async def large(number):
    client = made()
    value = b"x" * 300_000
    await client.set("large", value)
    with failing(number):
        await tried(lambda: client.get("large"), value)
        await tried(lambda: client.set("large", value), True)
    await tried(lambda: client.get("large"), value)
    await closed(client)


async def cancel(number):
    client = made()
    await client.get("key")
    futures = []
    with failing(number):
        with contextlib.suppress(MemoryError):
            for _ in range(10):
                futures.append(asyncio.ensure_future(client.get("key")))
            futures.append(asyncio.create_task(client.blpop("nothing", 20)))
            futures.append(asyncio.ensure_future(client.blpop("nothing", 20)))
            await asyncio.sleep(0)
        for future in futures[::2] + futures[-2:]:
            with contextlib.suppress(MemoryError):
                future.cancel()
    for future in futures[-2:]:
        future.cancel()
    for result in await asyncio.gather(*futures, return_exceptions=True):
        if not isinstance(result, asyncio.CancelledError):
            check([result], [b"value"])
    assert await client.get("key") == b"value"
    await closed(client)


async def cluster(number):
    """Keys of several slots, pipelines and transactions; the server is a cluster of one node."""
    client = aiecs_redis.RedisCluster(**options)
    names = [f"key:{number}" for number in range(6)]
    await client.mset(dict.fromkeys(names, "value"))
    with failing(number):
        await tried(lambda: client.get("key:1"), b"value")
        await tried(lambda: client.mget(names), [b"value"] * len(names))
        await tried(lambda: client.mset(dict.fromkeys(names, "value")), True)
        await tried(lambda: client.exists(*names), len(names))
        await tried(lambda: client.execute_command("RENAME", "a", "b"))
        for transaction in (False, True):
            with contextlib.suppress(*EXPECTED):
                pipe = client.pipeline(transaction=transaction)
                pipe.set("key:1", "value").get("key:1").execute_command("LPUSH", "key:1", "x")
                found = await pipe.execute(raise_on_error=False)
                check(found[:2], [True, b"value"])
    await tried(lambda: client.mget(names), [b"value"] * len(names))
    await closed(client)


async def topology(number):
    """The first command of a client, which asks who has its slot."""
    client = aiecs_redis.RedisCluster(**options)
    with failing(number):
        await tried(lambda: client.get("key"), b"value")
    await tried(lambda: client.get("key"), b"value")
    await closed(client)


async def close(number):
    client = made()
    await client.get("key")
    futures = [asyncio.ensure_future(client.get("key")) for _ in range(10)]
    futures.append(asyncio.ensure_future(client.blpop("nothing", 20)))
    await asyncio.sleep(0)
    with failing(number):
        try:
            await client.aclose()
        except EXPECTED as exception:
            note("raised", exception)
    await client.aclose()
    check(await asyncio.gather(*futures, return_exceptions=True), [b"value"])


async def reconnect(number):
    client = made()
    identity = await client.client_id()
    async with redis.asyncio.Redis(host="127.0.0.1", port=port) as other:
        with failing(number):
            futures = []
            with contextlib.suppress(MemoryError):
                futures = [asyncio.ensure_future(client.blpop("nothing", 20)) for _ in range(2)]
            await other.client_kill_filter(_id=identity)
            await tried(lambda: client.get("key"), b"value")
    for future in futures:
        future.cancel()
    await asyncio.gather(*futures, return_exceptions=True)
    await tried(lambda: client.get("key"), b"value")
    await closed(client)


def run(number):
    """One run; returns whether the process had as many allocations."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, found: note(found["message"], found.get("exception")))
    asyncio.set_event_loop(loop)
    counts.clear()
    faulthandler.dump_traceback_later(4 * HANG, exit=True)
    try:
        loop.run_until_complete(asyncio.wait_for(globals()[scenario_name](number), HANG))
    except asyncio.TimeoutError:  # from Python 3.11 on an OSError, too
        strange.append("hung")
    except EXPECTED as exception:
        strange.append(f"{type(exception).__name__} left the scenario: {exception!r}")
    finally:
        disarm()
        for task in asyncio.all_tasks(loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, *EXPECTED):
                loop.run_until_complete(task)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        asyncio.set_event_loop(None)
        faulthandler.cancel_dump_traceback_later()
    return counts and counts[0] >= number


filler = aiecs_redis.Redis(**options)


def settled():
    sys._clear_type_cache()  # keeps names of attributes alive
    for command in [filler.get("key") for _ in range(SPARES)]:
        command.close()  # from now on as many as are ever kept
    for _ in range(3):
        gc.collect()
    return live()


def leaks(number):
    """How many blocks every run leaves behind; what goes to a cache does so only once."""
    run(number)
    least = sys.maxsize
    for _ in range(6):
        before = settled()
        run(number)
        least = min(least, settled() - before)
        if least <= 0:
            return 0
    return least


async def prepare():
    async with redis.asyncio.Redis(**{**options, "socket_timeout": None}) as client:
        await client.set("key", "value")
        for name in ("hash", "list", "nothing"):
            await client.delete(name)
        await client.hset("hash", "f", "v")


warnings.simplefilter("ignore")
logging.disable()
# A task that cannot take its step, for want of memory in asyncio itself, is lost: nobody's to mend.
assert library.failing_watch(b"aiecs_redis/_native", b"_asyncio"), "the core is not loaded"
asyncio.run(prepare())
gc.collect()
gc.freeze()
for _ in range(3):
    run(10**9)
assert not strange, strange
allocations = counts[0]
number, runs, bad = first, 0, 0
while number <= min(last, allocations + 1):
    strange.clear()
    left = leaks(number)
    if left > CPYTHON_LEAVES.get(scenario_name, 0):
        strange.append(f"leaves {left} blocks")
    if strange:
        bad += 1
        print(f"{scenario_name}, allocation {number}: {'; '.join(dict.fromkeys(strange))}"[:400])
    runs += 1
    number += step
print(f"{scenario_name}: {runs} of {allocations} allocations failed, {bad} with trouble")
sys.exit(bad > 0)
