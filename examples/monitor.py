"""Documentation 8.1: health, memory and performance of the server.

The documentation's lines stand here as they are written there.
"""
# fmt: off

from aiecs_redis import RedisClient, get_redis_client


class RedisMonitor:
    def __init__(self, redis_client: RedisClient):
        self.redis_client = redis_client

    async def get_health_status(self) -> dict:
        """Get Redis health status"""
        try:
            # Test connection
            ping_result = await self.redis_client.ping()
            if not ping_result:
                return {"status": "unhealthy", "error": "ping_failed"}

            # Get server information
            info = await self.redis_client.info()
            return {
                "status": "healthy",
                "connected_clients": info.get("connected_clients", 0),
                "used_memory": info.get("used_memory_human", "0B"),
                "total_commands_processed": info.get("total_commands_processed", 0),
                "keyspace_hits": info.get("keyspace_hits", 0),
                "keyspace_misses": info.get("keyspace_misses", 0),
                "uptime_in_seconds": info.get("uptime_in_seconds", 0)
            }
        except Exception as e:
            return {"status": "unhealthy", "error": str(e)}

    async def get_memory_usage(self) -> dict:
        """Get memory usage"""
        try:
            info = await self.redis_client.info('memory')
            return {
                "used_memory": info.get("used_memory", 0),
                "used_memory_human": info.get("used_memory_human", "0B"),
                "used_memory_peak": info.get("used_memory_peak", 0),
                "used_memory_peak_human": info.get("used_memory_peak_human", "0B"),
                "used_memory_rss": info.get("used_memory_rss", 0),
                "used_memory_rss_human": info.get("used_memory_rss_human", "0B")
            }
        except Exception as e:
            return {"error": str(e)}

    async def get_performance_metrics(self) -> dict:
        """Get performance metrics"""
        try:
            info = await self.redis_client.info('stats')
            return {
                "total_commands_processed": info.get("total_commands_processed", 0),
                "instantaneous_ops_per_sec": info.get("instantaneous_ops_per_sec", 0),
                "keyspace_hits": info.get("keyspace_hits", 0),
                "keyspace_misses": info.get("keyspace_misses", 0),
                "expired_keys": info.get("expired_keys", 0),
                "evicted_keys": info.get("evicted_keys", 0)
            }
        except Exception as e:
            return {"error": str(e)}


async def main() -> str:
    redis_client = await get_redis_client()

    # Use monitor
    monitor = RedisMonitor(redis_client)
    health = await monitor.get_health_status()
    print(f"Redis health status: {health}")

    memory = await monitor.get_memory_usage()
    print(f"Memory: {memory}")
    performance = await monitor.get_performance_metrics()
    print(f"Performance: {performance}")
    commands = performance["total_commands_processed"]
    return f"{health['status']}, {memory['used_memory_human']} in use, {commands} commands so far"


if __name__ == "__main__":
    import demo

    demo.alone(main)
