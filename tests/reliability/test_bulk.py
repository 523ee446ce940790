"""Something large comes in, something large goes out, many block: a PING is answered meanwhile.

The server, too, has one thread: while it makes 128 MB of a reply it answers nobody. A process of
its own, without any client, finds out when; what is left of a PING's time is ours.
"""

import asyncio
import os
import time

import pytest
from harness.beside import Probe, Turns, run_with_turns, without
from harness.measure import percentile, sizes

from aiecs_redis.testing import RedisServer

LOOKS = 5  # PINGs of ours, and looks of the other process, that a case needs to tell something


@pytest.mark.parametrize("size", sizes(everyday=(16, 20), long=(128, 100)))
def test_ping_beside_bulk(impl, name, is_native, figure, size):
    megabytes, waiters = size

    async def ping(client, delays):
        started = time.monotonic()
        assert await client.ping()
        delays.append((started, time.monotonic()))

    async def pings(client, delays, going_on):
        """One every 5 ms, whether or not those before it have been answered."""
        tasks = []
        while going_on():
            tasks.append(asyncio.create_task(ping(client, delays)))
            await asyncio.sleep(0.005)
        await asyncio.gather(*tasks)

    async def transfer(client, large, leaving, delays):
        """Again where that is quick, until both have looked at it."""
        started, enough = time.monotonic(), False
        while not enough:
            arrived, stored = await asyncio.gather(
                client.get("large"), client.set("other", leaving)
            )
            assert (len(arrived), stored) == (len(large), True)
            assert probe.process.poll() is None, "the other process has come to an end"
            enough = min(len(delays), probe.looks_since(started)) >= LOOKS
        return arrived

    async def main():
        large = b"x" * (megabytes << 20)
        leaving = b"y" * (megabytes << 19)
        delays, calm = [], []
        limit = waiters + 20 if is_native else 1000  # redis-py has one for each PING on its way
        async with impl(**server.kwargs, max_connections=limit) as client:
            await client.set("large", large)
            waiting = [asyncio.ensure_future(client.blpop(f"q{n}", 0)) for n in range(waiters)]
            while admin.info("clients")["blocked_clients"] < waiters:
                await asyncio.sleep(0.005)
            until = time.monotonic() + 0.5
            await pings(client, calm, lambda: time.monotonic() < until)
            probe.begin()
            await asyncio.sleep(0.05)
            turns.seconds.clear()
            through = asyncio.ensure_future(transfer(client, large, leaving, delays))
            await pings(client, delays, lambda: not through.done())
            longest = max(turns.seconds)
            assert await through == large
            assert admin.strlen("other") == len(leaving)
            for n in range(waiters):
                await client.rpush(f"q{n}", n)
            assert [int(item) for _, item in await asyncio.gather(*waiting)] == [*range(waiters)]
        return calm, delays, longest

    config = {"client-query-buffer-limit": "1gb", "proto-max-bulk-len": "1gb"}
    turns = Turns()
    with RedisServer(config=config) as server, server.connect() as admin:
        with Probe(server.port) as probe:
            calm, delays, longest = run_with_turns(main(), turns, 300)
    took = [ended - begun for begun, ended in delays]
    began, over = delays[0][0], delays[-1][1]
    servers = [(a, b) for a, b in probe.waits if b > began and a < over]
    answers = [b - a for a, b in servers]
    ours = [without(wait, servers) for wait in delays]
    figure(
        "bulk",
        f"{len(delays)} PING meanwhile: p50 {1000 * percentile(took, 0.5):.1f} ms, p99 "
        f"{1000 * percentile(took, 0.99):.1f} ms (before: p99 "
        f"{1000 * percentile([b - a for a, b in calm], 0.99):.1f} ms). Another process, without a "
        f"client: p99 {1000 * percentile(answers, 0.99):.1f} ms. Of ours while that one was not "
        f"waiting: p99 {1000 * percentile(ours, 0.99):.1f} ms. Longest turn of the loop: "
        f"{1000 * longest:.1f} ms of processor time",
        name,
    )
    assert len(delays) >= LOOKS
    assert len(servers) >= LOOKS - 1  # the first may have ended before our first began
    assert max(took) < 5
    if is_native and "ASAN_OPTIONS" not in os.environ:
        assert longest < 0.02
