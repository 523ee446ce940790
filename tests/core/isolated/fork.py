"""A fork in the middle: the child uses the client on a loop of its own, the parent goes on.

The child must not touch the inherited sockets: the parent's replies would get lost.
"""

import asyncio
import os
import sys

import aiecs_redis

port = int(sys.argv[1])
client = aiecs_redis.Redis(port=port)


async def child():
    assert await asyncio.gather(*(client.echo(f"child{n}") for n in range(100))) == [
        f"child{n}".encode() for n in range(100)
    ]
    return await client.client_id()


def in_child(parents_id):
    status = 1
    try:
        asyncio.events._set_running_loop(None)  # inherited: this is the middle of the parent's
        assert asyncio.run(child()) != parents_id
        client.connection_pool  # noqa: B018  # and the client can be dropped here
        print("child fine", flush=True)
        status = 0
    finally:
        os._exit(status)


async def parent():
    identity = await client.client_id()
    pending = [asyncio.ensure_future(client.echo(f"parent{n}")) for n in range(100)]
    blocking = asyncio.ensure_future(client.blpop("fork-list", 30))
    await asyncio.sleep(0)
    pid = os.fork()
    if pid == 0:
        in_child(identity)
    assert await asyncio.gather(*pending) == [f"parent{n}".encode() for n in range(100)]
    _, status = await asyncio.get_running_loop().run_in_executor(None, os.waitpid, pid, 0)
    assert status == 0, status
    assert await client.client_id() == identity
    await client.rpush("fork-list", "item")
    assert list(await blocking) == [b"fork-list", b"item"]
    await client.aclose()
    print("parent fine", flush=True)


asyncio.run(parent())
