"""Consumers give up on BLPOP all the time: no item is lost, none is handed out twice."""

import asyncio
import random

import pytest
from harness.measure import hung, run, sizes

from aiecs_redis.testing import RedisServer

CONSUMERS = 20


@pytest.mark.parametrize("items", sizes(everyday=300, long=10_000))
def test_cancelled_pops_lose_nothing(impl, name, is_native, figure, items):
    items = items if is_native else items // 10
    rng = random.Random(items)
    taken, given_up = [], 0

    async def consumer(client, stop):
        nonlocal given_up
        while not stop.is_set():
            pop = asyncio.ensure_future(client.blpop("queue", 1))
            await asyncio.wait([pop], timeout=rng.random() * 0.004)
            if not pop.done():
                pop.cancel()
                given_up += 1
            try:
                popped = await pop
            except asyncio.CancelledError:
                continue
            if popped is not None:  # redis-py may swallow a cancel while it is sending
                taken.append(int(popped[1]))

    async def main():
        stop = asyncio.Event()
        async with impl(**server.kwargs, max_connections=4 * CONSUMERS) as client:
            consumers = [asyncio.create_task(consumer(client, stop)) for _ in range(CONSUMERS)]
            async with impl(**server.kwargs) as producer:
                for n in range(items):
                    await producer.rpush("queue", n)
                    await asyncio.sleep(rng.random() * 0.001)
            stop.set()
            still = await hung(consumers, 10)
            for task in consumers:
                if not task.cancelled():
                    task.result()
            until = asyncio.get_running_loop().time() + 10
            while True:  # what was popped for nobody is on its way back
                left = [int(item) for item in admin.lrange("queue", 0, -1)]
                whole = len(set(taken + left)) == items
                if whole or not is_native or asyncio.get_running_loop().time() > until:
                    return left, still
                await asyncio.sleep(0.05)

    with RedisServer() as server, server.connect() as admin:
        left, still = run(main(), 300)
    lost = items - len(set(taken + left))
    twice = len(taken + left) - len(set(taken + left))
    figure(
        "pops",
        f"{items:,} items, {given_up:,} cancelled BLPOP: {lost} lost, {twice} handed out twice, "
        f"{still} tasks hung",
        name,
    )
    if is_native:
        assert (lost, twice, still) == (0, 0, 0)
