"""INFO of a cluster as one: what the masters say, added up where that means something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["cluster_info", "merged"]

_ADDED = frozenset(
    {
        *("connected_clients", "blocked_clients", "tracking_clients", "pubsub_clients"),
        *("clients_in_timeout_table", "maxclients", "cluster_connections", "watching_clients"),
        *("used_memory", "used_memory_rss", "used_memory_peak", "used_memory_overhead"),
        *("used_memory_dataset", "used_memory_startup", "used_memory_lua", "used_memory_scripts"),
        *("maxmemory", "allocator_allocated", "allocator_active", "allocator_resident"),
        *("total_connections_received", "total_commands_processed", "instantaneous_ops_per_sec"),
        *("total_net_input_bytes", "total_net_output_bytes", "rejected_connections"),
        *("expired_keys", "evicted_keys", "keyspace_hits", "keyspace_misses", "total_forks"),
        *("pubsub_channels", "pubsub_patterns", "pubsubshard_channels", "sync_full"),
        *("sync_partial_ok", "sync_partial_err", "total_reads_processed", "connected_slaves"),
        *("total_writes_processed", "total_error_replies", "unexpected_error_replies"),
        *("used_cpu_sys", "used_cpu_user", "used_cpu_sys_children", "used_cpu_user_children"),
        *("rdb_changes_since_last_save", "number_of_cached_scripts", "number_of_functions"),
        *("instantaneous_input_kbps", "instantaneous_output_kbps", "acl_access_denied_auth"),
    }
)
"""Fields that count something on each node."""

_LARGEST = ("client_recent_max_", "client_longest_", "client_biggest_", "latest_fork_", "mem_frag")
_SMALLEST = ("uptime_in_",)


async def cluster_info(client: Any, section: str | None) -> dict[str, Any]:
    """Return INFO of all masters of a cluster, as one.

    Raises:
        redis.exceptions.RedisError: one of them cannot be asked.
    """
    arguments = () if section is None else (section,)
    answers = await client.info(*arguments, target_nodes=type(client).PRIMARIES)
    if answers and not all(isinstance(answer, Mapping) for answer in answers.values()):
        answers = {"": answers}  # there is only one
    return merged(answers)


def merged(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return one INFO for those of several nodes, by their names.

    Counts are added, `db0` and the like field by field; of what is a maximum or an age, the largest
    maximum and the lowest age are taken; every other field is the first node's. `nodes` has all
    of them, as they were.
    """
    infos = list(answers.values())
    found: dict[str, Any] = {}
    for info in infos:
        for key, value in info.items():
            found[key] = _together(key, found[key], value) if key in found else value
    for key in [key for key in found if key.endswith("_human")]:
        plain = found.get(key[: -len("_human")])
        if isinstance(plain, (int, float)):
            found[key] = _human(plain)
    found["nodes"] = {name: dict(info) for name, info in answers.items()}
    return found


def _together(key: str, one: Any, other: Any) -> Any:
    if isinstance(one, Mapping) and isinstance(other, Mapping):  # db0, cmdstat_get
        return {
            name: _sum_or_first(name, one.get(name), other.get(name)) for name in {**one, **other}
        }
    if not isinstance(one, (int, float)) or not isinstance(other, (int, float)):
        return one
    if key in _ADDED:
        return one + other
    if key.startswith(_LARGEST):
        return max(one, other)
    if key.startswith(_SMALLEST):
        return min(one, other)
    return one


def _sum_or_first(name: str, one: Any, other: Any) -> Any:
    if one is None or other is None:
        return one if other is None else other
    added = name in ("keys", "expires", "subexpiry", "calls", "usec", "rejected_calls")
    return one + other if added or name in ("failed_calls", "count") else one


def _human(size: float) -> str:
    for unit in ("B", "K", "M", "G"):
        if size < 1024:
            return f"{int(size)}B" if unit == "B" else f"{size:.2f}{unit}"
        size /= 1024
    return f"{size:.2f}T"
