"""The Celery application of test_celery.py: one client for all processes and all event loops."""

import asyncio
import os

import celery
from celery.signals import worker_init

import aiecs_redis
from aiecs_redis.redis_client import get_redis_client, initialize_redis_client

URL = os.environ["CELERY_TEST_URL"]

app = celery.Celery("app", broker=URL, backend=URL)
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_max_tasks_per_child=10,  # the worker forks new processes all the time
    worker_prefetch_multiplier=1,
    result_expires=60,
    result_backend_transport_options={"retry_policy": {"max_retries": 3}},
)

shared = aiecs_redis.Redis.from_url(URL, decode_responses=True)


async def say_hello():
    await asyncio.gather(*(shared.incr("hellos") for _ in range(10)))


@worker_init.connect
def use_the_client_before_forking(**_):
    """Its connections exist, their loop is closed, when the worker forks."""
    asyncio.run(say_hello())


@app.task
def work(n):
    """Every call is an event loop of its own. Returns the process and what Redis answered."""

    async def run():
        key = f"work:{n}"
        counts = await asyncio.gather(*(shared.incr(key) for _ in range(20)))
        async with shared.pipeline(transaction=True) as pipe:
            _, value = await pipe.set(f"{key}:value", n).get(f"{key}:value").execute()
        await shared.rpush(f"{key}:list", "item")
        popped = await shared.blpop([f"{key}:list"], timeout=5)
        await shared.incr("total")
        return counts, value, popped

    return os.getpid(), *asyncio.run(run())


@app.task
def abandon():
    """The loop ends while commands are pending on it."""

    async def run():
        asyncio.ensure_future(shared.blpop(["never"], timeout=60))
        shared.incr("dropped").close()
        await shared.ping()

    asyncio.run(run())
    return asyncio.run(answer())


async def answer():
    return await shared.echo("fine")


@app.task
def documented(n):
    """The documented global client, initialized by the first task of each process."""

    async def run():
        await initialize_redis_client({"url": URL})
        client = await get_redis_client()
        assert await client.set(f"documented:{n}", str(n))
        return await client.get(f"documented:{n}")

    return asyncio.run(run())
