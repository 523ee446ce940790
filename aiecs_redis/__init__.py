"""aiecs_redis: the AIECS Redis client, and a redis.asyncio.Redis, on a native C core."""

# isort: off
from aiecs_redis import _supported as _supported  # first: refuses a redis-py that does not work
from aiecs_redis import _bind as _bind  # second: configures the core

# isort: on
from aiecs_redis import exceptions
from aiecs_redis import redis_client as redis_client
from aiecs_redis._install import Installation, install, uninstall
from aiecs_redis.circuit_breaker import CircuitBreaker
from aiecs_redis.client import Redis, StrictRedis, from_url
from aiecs_redis.cluster import ClusterPipeline, RedisCluster
from aiecs_redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from aiecs_redis.exceptions import CircuitOpenError, CommandTimeoutError, OutcomeUnknownError
from aiecs_redis.pipeline import Pipeline
from aiecs_redis.pools import BlockingConnectionPool, ConnectionPool
from aiecs_redis.pubsub import Gap, PubSub
from aiecs_redis.redis_client import (
    RedisClient,
    close_redis_client,
    get_redis_client,
    initialize_redis_client,
)
from aiecs_redis.sentinel import Sentinel, SentinelConnectionPool
from aiecs_redis.timeouts import timeout

__all__ = [
    "BlockingConnectionPool",
    "CircuitBreaker",
    "CircuitOpenError",
    "ClusterPipeline",
    "CommandTimeoutError",
    "Connection",
    "ConnectionPool",
    "Gap",
    "Installation",
    "OutcomeUnknownError",
    "Pipeline",
    "PubSub",
    "Redis",
    "RedisClient",
    "RedisCluster",
    "SSLConnection",
    "Sentinel",
    "SentinelConnectionPool",
    "StrictRedis",
    "UnixDomainSocketConnection",
    "close_redis_client",
    "exceptions",
    "from_url",
    "get_redis_client",
    "initialize_redis_client",
    "install",
    "timeout",
    "uninstall",
]
