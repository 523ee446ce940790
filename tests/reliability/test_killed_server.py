"""kill -9 again and again, under INCR: what was acknowledged is there, nothing is counted twice."""

import asyncio
import random

import pytest
from harness.measure import hung, in_thread, run, sizes
from redis.exceptions import ConnectionError, TimeoutError

from aiecs_redis.exceptions import OutcomeUnknownError
from aiecs_redis.testing import RedisServer

TASKS = 1000


class Load:
    """Tasks that count a key up, and what they were told."""

    def __init__(self, client, is_native):
        self.client = client
        # redis-py does not tell an unknown outcome from a certain one: all its errors are.
        told = OutcomeUnknownError if is_native else (ConnectionError, TimeoutError)
        self.ambiguous_errors = told
        self.acknowledged = self.ambiguous = self.refused = 0
        self.stop = False

    async def worker(self):
        while not self.stop:
            try:
                await self.client.incr("counter")
            except self.ambiguous_errors:
                self.ambiguous += 1
            except ConnectionError:
                self.refused += 1
                await asyncio.sleep(0.01)
            else:
                self.acknowledged += 1

    async def progress(self, least, limit):
        """Until so many more have been acknowledged, or the time is up."""
        wanted = self.acknowledged + least
        until = asyncio.get_running_loop().time() + limit
        while self.acknowledged < wanted and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.005)
        return self.acknowledged >= wanted


@pytest.mark.parametrize("size", sizes(everyday=5, long=100))
def test_no_increment_is_lost_or_repeated(impl, name, is_native, figure, size):
    kills = size if is_native else max(size // 5, 2)
    rng = random.Random(size)

    async def main():
        options = {} if is_native else {"max_connections": 2 * TASKS}
        async with impl(**server.kwargs, **options) as client:
            load = Load(client, is_native)
            tasks = [asyncio.create_task(load.worker()) for _ in range(TASKS)]
            working = True
            for _ in range(kills):
                working &= await load.progress(500, 30)
                await asyncio.sleep(rng.random() * 0.05)
                await in_thread(server.kill)
                await asyncio.sleep(rng.random() * 0.05)
                await in_thread(server.start)
            working &= await load.progress(500, 30)
            load.stop = True
            load.hung = await hung(tasks, 60)
            load.working = working
            return load

    with RedisServer(appendonly=True, config={"maxclients": 10_000}) as server:
        load = run(main(), 1500)
        with server.connect() as admin:
            counter = int(admin.get("counter"))
    overshoot = max(counter - load.acknowledged - load.ambiguous, 0)
    lost = max(load.acknowledged - counter, 0)
    figure(
        "kill",
        f"{kills} kills, {load.acknowledged:,} acknowledged, {load.ambiguous:,} told ambiguous, "
        f"counter {counter:,}: {lost} lost, {overshoot:,} counted twice, {load.hung} hung",
        name,
    )
    assert load.working, "after a kill, the tasks did not go on"
    assert (lost, load.hung) == (0, 0)
    if is_native:
        assert load.acknowledged <= counter <= load.acknowledged + load.ambiguous
