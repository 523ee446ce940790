"""Documentation, appendix C: key names, expiration times, errors.

The documentation's lines stand here as they are written there.
"""
# fmt: off

import logging

import redis

from aiecs_redis import RedisClient, get_redis_client
from aiecs_redis.testing import free_port

logger = logging.getLogger(__name__)

# 1. Key naming conventions
# Use meaningful key prefixes and separators
key_patterns = [
    'user:{user_id}:profile',
    'task:{task_id}:status',
    'session:{session_id}:data',
    'cache:{type}:{id}'
]

# 2. Expiration time settings
# Set appropriate expiration times based on data characteristics
expiration_times = {
    'session': 1800,  # 30 minutes
    'cache': 3600,  # 1 hour
    'temp': 300,  # 5 minutes
    'permanent': None  # Never expires
}


# 3. Error handling best practices
async def safe_redis_operation(operation, *args, **kwargs):
    """Safe Redis operation"""
    try:
        return await operation(*args, **kwargs)
    except redis.exceptions.ConnectionError:
        logger.error("Redis connection error")
        return None
    except redis.exceptions.TimeoutError:
        logger.error("Redis operation timeout")
        return None
    except Exception as e:
        logger.error(f"Redis operation failed: {e}")
        return None


async def main() -> str:
    redis_client = await get_redis_client()
    values = {'user_id': '7', 'task_id': '7', 'session_id': '7', 'type': 'page', 'id': '7'}
    stored = []
    for pattern, kind in zip(key_patterns, ['permanent', 'temp', 'session', 'cache']):
        key = pattern.format(**values)
        stored.append(await redis_client.set(key, kind, ex=expiration_times[kind]))
        print(f"{key}: {kind}")

    answer = await safe_redis_operation(redis_client.hget, "user:7", "name")
    wrong = await safe_redis_operation(redis_client.hget, "user:7:profile", "name")
    nobody = RedisClient(host="127.0.0.1", port=free_port())
    down = await safe_redis_operation(nobody.initialize)
    print(f"Answers: {answer}, {wrong}, {down}")
    return f"{sum(stored)} keys with their expiration; errors of the server and of the network met"


if __name__ == "__main__":
    import demo

    demo.alone(main)
