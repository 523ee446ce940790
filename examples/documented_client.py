"""Documentation 6: the client as it is described there, on plain redis-py, beside ours.

The documentation's lines stand here as they are written there.
"""
# fmt: off
# ruff: noqa: RUF013

import logging
import os
from typing import Optional

import redis.asyncio as redis

import aiecs_redis

logger = logging.getLogger(__name__)


class RedisClient:
    """Redis client singleton, used for sharing across different cache strategies"""

    def __init__(self) -> None:
        """Initialize Redis client"""
        self._client = None
        self._connection_pool = None

    async def initialize(self):
        """Initialize Redis client"""
        # Get configuration from environment variables
        redis_host = os.getenv('REDIS_HOST', 'localhost')
        redis_port = int(os.getenv('REDIS_PORT', 6379))
        redis_db = int(os.getenv('REDIS_DB', 0))
        redis_password = os.getenv('REDIS_PASSWORD')

        # Create connection pool
        self._connection_pool = redis.ConnectionPool(
            host=redis_host,
            port=redis_port,
            db=redis_db,
            password=redis_password,
            decode_responses=True,  # Automatically decode responses
            max_connections=20,  # Maximum connections
            retry_on_timeout=True  # Retry on timeout
        )

        # Create Redis client
        self._client = redis.Redis(connection_pool=self._connection_pool)

        # Test connection
        await self._client.ping()

    async def get_client(self) -> redis.Redis:
        if self._client is None:
            raise RuntimeError("Redis client not initialized. Call initialize() first.")
        return self._client

    async def close(self) -> None:
        await self._connection_pool.disconnect()
        self._client = None

    async def set(self, key: str, value: str, ex: int = None) -> bool:
        """Set key-value pair (with error handling)"""
        try:
            client = await self.get_client()
            return await client.set(key, value, ex=ex)
        except Exception as e:
            logger.error(f"Redis set failed for key {key}: {e}")
            return False

    async def get(self, key: str) -> Optional[str]:
        """Get value (with error handling)"""
        try:
            client = await self.get_client()
            return await client.get(key)
        except Exception as e:
            logger.error(f"Redis get failed for key {key}: {e}")
            return None

    async def ping(self) -> bool:
        """Test Redis connection"""
        try:
            client = await self.get_client()
            result = await client.ping()
            return result
        except Exception as e:
            logger.error(f"Redis ping failed: {e}")
            return False

    async def get_connection_info(self) -> dict:
        """Get connection information"""
        try:
            client = await self.get_client()
            info = await client.info('clients')
            return {
                'connected_clients': info.get('connected_clients', 0),
                'client_recent_max_input_buffer': info.get('client_recent_max_input_buffer', 0),
                'client_recent_max_output_buffer': info.get('client_recent_max_output_buffer', 0)
            }
        except Exception as e:
            logger.error(f"Failed to get connection info: {e}")
            return {}


# Global variable storing singleton instance
redis_client: Optional[RedisClient] = None


async def initialize_redis_client():
    """Create and initialize global Redis client instance"""
    global redis_client
    if redis_client is None:
        redis_client = RedisClient()
        await redis_client.initialize()


async def get_redis_client() -> RedisClient:
    """Get global Redis client instance"""
    if redis_client is None:
        raise RuntimeError("Redis client not initialized. Call initialize_redis_client() first.")
    return redis_client


async def answers(client) -> list:
    """What a client answers to one call of each documented kind, errors included."""
    below = await client.get_client()
    await below.delete("user:compared", "user:list")
    await below.lpush("user:list", "x")
    return [
        await client.get("user:compared"),
        await client.set("user:compared", "Jane Roe", ex=60),
        await client.get("user:compared"),
        await client.set("user:compared", None),
        await client.get("user:list"),
        await client.ping(),
        sorted(await client.get_connection_info()),
    ]


async def main() -> str:
    global redis_client
    ours = await answers(await aiecs_redis.get_redis_client())
    documented = RedisClient()
    try:
        await documented.initialize()
    except redis.RedisError as e:
        return f"skipped: the documented client knows host, port and password only ({e})"
    try:
        theirs = await answers(documented)
    finally:
        await documented.close()
    print(f"Ours:       {ours}")
    print(f"Documented: {theirs}")
    same = sum(a == b for a, b in zip(ours, theirs))
    return f"{same} of {len(ours)} answers as from the documented code on redis-py"


if __name__ == "__main__":
    import demo

    demo.alone(main)
