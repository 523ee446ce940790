"""Waits for a fair lock on command, and notes in Redis when it has got it.

    python lock_waiters.py URL

Reads lines "NUMBER HOLD": a waiter of that number, which holds the lock for HOLD seconds and
appends its number to the list "order". Ends with its standard input.
"""

import asyncio
import sys

from aiecs_redis import Redis
from aiecs_redis.lock import DistributedLock


async def wait(client, number, hold):
    async with DistributedLock(client, "fair", timeout=2, wait=60, fair=True):
        await client.rpush("order", number)
        await asyncio.sleep(hold)


async def main(url):
    loop = asyncio.get_running_loop()
    waiting = []
    async with Redis.from_url(url) as client:
        await client.ping()
        print("ready", flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            number, hold = line.split()
            waiting.append(asyncio.ensure_future(wait(client, int(number), float(hold))))
        await asyncio.gather(*waiting)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
