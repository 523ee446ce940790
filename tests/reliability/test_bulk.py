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
            arriving = asyncio.ensure_future(client.get("large"))
            written = asyncio.ensure_future(client.set("other", leaving))
            await pings(client, delays, lambda: not (arriving.done() and written.done()))
            longest = max(turns.seconds)
            assert await arriving == large
            assert await written is True
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
    assert len(delays) > 2, "no PING was answered before the large ones were through"
    assert len(servers) > 2, "the other process did not look"
    assert max(took) < 5
    if is_native and "ASAN_OPTIONS" not in os.environ:
        assert longest < 0.02
