"""Everything in order, under `-X dev -W error`: not a word on stderr."""

import asyncio
import contextlib
import sys

import redis

import aiecs_redis

port = int(sys.argv[1])


async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # -X dev would tell of a slow machine
    async with aiecs_redis.Redis(port=port, decode_responses=True) as client:
        await client.set("quiet", "value", ex=10)
        assert await client.get("quiet") == "value"
        assert await asyncio.gather(*(client.echo(str(n)) for n in range(50))) == [
            str(n) for n in range(50)
        ]
        assert await client.blpop("nothing", 0.01) is None
        future = asyncio.ensure_future(client.blpop("nothing", 30))
        await asyncio.sleep(0.01)
        future.cancel()
        task = asyncio.create_task(client.get("quiet"))
        assert await asyncio.wait_for(task, 5) == "value"
        with contextlib.suppress(redis.exceptions.ResponseError):
            await client.execute_command("NOSUCH")
        pipeline = client.pipeline()
        pipeline.get("quiet").incr("quiet-n")
        await pipeline.execute()
        client.get("quiet").close()
    client = aiecs_redis.Redis(port=port)
    await client.delete("quiet", "quiet-n")
    await client.aclose()


asyncio.run(main())
print("done")
