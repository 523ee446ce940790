"""Five hundred asyncio.run(), with clients closed, not closed, and shared: are descriptors left?"""

import asyncio
import contextlib
import gc
import os
import sys
import warnings

import aiecs_redis

port, loop_kind = int(sys.argv[1]), sys.argv[2]
if loop_kind == "uvloop":
    import uvloop

    new_loop = uvloop.new_event_loop
else:
    new_loop = asyncio.new_event_loop
warnings.simplefilter("ignore", ResourceWarning)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def run(coroutine):
    loop = new_loop()
    loop.set_exception_handler(lambda loop, context: None)  # Tasks that were left pending
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(coroutine)
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
        asyncio.set_event_loop(None)


async def closed():
    async with aiecs_redis.Redis(host="127.0.0.1", port=port) as client:
        await client.ping()


async def not_closed():
    await aiecs_redis.Redis(host="127.0.0.1", port=port).ping()


async def left_pending():
    client = aiecs_redis.Redis(host="127.0.0.1", port=port)
    await client.ping()
    asyncio.ensure_future(client.blpop("list", 30))
    asyncio.ensure_future(client.echo("x"))
    await asyncio.sleep(0)


async def never_answered():
    asyncio.ensure_future(aiecs_redis.Redis(host="127.0.0.1", port=port).ping())
    await asyncio.sleep(0)


asyncio.set_event_loop(new_loop())  # redis-py asks for one before Python 3.10
shared = aiecs_redis.Redis(host="127.0.0.1", port=port)


async def shared_client():
    await shared.ping()


async def refused():
    client = aiecs_redis.Redis(port=1, host="127.0.0.1")
    with contextlib.suppress(Exception):
        await asyncio.wait_for(client.ping(), 0.001)


for work in (closed, not_closed, left_pending, never_answered, shared_client, refused):
    run(work())
    gc.collect()
    before = descriptors()
    for _ in range(84):
        run(work())
    gc.collect()
    grown = descriptors() - before
    if grown > 2:  # the shared client keeps the last loop's until its next use
        print(f"{work.__name__}: {grown} descriptors")
