"""Holds locks, is stopped by whoever started it, and afterwards writes as if nothing had been.

    python lock_holders.py URL FIRST COUNT TIMEOUT

Prints "ready" when it holds all locks, and at the end one line of JSON.
"""

import asyncio
import json
import sys

from aiecs_redis import Redis
from aiecs_redis.lock import DistributedLock, LockLostError, StaleFencingTokenError


async def write(lock, number, report):
    """A fenced write and one without a fence, by someone who believes to hold the lock."""
    await lock.redis_client.set(f"unfenced:{number}", "stale")
    try:
        await lock.execute(("SET", f"resource:{number}", "stale"))
        report["passed"] += 1
    except StaleFencingTokenError:
        report["refused"] += 1


async def hold(client, number, timeout, held, report):
    lock = DistributedLock(client, f"resource:{number}", timeout)
    try:
        async with lock:
            held.release()
            await asyncio.sleep(3600)
    except LockLostError:
        report["lost"] += 1
    await write(lock, number, report)


async def main(url, first, count, timeout):
    report = {"passed": 0, "refused": 0, "lost": 0}
    held = asyncio.Semaphore(0)
    async with Redis.from_url(url) as client:
        holders = [
            asyncio.ensure_future(hold(client, first + i, timeout, held, report))
            for i in range(count)
        ]
        for _ in holders:
            await held.acquire()
        print("ready", flush=True)
        await asyncio.gather(*holders)
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    url, first, count, timeout = sys.argv[1:]
    asyncio.run(main(url, int(first), int(count), float(timeout)))
