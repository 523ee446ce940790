"""RedisMonitor: the state of the server, and of the client that talks to it.

    monitor = RedisMonitor(redis_client)
    await monitor.get_health_status()

The three documented methods ask the server (INFO), never raise, and give exactly the documented
keys. The others add what the client itself knows, from the native core; see
`aiecs_redis.metrics`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiecs_redis._cluster_info import cluster_info
from aiecs_redis._nodes import is_cluster
from aiecs_redis._underlying import check_client
from aiecs_redis.metrics import (
    ClientMetrics,
    CommandMetrics,
    CommandRecord,
    PoolMetrics,
    current_client,
    native_client,
)

if TYPE_CHECKING:
    from aiecs_redis.client import Redis
    from aiecs_redis.cluster import RedisCluster
    from aiecs_redis.redis_client import RedisClient

__all__ = ["RedisMonitor"]

_PERFORMANCE = (
    "total_commands_processed",
    "instantaneous_ops_per_sec",
    "keyspace_hits",
    "keyspace_misses",
    "expired_keys",
    "evicted_keys",
)
_MEMORY = ("used_memory", "used_memory_peak", "used_memory_rss")


class RedisMonitor:
    """Health, memory and performance of a server, and metrics of the client.

    Args:
        redis_client: a `RedisClient`, or an `aiecs_redis.Redis` or `RedisCluster`.

    Raises:
        TypeError: it is no client.
    """

    def __init__(self, redis_client: RedisClient | Redis | RedisCluster) -> None:
        self.redis_client: Any = check_client(redis_client)
        self._measured: ClientMetrics | None = None

    # -------------------------------------------------------------- the server

    async def get_health_status(self) -> dict[str, Any]:
        """Return `status` "healthy" with six fields, or "unhealthy" with `error`.

        The fields are connected_clients, used_memory (as text, "1.04M"),
        total_commands_processed, keyspace_hits, keyspace_misses and uptime_in_seconds; 0 (or
        "0B") where the server does not say. Never raises.
        """
        try:
            if not await self.redis_client.ping():
                return {"status": "unhealthy", "error": "ping_failed"}
            info = await self.redis_client.info()
            return {
                "status": "healthy",
                "connected_clients": info.get("connected_clients", 0),
                "used_memory": info.get("used_memory_human", "0B"),
                "total_commands_processed": info.get("total_commands_processed", 0),
                "keyspace_hits": info.get("keyspace_hits", 0),
                "keyspace_misses": info.get("keyspace_misses", 0),
                "uptime_in_seconds": info.get("uptime_in_seconds", 0),
            }
        except Exception as exc:
            return {"status": "unhealthy", "error": str(exc)}

    async def get_memory_usage(self) -> dict[str, Any]:
        """Return used_memory, used_memory_peak and used_memory_rss, in bytes and as text.

        The texts are called used_memory_human and so on. After an error that reaches it (a
        RedisClient logs errors and answers {}) the only key is `error`.
        """
        try:
            info = await self.redis_client.info("memory")
            found: dict[str, Any] = {}
            for name in _MEMORY:
                found[name] = info.get(name, 0)
                found[f"{name}_human"] = info.get(f"{name}_human", "0B")
            return found
        except Exception as exc:
            return {"error": str(exc)}

    async def get_performance_metrics(self) -> dict[str, Any]:
        """Return six counters of INFO stats.

        They are total_commands_processed, instantaneous_ops_per_sec, keyspace_hits,
        keyspace_misses, expired_keys and evicted_keys; 0 where the server does not say. After an
        error that reaches it the only key is `error`.
        """
        try:
            info = await self.redis_client.info("stats")
            return {name: info.get(name, 0) for name in _PERFORMANCE}
        except Exception as exc:
            return {"error": str(exc)}

    async def get_hit_rate(self) -> float | None:
        """Return the part of key look-ups that found their key, 0 to 1; None without any.

        Counted by the server since its start (or CONFIG RESETSTAT).

        Raises:
            redis.exceptions.RedisError: the server cannot be asked.
        """
        client: Any = await current_client(self.redis_client)
        if is_cluster(client):
            info: Any = await cluster_info(client, "stats")
        else:
            info = await client.info("stats")
        hits, misses = info["keyspace_hits"], info["keyspace_misses"]
        return hits / (hits + misses) if hits + misses else None

    # -------------------------------------------------------------- the client

    async def metrics(self) -> ClientMetrics:
        """Return the client's metrics, counting from the first call on.

        After `close()` and `initialize()` of the RedisClient they are those of its new client.

        Raises:
            RuntimeError: the RedisClient is not initialized.
        """
        found = ClientMetrics.of(await native_client(self.redis_client))
        if found is not self._measured:
            if self._measured is not None:
                self._measured.stop()
            found.start()
            self._measured = found
        return found

    async def get_command_metrics(self) -> dict[str, CommandMetrics]:
        """Return calls, errors and latencies by command name since the first call of `metrics()`.

        Raises:
            RuntimeError: the RedisClient is not initialized.
        """
        return (await self.metrics()).commands()

    async def get_pool_metrics(self) -> PoolMetrics:
        """Return connections, commands in flight and waiting, queued bytes and reconnects.

        Raises:
            RuntimeError: the RedisClient is not initialized.
        """
        return ClientMetrics.of(await native_client(self.redis_client)).pool()

    async def log_slow(self, seconds: float | None, size: int = 128) -> None:
        """Log and keep commands that took this long; see `ClientMetrics.log_slow`.

        Args:
            seconds: from which latency on; None turns the log off.
            size: how many to keep.

        Raises:
            RuntimeError: the RedisClient is not initialized.
            ValueError: seconds is negative, or size is not above 0.
        """
        (await self.metrics()).log_slow(seconds, size)

    async def get_slow_commands(self) -> list[CommandRecord]:
        """Return the slow commands kept, the latest first.

        Raises:
            RuntimeError: the RedisClient is not initialized.
        """
        return (await self.metrics()).slow_commands()

    async def stop(self) -> None:
        """Count no longer, as far as this monitor is concerned."""
        measured, self._measured = self._measured, None
        if measured is not None:
            measured.stop()
