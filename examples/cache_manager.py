"""Documentation 4.5: a cache in two levels.

The documentation's lines stand here as they are written there.
"""
# fmt: off

import time

from aiecs_redis import get_redis_client

redis_client = None  # until main() runs


class CacheManager:
    def __init__(self, redis_client):
        self.redis_client = redis_client
        self.local_cache = {}  # Local cache
        self.local_cache_ttl = {}

    async def get(self, key: str, ttl: int = 300) -> any:
        """Get cached data (multi-level cache)"""
        # 1. Check local cache
        if key in self.local_cache:
            if time.time() - self.local_cache_ttl[key] < 60:  # Local cache 1 minute
                return self.local_cache[key]
            else:
                # Local cache expired, delete
                del self.local_cache[key]
                del self.local_cache_ttl[key]

        # 2. Check Redis cache
        value = await self.redis_client.get(key)
        if value:
            # Update local cache
            self.local_cache[key] = value
            self.local_cache_ttl[key] = time.time()
            return value

        return None

    async def set(self, key: str, value: str, ttl: int = 300):
        """Set cached data"""
        # Set Redis cache
        await self.redis_client.set(key, value, ex=ttl)

        # Update local cache
        self.local_cache[key] = value
        self.local_cache_ttl[key] = time.time()

    async def delete(self, key: str):
        """Delete cached data"""
        # Delete Redis cache
        await self.redis_client.delete(key)

        # Delete local cache
        self.local_cache.pop(key, None)
        self.local_cache_ttl.pop(key, None)


# Use cache manager
cache_manager = CacheManager(redis_client)


# Cache database query results
async def get_user_from_cache(user_id: str) -> dict:
    """Get user information from cache"""
    cache_key = f"user:{user_id}"

    # Try to get from cache
    cached_data = await cache_manager.get(cache_key)
    if cached_data:
        import json
        return json.loads(cached_data)

    # Cache miss, query from database
    user_data = await database.get_user(user_id)

    # Store in cache
    if user_data:
        import json
        await cache_manager.set(cache_key, json.dumps(user_data), ttl=600)

    return user_data


class Database:
    """Stands for the database of the documentation; counts its queries."""

    def __init__(self):
        self.queries = 0

    async def get_user(self, user_id):
        self.queries += 1
        return {"id": user_id, "name": "Jane Roe"} if user_id == "456" else None


database = Database()


async def main() -> str:
    global cache_manager, database, redis_client
    redis_client = await get_redis_client()
    database = Database()

    cache_manager = CacheManager(redis_client)
    for _ in range(3):
        user = await get_user_from_cache("456")
    print(f"User: {user}")
    cache_manager = CacheManager(redis_client)  # another process: its local cache is empty
    await get_user_from_cache("456")
    await get_user_from_cache("no-such-user")
    await cache_manager.delete("user:456")
    await get_user_from_cache("456")
    return f"five reads of {user['name']}, one of nobody: {database.queries} queries"


if __name__ == "__main__":
    import demo

    demo.alone(main)
