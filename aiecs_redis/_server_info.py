"""The figures of INFO that monitoring, alerts and the command line share."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiecs_redis._cluster_info import cluster_info
from aiecs_redis._nodes import is_cluster

if TYPE_CHECKING:
    from aiecs_redis.client import Redis

__all__ = ["ServerInfo", "cluster_problem", "cluster_state", "read_info", "replication_lag"]

Info = Mapping[str, Any]


@dataclass(frozen=True)
class ServerInfo:
    """One INFO, and how long a PING took before it.

    Attributes:
        at: monotonic seconds.
        latency: seconds from PING to PONG.
        info: as redis-py parses it.
    """

    at: float
    latency: float
    info: Info

    def number(self, name: str) -> float:
        """A field as a number, 0 where the server has none."""
        value = self.info.get(name, 0)
        return float(value) if isinstance(value, (int, float)) else 0.0

    def text(self, name: str) -> str:
        return str(self.info.get(name, ""))

    @property
    def product(self) -> str:
        """ "Redis" or "Valkey"."""
        return "Valkey" if "valkey_version" in self.info else "Redis"

    @property
    def version(self) -> str:
        """Of the product: Valkey's redis_version only says which Redis it stands in for."""
        return self.text("valkey_version") or self.text("redis_version")

    @property
    def memory_limit(self) -> float:
        """maxmemory in bytes, 0 for none."""
        return self.number("maxmemory")

    @property
    def memory_ratio(self) -> float | None:
        """Memory in use as a part of maxmemory, of the fullest master; None without a limit."""
        ratios = [
            float(info["used_memory"]) / float(info["maxmemory"])
            for info in self._nodes()
            if info.get("maxmemory")
        ]
        return max(ratios) if ratios else None

    @property
    def keys(self) -> dict[str, int]:
        """Number of keys by database, "db0" and so on."""
        return {
            name: int(value["keys"])
            for name, value in self.info.items()
            if re.fullmatch(r"db\d+", name) and isinstance(value, Mapping)
        }

    @property
    def lag(self) -> float | None:
        """Seconds the slowest replica is behind, of any master; None without replication."""
        lags = [lag for info in self._nodes() if (lag := replication_lag(info)) is not None]
        return max(lags) if lags else None

    def _nodes(self) -> list[Info]:
        """INFO of each master of a cluster, else of the one server."""
        nodes: Mapping[str, Info] = self.info.get("nodes") or {"": self.info}
        return list(nodes.values())


def replication_lag(info: Info) -> float | None:
    """Seconds the slowest replica is behind, or this replica is; None without replication."""
    if info.get("role") in ("slave", "replica"):
        down = float(info.get("master_link_down_since_seconds", 0))
        if info.get("master_link_status") != "up":
            return max(down, 0.0) if down >= 0 else float("inf")
        return float(max(info.get("master_last_io_seconds_ago", 0), 0))
    lags = [
        float(value.get("lag", 0))
        for name, value in info.items()
        if re.fullmatch(r"slave\d+", name) and isinstance(value, Mapping)
    ]
    return max(lags) if lags else None


async def read_info(client: Redis, section: str = "default") -> ServerInfo:
    """Ask the server, or all masters of a cluster: one that is away is an error.

    Raises:
        redis.exceptions.RedisError: it does not answer, or refuses.
    """
    anything: Any = client
    masters = {"target_nodes": type(anything).PRIMARIES} if is_cluster(anything) else {}
    began = time.perf_counter()
    await anything.ping(**masters)
    latency = time.perf_counter() - began
    info = await (cluster_info(anything, section) if masters else anything.info(section))
    return ServerInfo(time.monotonic(), latency, info)


async def cluster_state(client: Any, info: ServerInfo) -> dict[str, str]:
    """CLUSTER INFO as a node of a cluster sees it; {} from any other server.

    Raises:
        redis.exceptions.RedisError: it does not answer, or refuses.
    """
    if not info.number("cluster_enabled"):
        return {}
    found = await client.execute_command("CLUSTER INFO")
    return {str(key): str(value) for key, value in found.items()}


async def cluster_problem(client: Any, info: ServerInfo) -> list[str]:
    """What is wrong with the cluster of this node, as sentences; [] if nothing.

    Raises:
        redis.exceptions.RedisError: as `cluster_state`.
    """
    state = await cluster_state(client, info)
    if state.get("cluster_state", "ok") == "ok":
        return []
    served = int(state.get("cluster_slots_ok", 0))
    return [f"the cluster's state is fail: {served:,} of 16,384 slots are served"]
