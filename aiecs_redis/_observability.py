"""redis-py's own command metrics (`redis.observability`), fed by native commands.

redis-py records the duration of each command in its Python code, where ours do not pass. A client
that is made while its observability is initialized (`get_observability_instance().init(...)`) has
an observer that records the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from aiecs_redis._nodes import is_cluster
from aiecs_redis.metrics import ClientMetrics, CommandRecord

if TYPE_CHECKING:
    from aiecs_redis.client import Redis
    from aiecs_redis.cluster import RedisCluster

__all__ = ["feed"]


def feed(client: Redis[Any] | RedisCluster, collected: Any) -> None:
    """Have `collected` told of every native command of the client."""
    settings: dict[str, Any] = {}
    where: dict[str, Any] = {}
    if is_cluster(client):  # which node answers, nobody is told
        address = cast("RedisCluster", client).nodes_manager.seed
        where["server_address"], where["server_port"] = address
    else:
        pool: Any = cast("Redis[Any]", client).connection_pool
        settings = pool.connection_kwargs
        where = {"server_address": settings.get("host"), "server_port": settings.get("port")}
        if hasattr(pool, "locate"):  # of Sentinel: wherever that is
            where["server_address"] = pool.service_name
    peer = {"network_peer_address": where["server_address"]}
    peer["network_peer_port"] = where["server_port"]
    db = str(settings.get("db") or 0)

    def record(command: CommandRecord) -> None:
        if command.outcome == "ok":
            collected.record_operation_duration(
                command_name=command.name,
                duration_seconds=command.seconds,
                db_namespace=db,
                **where,
                **peer,
            )
        elif command.error is not None and isinstance(command.error, Exception):
            collected.record_error_count(
                error_type=command.error, retry_attempts=0, is_internal=False, **where, **peer
            )

    ClientMetrics.of(client).observe(record)
