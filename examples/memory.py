"""Documentation 8.2, issue 2: memory in use, and freeing what has expired.

The documentation's lines stand here as they are written there.
"""
# fmt: off

from aiecs_redis import get_redis_client

redis_client = None


# 1. Check memory usage
async def check_memory_usage():
    """Check memory usage"""
    info = await redis_client.info('memory')
    used_memory = info.get('used_memory', 0)
    max_memory = info.get('maxmemory', 0)
    if max_memory > 0:
        usage_percent = (used_memory / max_memory) * 100
        print(f"Memory usage: {usage_percent:.2f}%")
        if usage_percent > 90:
            print("Warning: Memory usage too high")
    return used_memory, max_memory


# 2. Clean expired keys
async def cleanup_expired_keys():
    """Clean expired keys"""
    # Manually trigger expired key cleanup
    client = await redis_client.get_client()
    await client.execute_command('MEMORY', 'PURGE')
    print("Expired keys cleaned")


# 3. Set memory eviction policy
# In Redis configuration set:
# maxmemory-policy allkeys-lru


async def main() -> str:
    global redis_client
    redis_client = await get_redis_client()
    used_memory, max_memory = await check_memory_usage()
    await cleanup_expired_keys()
    limit = f"of {max_memory / 2**20:.0f} MiB" if max_memory else "without a limit"
    return f"{used_memory / 2**20:.1f} MiB {limit}, purged"


if __name__ == "__main__":
    import demo

    demo.alone(main)
