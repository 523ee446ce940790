"""Documentation 8.2, issue 1: connection time-outs, and an operation that is tried again.

The documentation's lines stand here as they are written there.
"""
# fmt: off
# ruff: noqa: E722, I001

import asyncio

import redis

from aiecs_redis import RedisClient, get_redis_client
from aiecs_redis.testing import FaultProxy

# 1. Check network connection
import socket

def check_redis_connection(host: str, port: int) -> bool:
    try:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(5)
        result = sock.connect_ex((host, port))
        sock.close()
        return result == 0
    except:
        return False


# 2. Adjust connection pool configuration
redis_config = {
    'max_connections': 10,  # Reduce connection count
    'retry_on_timeout': True,
    'socket_connect_timeout': 5,
    'socket_timeout': 5
}


# 3. Implement connection retry mechanism
async def robust_redis_operation(operation, *args, **kwargs):
    """Redis operation with retry"""
    max_retries = 3
    for attempt in range(max_retries):
        try:
            return await operation(*args, **kwargs)
        except redis.exceptions.TimeoutError:
            if attempt == max_retries - 1:
                raise
            await asyncio.sleep(1 * (2 ** attempt))  # Exponential backoff


async def main() -> str:
    redis_client = await get_redis_client()
    settings = (await redis_client.get_client()).get_connection_kwargs()
    host, port = settings.get("host"), settings.get("port")
    if host is None or not check_redis_connection(host, port):
        return "skipped: needs a server on a TCP port"

    await redis_client.hset("user:retry", {"name": "Jane Roe"})
    # Between this client and the server the replies are held up for a while.
    with FaultProxy(host, port) as proxy:
        impatient = RedisClient({
            **redis_config, **proxy.kwargs, "db": settings["db"], "socket_timeout": 0.2,
            "username": settings.get("username"), "password": settings.get("password"),
        })
        await impatient.initialize()
        attempts = []

        async def operation(name):
            attempts.append(name)
            return await impatient.hgetall(name)

        proxy.to_client.stall()
        # After the operation has failed at least once; it waits a second then.
        asyncio.get_running_loop().call_later(1.1, proxy.to_client.resume)
        user = await robust_redis_operation(operation, "user:retry")
        print(f"User: {user}, after {len(attempts)} attempts")
        await impatient.close()
    return f"{user['name']} read in attempt {len(attempts)}, after TimeoutError"


if __name__ == "__main__":
    import demo

    demo.alone(main)
