"""The lock of the toolkit: waiting without polling, loss, and writes behind a fence."""

import asyncio

from aiecs_redis import get_redis_client
from aiecs_redis.lock import DistributedLock, LockLostError, StaleFencingTokenError


async def main() -> str:
    client = await get_redis_client()
    redis = await client.get_client()

    # Ten tasks, here or on other machines, one at a time, in the order in which they asked.
    inside = 0

    async def book_seat() -> None:
        nonlocal inside
        async with DistributedLock(client, "seats", wait=30, fair=True) as lock:
            inside += 1
            assert inside == 1
            await lock.execute(("INCR", "other:seats"))  # only while nobody has it after us
            inside -= 1

    await asyncio.gather(*(book_seat() for _ in range(10)))
    print(f"Seats booked: {await redis.get('other:seats')}")

    # Whoever loses the lock is stopped, and could not write any more.
    slow = DistributedLock(client, "report", timeout=0.3)
    try:
        async with slow:
            await redis.delete(slow.lock_name)  # an administrator, a failover, a long pause
            await asyncio.sleep(30)
    except LockLostError as e:
        print(e)
    async with DistributedLock(client, "report"):
        try:
            await slow.execute(("SET", "other:report", "old"))
        except StaleFencingTokenError as e:
            print(e)
    seats = await redis.get("other:seats")
    return f"{seats} seats booked one after the other; a lost lock stopped its holder"


if __name__ == "__main__":
    import demo

    demo.alone(main)
