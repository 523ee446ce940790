"""Reads one missing key through a cache, many times at once, together with other processes.

    python cache_readers.py URL READS

Prints "ready", waits for a line, and prints how often its loader ran.
"""

import asyncio
import sys

from aiecs_redis import Redis
from aiecs_redis.cache import CacheManager


async def main(url, reads):
    async with Redis.from_url(url) as client, CacheManager(client) as cache:

        async def load():
            await asyncio.sleep(0.2)
            return "loaded"

        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        values = await asyncio.gather(*(cache.get("key", loader=load) for _ in range(reads)))
        assert values == ["loaded"] * reads
        print(cache.stats.loads, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
