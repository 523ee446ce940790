"""taskiq-redis: it imports the name Redis from redis.asyncio; it is imported afresh.

It makes a client around its connection pool for every operation, so that every operation has a
connection of its own.
"""

import asyncio
import collections
import contextlib

import pytest

pytest.importorskip("taskiq_redis", reason="taskiq-redis is not installed, `make libraries` does")

from taskiq import ScheduledTask, TaskiqResultTimeoutError
from taskiq.api import run_receiver_task


@pytest.fixture
def taskiq_redis(imported_afresh, native_names):
    taskiq_redis = imported_afresh("taskiq_redis")
    assert taskiq_redis.redis_broker.Redis is native_names
    assert taskiq_redis.redis_backend.Redis is native_names
    return taskiq_redis


@contextlib.asynccontextmanager
async def receiving(broker, receivers=1):
    await broker.startup()
    running = [asyncio.ensure_future(run_receiver_task(broker)) for _ in range(receivers)]
    await asyncio.sleep(0.05)
    try:
        yield broker
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await broker.shutdown()


@pytest.mark.parametrize("kind", ["ListQueueBroker", "RedisStreamBroker"])
async def test_each_task_runs_once(taskiq_redis, server, admin, kind, python_connections):
    backend = taskiq_redis.RedisAsyncResultBackend(server.url, result_ex_time=60)
    broker = getattr(taskiq_redis, kind)(server.url).with_result_backend(backend)
    ran = collections.Counter()

    @broker.task
    async def add(a, b):
        ran[a] += 1
        return a + b

    async with receiving(broker, receivers=2):
        tasks = await asyncio.gather(*(add.kiq(n, b=1) for n in range(60)))
        results = await asyncio.gather(*(task.wait_result(0.02, timeout=10) for task in tasks))
    assert [result.return_value for result in results] == list(range(1, 61))
    assert ran == dict.fromkeys(range(60), 1)
    if kind == "RedisStreamBroker":
        assert admin.xpending("taskiq", "taskiq")["pending"] == 0
    else:
        assert admin.llen("taskiq") == 0
        assert not python_connections


async def test_pub_sub_reaches_all_receivers(taskiq_redis, server):
    broker = taskiq_redis.PubSubBroker(server.url)
    ran = collections.Counter()

    @broker.task
    async def note(n):
        ran[n] += 1

    async with receiving(broker, receivers=3):
        await asyncio.gather(*(note.kiq(n) for n in range(20)))
        for _ in range(500):
            if sum(ran.values()) == 60:
                break
            await asyncio.sleep(0.01)
    assert ran == dict.fromkeys(range(20), 3)


async def test_results_that_are_missing_or_errors(taskiq_redis, server):
    backend = taskiq_redis.RedisAsyncResultBackend(server.url, keep_results=False)
    broker = taskiq_redis.ListQueueBroker(server.url).with_result_backend(backend)

    @broker.task
    async def broken():
        raise LookupError("no such thing")

    @broker.task
    async def slow():
        await asyncio.sleep(5)

    async with receiving(broker):
        task = await broken.kiq()
        result = await task.wait_result(0.02, timeout=5)
        assert result.is_err and isinstance(result.error, LookupError)
        with pytest.raises(taskiq_redis.exceptions.ResultIsMissingError):
            await backend.get_result(task.task_id)
        with pytest.raises(TaskiqResultTimeoutError):
            await (await slow.kiq()).wait_result(0.02, timeout=0.1)


async def test_schedules(taskiq_redis, server):
    source = taskiq_redis.ListRedisScheduleSource(server.url)
    await source.startup()
    schedules = [
        ScheduledTask(
            task_name="report", labels={}, args=[n], kwargs={}, schedule_id=str(n), cron="0 3 * * *"
        )
        for n in range(20)
    ]
    await asyncio.gather(*(source.add_schedule(schedule) for schedule in schedules))
    await source.delete_schedule("7")
    found = await source.get_schedules()
    assert sorted(schedule.args[0] for schedule in found) == [n for n in range(20) if n != 7]
    await source.shutdown()
