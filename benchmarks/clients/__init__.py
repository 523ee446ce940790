"""The compared clients. A client's module is imported only in the process that measures it."""

from __future__ import annotations

import importlib
import importlib.metadata
from dataclasses import dataclass

from benchmarks.clients.commands import Connect


@dataclass(frozen=True)
class Client:
    name: str
    module: str  # of benchmarks.clients
    package: str  # what it imports
    distributions: tuple[str, ...]
    configuration: str  # how it was set up, for the report
    ours: bool = False
    only: frozenset[str] | None = None  # the workloads it takes part in; None: all of them
    without: frozenset[str] = frozenset()  # the workloads it has no commands for
    cluster: bool = False  # its module has connect_cluster()

    def takes(self, workload: str) -> bool:
        if workload in CLUSTER and not self.cluster:
            return False
        return (self.only is None or workload in self.only) and workload not in self.without

    def versions(self) -> dict[str, str]:
        """Return the version of each distribution.

        Raises:
            importlib.metadata.PackageNotFoundError: one is not installed.
        """
        return {name: importlib.metadata.version(name) for name in self.distributions}

    def missing(self) -> str:
        """Say why this client cannot run here; empty when it can."""
        if self.ours:
            try:
                importlib.import_module(self.package)
            except ImportError as error:
                return str(error)
            return ""
        try:
            self.versions()
        except importlib.metadata.PackageNotFoundError as error:
            return f"{error.name} is not installed"
        return ""

    def connect(self, cluster: bool = False) -> Connect:
        module = importlib.import_module(f"benchmarks.clients.{self.module}")
        connect: Connect = module.connect_cluster if cluster else module.connect
        return connect


PIPELINES = frozenset({"pipeline-100", "mixed-100", "transaction-100"})
PUBSUB = frozenset({"pubsub-listen", "pubsub-get-message", "pubsub-handler"})
CLUSTER = frozenset(
    {"cluster-get-50", "cluster-set-50", "cluster-pipeline-100", "cluster-mixed-100"}
)
QUEUES = frozenset({"queue-50"})

REDIS_PY = "redis-py"
OURS = "aiecs_redis"
DOCUMENTED = "RedisClient"

CLIENTS = {
    client.name: client
    for client in (
        Client(
            name=REDIS_PY,
            module="redis_py",
            package="redis",
            distributions=("redis", "hiredis"),
            configuration="redis.asyncio.Redis with hiredis and its own pool, max_connections=500 "
            "so that a gather of 500 has a connection each; from 1,000 tasks a "
            "BlockingConnectionPool of 50 without timeout, as the default pool raises "
            "MaxConnectionsError; redis.asyncio.RedisCluster as it comes",
            cluster=True,
        ),
        Client(
            name="coredis",
            module="coredis_client",
            package="coredis",
            distributions=("coredis",),
            configuration="coredis.Redis and coredis.RedisCluster as they come (pools of 64, "
            "which multiplex)",
            cluster=True,
        ),
        Client(
            name="valkey-glide",
            module="glide_client",
            package="glide",
            distributions=("valkey-glide",),
            configuration="GlideClient with inflight_requests_limit=20000 and a request timeout of "
            "30 s (the defaults, 1,000 and 0.25 s, refuse 10,000 tasks); messages by "
            "get_pubsub_message() or a callback; GlideClusterClient with the same limits",
            cluster=True,
            without=frozenset({"pubsub-get-message"}) | QUEUES,  # one connection: BRPOP would block
        ),
        Client(
            name="redis_rs",
            module="redis_rs_client",
            package="redis_rs",
            distributions=("redis-rs",),
            configuration="redis_rs.create_client as it comes (multiplexed); it decodes the names "
            "of hash fields and has no pipelines",
            without=PIPELINES | PUBSUB | QUEUES,
        ),
        Client(
            name=OURS,
            module="native",
            package="aiecs_redis",
            distributions=(),
            configuration="aiecs_redis.Redis and aiecs_redis.RedisCluster as they come",
            ours=True,
            cluster=True,
        ),
        Client(
            name=DOCUMENTED,
            module="documented",
            package="aiecs_redis",
            distributions=(),
            configuration="aiecs_redis.RedisClient(decode_responses=False)",
            ours=True,
            only=frozenset({"get-1", "get-50", "set-50"}),
        ),
    )
}
