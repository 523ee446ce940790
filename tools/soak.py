"""Hours of mixed load with faults: does memory grow, do descriptors leak, is a reply ever wrong?

    make soak ARGS='--minutes 30'

A server of our own behind a faulty proxy; both are restarted, stalled and cut while tasks read and
write, block, subscribe, run pipelines, are cancelled and time out. Resident memory and open
descriptors of this process are sampled; after a warm-up the slope of memory is fitted.

Exit status: 1 when the memory in use grows by more than a megabyte an hour, or what is resident by
more than five, when descriptors grow, a reply is wrong, or nothing was done at all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

import redis

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import aiecs_redis
from aiecs_redis.testing import FaultProxy, RedisServer

LIMIT = 1.0  # megabytes an hour that more is in use
RESIDENT_LIMIT = 5.0  # half an hour tells no better: freed blocks come to lie apart
HEAP = {"PYTHONMALLOC": "malloc", "MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072"}
TROUBLE = (redis.RedisError, asyncio.TimeoutError, OSError)


def resident() -> float:
    """Megabytes of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def trim() -> None:
    """Give freed memory back: a heap with holes is not growth."""
    gc.collect()
    function = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if function is not None:
        function(0)


class _MallInfo(ctypes.Structure):
    _NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _NAMES.split()]


def in_use() -> float:
    """Megabytes that malloc() has handed out, 0 where it cannot tell.

    What grows here is a leak; resident memory also grows when free blocks come to lie apart.
    """
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)  # glibc 2.33
    if function is None:
        return 0.0
    function.restype = _MallInfo
    found = function()
    return (found.hblkhd + found.uordblks) / 1e6


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Load:
    """Tasks that never end, and what they count."""

    def __init__(self, kwargs: dict, seed: int) -> None:
        self.kwargs = {**kwargs, "socket_timeout": 2, "socket_connect_timeout": 2}
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.ending = False  # before Python 3.12, wait_for() may swallow a cancellation

    def made(self, **options) -> aiecs_redis.Redis:
        return aiecs_redis.Redis(**{**self.kwargs, **options})

    def expect(self, found: object, expected: object) -> None:
        if found != expected:
            self.wrong.append(f"{found!r:.80} instead of {expected!r:.80}")

    async def forever(self, work) -> None:
        client = self.made()
        while not self.ending:
            try:
                await asyncio.wait_for(work(client), 5)
                self.done[work.__name__] += 1
            except TROUBLE as error:
                self.done[f"{work.__name__}: {type(error).__name__}"] += 1
            await asyncio.sleep(0.001)

    async def echoes(self, client) -> None:
        words = [str(self.random.random()).encode() for _ in range(20)]
        self.expect(await asyncio.gather(*map(client.echo, words)), words)

    async def values(self, client) -> None:
        key, value = f"key{self.random.randrange(50)}", b"%d" % self.random.getrandbits(400)
        await client.set(key, value, ex=60)
        found = await client.get(key)
        if found is not None and not found.isdigit():
            self.wrong.append(f"{key} holds {found!r:.80}")

    async def large(self, client) -> None:
        value = os.urandom(self.random.choice([10_000, 200_000, 1_000_000]))
        self.expect(await client.echo(value), value)
        await asyncio.sleep(0.1)

    async def hashes(self, client) -> None:
        mapping = {b"field%d" % n: b"%d" % n for n in range(20)}
        await client.hset("hash", mapping=mapping)
        self.expect(await client.hgetall("hash") in (mapping, {}), True)

    async def pipelines(self, client) -> None:
        pipeline = client.pipeline(transaction=self.random.random() < 0.5)
        for number in range(10):
            pipeline.echo(str(number))
        self.expect(await pipeline.execute(), [b"%d" % number for number in range(10)])

    async def blocking(self, client) -> None:
        await client.rpush("list", "item")
        await client.blpop("list", 0.5)
        await client.blpop("nothing", 0.01)

    async def subscriptions(self, client) -> None:
        async with client.pubsub() as pubsub:
            await pubsub.subscribe("channel")
            await client.publish("channel", "text")
            for _ in range(3):
                await pubsub.get_message(timeout=0.05)

    async def cancelled(self, client) -> None:
        futures = [asyncio.ensure_future(client.echo("x")) for _ in range(10)]
        futures += [asyncio.create_task(client.blpop("nothing", 5))]
        try:
            await asyncio.sleep(self.random.choice([0, 0.001]))
        finally:  # this task may be cancelled itself
            for future in futures[::2]:
                future.cancel()
            await asyncio.gather(*futures, return_exceptions=True)

    async def timed_out(self, client) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(client.blpop("nothing", 5), 0.01)

    async def errors(self, client) -> None:
        for arguments in (("NOSUCH",), ("SET", "key", object()), ("INCR", "hash")):
            with contextlib.suppress(redis.ResponseError, redis.DataError):
                await client.execute_command(*arguments)

    async def clients(self, client) -> None:
        async with self.made(decode_responses=True) as other:
            self.expect(await other.echo("ü"), "ü")
        left = self.made()
        await left.ping()
        del left

    def works(self) -> list:
        return [
            self.echoes,
            self.values,
            self.large,
            self.hashes,
            self.pipelines,
            self.blocking,
            self.subscriptions,
            self.cancelled,
            self.timed_out,
            self.errors,
            self.clients,
        ]


class Faults:
    """What goes wrong, one thing at a time and then for a while nothing."""

    def __init__(self, server: RedisServer, proxy: FaultProxy, seed: int) -> None:
        self.server, self.proxy = server, proxy
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()

    async def forever(self) -> None:
        kinds = [self.cut, self.cut_inside, self.chop, self.stall, self.restart, self.refuse]
        while True:
            await asyncio.sleep(self.random.uniform(0.5, 2))
            kind = self.random.choice(kinds)
            await kind()
            self.done[kind.__name__] += 1

    async def away(self, function) -> None:
        await asyncio.get_running_loop().run_in_executor(None, function)

    async def cut(self) -> None:
        await self.away(self.proxy.cut)

    async def cut_inside(self) -> None:
        flow = self.random.choice([self.proxy.to_client, self.proxy.to_server])
        flow.cut_after = self.random.randrange(1, 3000)

    async def chop(self) -> None:
        self.proxy.to_client.chop = self.random.choice([1, 7, 100])
        await asyncio.sleep(0.3)
        self.proxy.to_client.chop = 0

    async def stall(self) -> None:
        self.proxy.to_client.stall()
        await asyncio.sleep(self.random.uniform(0.1, 3))
        self.proxy.to_client.resume()

    async def restart(self) -> None:
        await self.away(self.server.restart)

    async def refuse(self) -> None:
        self.proxy.refuse()
        await self.away(self.proxy.cut)
        await asyncio.sleep(0.3)
        self.proxy.accept()


def slope(samples: list[tuple[float, float]]) -> float:
    """Of a line fitted through (seconds, megabytes), in megabytes an hour."""
    count = len(samples)
    mean_x = sum(x for x, _ in samples) / count
    mean_y = sum(y for _, y in samples) / count
    square = sum((x - mean_x) ** 2 for x, _ in samples)
    return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in samples) / square


async def quiet(tasks: list[asyncio.Task], proxy: FaultProxy) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    proxy.to_client.resume()
    proxy.accept()


async def settled(proxy: FaultProxy) -> None:
    """The clients are gone; the proxy notices that their connections are."""
    for _ in range(100):
        gc.collect()
        if proxy.open_connections == 0:
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.2)


async def soak(minutes: float, interval: float, seed: int) -> int:
    end = time.monotonic() + minutes * 60
    memory: list[tuple[float, float]] = []
    held: list[tuple[float, float]] = []
    open_files: list[int] = []
    done: Counter[str] = Counter()
    wrong: list[str] = []
    with RedisServer() as server, FaultProxy(server.host, server.port) as proxy:
        start, period = time.monotonic(), 0
        # A period of load, then everything ends: what is left then is what counts.
        while time.monotonic() < end or period < 4:
            load = Load({**server.kwargs, **proxy.kwargs}, seed + period)
            faults = Faults(server, proxy, seed + period)
            tasks = [asyncio.create_task(load.forever(work)) for work in load.works()]
            tasks.append(asyncio.create_task(faults.forever()))
            await asyncio.sleep(interval)
            load.ending = True
            await quiet(tasks, proxy)
            del tasks
            period += 1
            done += load.done + faults.done
            wrong += load.wrong
            del load, faults
            await settled(proxy)
            trim()
            memory.append((time.monotonic() - start, resident()))
            open_files.append(descriptors())
            held.append((memory[-1][0], in_use()))
            print(
                f"{memory[-1][0]:7.0f} s  {memory[-1][1]:8.2f} MB  {held[-1][1]:8.3f} in use"
                f"  {open_files[-1]:4d} descriptors  {sum(done.values()):9d} steps",
                flush=True,
            )
    warm = len(memory) // 3
    growth, leak = slope(memory[warm:]), slope(held[warm:])
    more = min(open_files[-3:]) - min(open_files[warm : warm + 3])
    for name, count in sorted(done.items()):
        print(f"{count:9d}  {name}")
    print(
        f"after {memory[warm][0]:.0f} s: resident memory {growth:+.2f} MB/h, "
        f"in use {leak:+.3f} MB/h, descriptors {more:+d}"
    )
    for what in wrong[:10]:
        print(f"wrong: {what}")
    failed = (
        growth > RESIDENT_LIMIT or leak > LIMIT or more > 0 or bool(wrong) or not any(done.values())
    )
    print("FAILED" if failed else "fine")
    return int(failed)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30, help="how long (default: 30)")
    parser.add_argument(
        "--interval", type=float, default=15, help="seconds of load between samples (default: 15)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of load and faults (default: 1)")
    options = parser.parse_args()
    # One heap for everything, Python's objects too: what is in use can be counted, and freed memory
    # goes back. Python's own arenas would come and go by the megabyte.
    if any(os.environ.get(name) != value for name, value in HEAP.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **HEAP})
    return asyncio.run(soak(options.minutes, options.interval, options.seed))


if __name__ == "__main__":
    sys.exit(main())
