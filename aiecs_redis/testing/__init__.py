"""Real local servers for tests and demos, and a proxy that spoils connections on purpose.

    with RedisServer(requirepass="secret") as server:
        client = aiecs_redis.Redis(**server.kwargs)

    with ClusterServers(masters=3, replicas=1) as cluster:
        client = redis.asyncio.RedisCluster(**cluster.kwargs)

    with SentinelServers(replicas=2, sentinels=3) as group:
        sentinel = aiecs_redis.Sentinel(group.addresses, **group.sentinel_kwargs)

All of them start `redis-server` on free loopback ports in a temporary folder and stop what
they started, by process id, at the latest when the interpreter exits or dies. Clusters and
Sentinels come with what tests of faults need: moved slots, failovers, killed and paused
nodes, and waiting until everybody agrees. `FaultProxy` stands between a client and a server:
latency, bytes in small pieces, stalls and cuts.

Needs the programs redis-server and redis-cli (Debian packages redis-server, redis-tools) or those
of Valkey, and openssl for TLS. AIECS_REDIS_SERVER names another server program, by path or by
name; its redis-cli is looked for beside it. Everything here is synchronous, and may be used with
an event loop running.
"""

from __future__ import annotations

from aiecs_redis.testing._certificates import Certificates, ProgramMissingError, ServerError
from aiecs_redis.testing._cluster import ClusterNode, ClusterServers, SlotMove
from aiecs_redis.testing._fault_proxy import FaultProxy, Flow
from aiecs_redis.testing._sentinels import SentinelServer, SentinelServers
from aiecs_redis.testing._server import (
    ExternalServer,
    RedisServer,
    Server,
    find_server,
    free_port,
    redis_version,
    server_from_environment,
)

__all__ = [
    "Certificates",
    "ClusterNode",
    "ClusterServers",
    "ExternalServer",
    "FaultProxy",
    "Flow",
    "ProgramMissingError",
    "RedisServer",
    "SentinelServer",
    "SentinelServers",
    "Server",
    "ServerError",
    "SlotMove",
    "find_server",
    "free_port",
    "redis_version",
    "server_from_environment",
]
