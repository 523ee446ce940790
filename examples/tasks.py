"""Documentation 4.2: the status of tasks.

The documentation's lines stand here as they are written there.
"""
# fmt: off

import time

from aiecs_redis import get_redis_client

redis_client = None


async def cache_task_status(task_id: str, status: str, progress: int):
    """Cache task status"""
    task_key = f"task:{task_id}"
    task_data = {
        "status": status,
        "progress": str(progress),
        "updated_at": str(int(time.time()))
    }

    # Set task status
    await redis_client.hset(task_key, task_data)

    # Set expiration time (24 hours)
    await redis_client.expire(task_key, 86400)
    print(f"Task {task_id} status cached: {status}")


# Get task status
async def get_task_status(task_id: str) -> dict:
    """Get task status"""
    task_key = f"task:{task_id}"
    if await redis_client.exists(task_key):
        return await redis_client.hgetall(task_key)
    else:
        return {"status": "not_found"}


async def main() -> str:
    global redis_client
    redis_client = await get_redis_client()

    # Usage example
    await cache_task_status("task_456", "running", 75)
    status = await get_task_status("task_456")
    print(f"Task status: {status}")

    missing = await get_task_status("task_000")
    return f"task_456 {status['status']}, {status['progress']} %; task_000 {missing['status']}"


if __name__ == "__main__":
    import demo

    demo.alone(main)
