"""Something large comes in, something large goes out, many block: a PING is answered meanwhile."""

import asyncio
import time

import pytest
from harness.measure import percentile, run, sizes

from aiecs_redis.testing import RedisServer


@pytest.mark.parametrize("size", sizes(everyday=(16, 20), long=(128, 100)))
def test_ping_beside_bulk(impl, name, is_native, figure, size):
    megabytes, waiters = size

    async def ping(client, delays):
        started = time.monotonic()
        assert await client.ping()
        delays.append(time.monotonic() - started)

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
            arriving = asyncio.ensure_future(client.get("large"))
            written = asyncio.ensure_future(client.set("other", leaving))
            await pings(client, delays, lambda: not (arriving.done() and written.done()))
            assert await arriving == large
            assert await written is True
            assert admin.strlen("other") == len(leaving)
            for n in range(waiters):
                await client.rpush(f"q{n}", n)
            assert [int(item) for _, item in await asyncio.gather(*waiting)] == [*range(waiters)]
        return calm, delays

    config = {"client-query-buffer-limit": "1gb", "proto-max-bulk-len": "1gb"}
    with RedisServer(config=config) as server, server.connect() as admin:
        calm, delays = run(main(), 300)
    figure(
        "bulk",
        f"{len(delays)} PING meanwhile: p50 {1000 * percentile(delays, 0.5):.1f} ms, p99 "
        f"{1000 * percentile(delays, 0.99):.1f} ms, worst {1000 * max(delays):.1f} ms "
        f"(before: p99 {1000 * percentile(calm, 0.99):.1f} ms)",
        name,
    )
    assert len(delays) > 2, "no PING was answered before the large ones were through"
    assert max(delays) < 5
