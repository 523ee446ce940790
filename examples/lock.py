"""Documentation 4.4: a distributed lock, and five who want it.

The documentation's lines stand here as they are written there.
"""
# fmt: off

import asyncio
import contextlib
import io
import uuid

from aiecs_redis import get_redis_client

redis_client = None


class DistributedLock:
    def __init__(self, redis_client, lock_name: str, timeout: int = 10):
        self.redis_client = redis_client
        self.lock_name = f"lock:{lock_name}"
        self.timeout = timeout
        self.identifier = str(uuid.uuid4())

    async def acquire(self) -> bool:
        """Acquire lock"""
        # Use SET command with NX and EX options for atomicity
        result = await self.redis_client.set(
            self.lock_name,
            self.identifier,
            ex=self.timeout,
            nx=True  # Only set if key does not exist
        )
        return result

    async def release(self) -> bool:
        """Release lock"""
        # Use Lua script to ensure only lock holder can release
        lua_script = """
        if redis.call("get", KEYS[1]) == ARGV[1] then
            return redis.call("del", KEYS[1])
        else
            return 0
        end
        """
        client = await self.redis_client.get_client()
        result = await client.eval(lua_script, 1, self.lock_name, self.identifier)
        return bool(result)

    async def __aenter__(self):
        if await self.acquire():
            return self
        else:
            raise Exception("Failed to acquire lock")

    async def __aexit__(self, exc_type, exc_val, exc_tb):
        await self.release()


# Use distributed lock
async def process_with_lock(resource_id: str):
    """Process resource with distributed lock"""
    lock = DistributedLock(redis_client, f"resource_{resource_id}")
    try:
        async with lock:
            print(f"Acquired lock for resource {resource_id}")
            # Execute operations requiring mutual exclusion
            await asyncio.sleep(2)
            print(f"Processing resource {resource_id} completed")
    except Exception as e:
        print(f"Processing resource {resource_id} failed: {e}")


# Concurrency test
async def test_distributed_lock():
    """Test distributed lock"""
    tasks = [
        process_with_lock("resource_1") for _ in range(5)
    ]
    await asyncio.gather(*tasks)


async def main() -> str:
    global redis_client
    redis_client = await get_redis_client()

    with contextlib.redirect_stdout(io.StringIO()) as said:
        await test_distributed_lock()
    print(said.getvalue(), end="")

    got = said.getvalue().count("Acquired lock")
    sent_away = said.getvalue().count("Failed to acquire lock")
    return f"five contenders: {got} got the lock, {sent_away} were sent away"


if __name__ == "__main__":
    import demo

    demo.alone(main)
