"""What the doctor looks at: each check says how things are, and what to do if they are not well."""

from __future__ import annotations

import os
import platform
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis
from redis.exceptions import RedisError

from aiecs_redis import _native, settings
from aiecs_redis._server_info import ServerInfo, cluster_state, read_info
from aiecs_redis.cli.connection import current

if TYPE_CHECKING:
    from aiecs_redis.client import Redis

__all__ = ["LEVELS", "Finding", "examine"]

LEVELS = ("ok", "note", "warn", "bad")
_LOCAL = ("", "localhost", "127.0.0.1", "::1")
_SLOW_MILLIS = 20.0
_SLOTS = 16_384


@dataclass(frozen=True)
class Finding:
    """One result of an examination.

    Attributes:
        check: its name.
        level: one of `LEVELS`.
        text: how things are.
        remedy: what to do; "" if nothing.
    """

    check: str
    level: str
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Patient:
    """What the checks look at.

    Attributes:
        server: INFO and a PING.
        config: CONFIG GET *, empty where it is not allowed.
        settings: of our client.
        host: of the server that it talks to, whoever has named it; "" with a unix socket.
        slow: entries in SLOWLOG.
        native: commands take the native way.
        cluster: CLUSTER INFO, empty if it is no node of one.
    """

    server: ServerInfo
    config: Mapping[str, str]
    settings: Mapping[str, Any]
    host: str
    slow: int
    native: bool
    cluster: Mapping[str, str]


async def examine(client: Redis, timeout: float) -> list[Finding]:
    """Run every check.

    Raises:
        redis.exceptions.RedisError: the server cannot be asked.
    """
    anything: Any = client
    server = await read_info(client)
    try:
        config = {str(k): str(v) for k, v in (await anything.config_get("*")).items()}
    except RedisError:
        config = {}
    try:
        slow = int(await anything.slowlog_len())
    except RedisError:
        slow = 0
    ours = settings.load(current().config)
    try:
        cluster = await cluster_state(anything, server)
    except RedisError:
        cluster = {}
    native = bool(anything._native_ready)
    patient = Patient(server, config, ours, _host(anything), slow, native, cluster)
    return [found for check in _CHECKS for found in check(patient)]


def _host(client: Any) -> str:
    pool = client.connection_pool
    if hasattr(pool, "locate"):  # of Sentinel's
        return str(pool.master_address[0])
    if "path" in pool.connection_kwargs:
        return ""
    return str(pool.connection_kwargs.get("host", "localhost"))


# ------------------------------------------------------------------ our side


def _versions(patient: Patient) -> list[Finding]:
    ours = (
        f"Python {platform.python_version()}, redis-py {redis.__version__}, "
        f"hiredis {_native.HIREDIS_VERSION}, libev {_native.LIBEV_VERSION}, "
        f"{_native.OPENSSL_VERSION}"
    )
    found = [Finding("client", "ok", ours)]
    version = patient.server.version
    major = int(version.partition(".")[0] or 0)
    if major >= 6:
        found.append(Finding("server", "ok", f"{patient.server.product} {version}"))
    else:
        found.append(
            Finding(
                "server",
                "warn",
                f"Redis {version} speaks RESP2 only, and gets no security updates any more",
                "Run Redis 7 or later (redis:7-alpine in the compose file).",
            )
        )
    if not patient.native:
        found.append(
            Finding(
                "native",
                "warn",
                "commands take redis-py's own way, not the native one",
                "Remove single_connection_client (REDIS_SINGLE_CONNECTION_CLIENT).",
            )
        )
    return found


def _environment(patient: Patient) -> list[Finding]:
    given = sorted(name for name in settings.VARIABLES if os.environ.get(name, "").strip())
    names = ", ".join(given) if given else "none, so the documented defaults count"
    where = settings.location(patient.settings)
    return [Finding("environment", "ok", f"{where}; variables set: {names}")]


def _latency(patient: Patient) -> list[Finding]:
    millis = patient.server.latency * 1000
    if millis <= _SLOW_MILLIS:
        return [Finding("latency", "ok", f"PING takes {millis:.2f} ms")]
    return [
        Finding(
            "latency",
            "warn",
            f"PING takes {millis:.1f} ms",
            "Run `aiecs-redis latency` for more, and keep client and server in one network.",
        )
    ]


# ------------------------------------------------------------------- security


def _security(patient: Patient) -> list[Finding]:
    local = patient.host in _LOCAL
    found = []
    if patient.settings.get("ssl"):
        verified = str(patient.settings.get("ssl_cert_reqs", "required")) not in (
            "none",
            str(ssl.CERT_NONE),
        ) and patient.settings.get("ssl_check_hostname", True)
        found.append(
            Finding("tls", "ok", "the connection is encrypted, the server's certificate verified")
            if verified
            else Finding(
                "tls",
                "bad",
                "the connection is encrypted, but the server's certificate is not verified",
                "Drop ssl_cert_reqs=none and ssl_check_hostname=false; name the authority's"
                " certificates in REDIS_SSL_CA_CERTS.",
            )
        )
    elif not local:
        found.append(
            Finding(
                "tls",
                "warn",
                f"the connection to {patient.host} is in plain text",
                "Use rediss:// (REDIS_SSL=true) unless the network itself is private.",
            )
        )
    if patient.settings.get("password"):
        found.append(Finding("password", "ok", "a password is used"))
    else:
        level = "note" if local else "bad"
        remedy = "Set requirepass in redis.conf, and REDIS_PASSWORD here."
        found.append(Finding("password", level, "the server asks for no password", remedy))
    if patient.config.get("protected-mode") == "no" and not patient.config.get("requirepass"):
        found.append(
            Finding(
                "protected-mode",
                "note" if local else "bad",
                "protected-mode is off and there is no password: whoever reaches the port is in",
                "CONFIG SET protected-mode yes, or set requirepass.",
            )
        )
    return found


# --------------------------------------------------------------------- memory


def _memory(patient: Patient) -> list[Finding]:
    server = patient.server
    policy = server.text("maxmemory_policy") or "noeviction"
    ratio = server.memory_ratio
    if ratio is None:
        return [
            Finding(
                "maxmemory",
                "warn",
                "there is no maxmemory: a full machine, not an eviction, ends the growth",
                "CONFIG SET maxmemory 2gb (and in redis.conf), with maxmemory-policy.",
            )
        ]
    found = []
    if ratio > 0.9:
        found.append(
            Finding(
                "memory",
                "bad" if policy == "noeviction" else "warn",
                f"memory in use is {ratio:.1%} of maxmemory",
                "Find what takes it with `aiecs-redis memory prefixes` and `aiecs-redis bigkeys`;"
                " raise maxmemory or expire keys.",
            )
        )
    else:
        found.append(Finding("memory", "ok", f"memory in use is {ratio:.1%} of maxmemory"))
    if policy == "noeviction":
        found.append(
            Finding(
                "eviction",
                "warn",
                "maxmemory-policy is noeviction: writes fail with OOM when memory is full",
                "For a cache: CONFIG SET maxmemory-policy allkeys-lru.",
            )
        )
    else:
        found.append(Finding("eviction", "ok", f"maxmemory-policy is {policy}"))
    fragmentation = server.number("mem_fragmentation_ratio")
    if fragmentation > 1.5 and server.number("used_memory_rss") > 200 * 2**20:
        found.append(
            Finding(
                "fragmentation",
                "warn",
                f"resident memory is {fragmentation:.1f} times what is in use",
                "`aiecs-redis memory purge`, or CONFIG SET activedefrag yes.",
            )
        )
    return found


# ------------------------------------------------------------ what it has done


def _events(patient: Patient) -> list[Finding]:
    if "notify-keyspace-events" not in patient.config:
        return []
    flags = patient.config["notify-keyspace-events"]
    if "E" in flags and ("x" in flags or "A" in flags):
        return [Finding("events", "ok", f"key-expiry events are on ({flags})")]
    return [
        Finding(
            "events",
            "note",
            "key-expiry events are off: listeners for expired keys hear nothing",
            "CONFIG SET notify-keyspace-events Ex (and in redis.conf), if you listen for them.",
        )
    ]


def _losses(patient: Patient) -> list[Finding]:
    server, found = patient.server, []
    for name, level, text, remedy in (
        (
            "rejected_connections",
            "bad",
            "connections were refused because of maxclients",
            "Raise maxclients, or find who opens so many: CLIENT LIST.",
        ),
        (
            "evicted_keys",
            "note",
            "keys were evicted because of maxmemory",
            "Expected in a cache; otherwise raise maxmemory.",
        ),
    ):
        count = int(server.number(name))
        if count:
            found.append(Finding(name, level, f"{count} {text} since the start", remedy))
    lookups = server.number("keyspace_hits") + server.number("keyspace_misses")
    if lookups >= 1000:
        rate = server.number("keyspace_hits") / lookups
        level = "ok" if rate >= 0.8 else "note"
        remedy = "" if level == "ok" else "For a cache: longer expiry, or caching of misses."
        found.append(Finding("hit_rate", level, f"{rate:.1%} of look-ups find their key", remedy))
    if patient.slow:
        remedy = "See `aiecs-redis slowlog`."
        found.append(Finding("slowlog", "note", f"{patient.slow} slow commands noted", remedy))
    return found


def _persistence(patient: Patient) -> list[Finding]:
    server, found = patient.server, []
    if (
        server.text("rdb_last_bgsave_status") == "err"
        or server.text("aof_last_write_status") == "err"
    ):
        found.append(
            Finding(
                "persistence",
                "bad",
                "the last attempt to save the data failed",
                "Look at the server's log and its disk; until then writes may be refused.",
            )
        )
    elif patient.config and not server.number("aof_enabled") and not patient.config.get("save"):
        found.append(
            Finding(
                "persistence",
                "note",
                "nothing is saved to disk: a restart loses everything",
                "Fine for a cache; otherwise CONFIG SET appendonly yes.",
            )
        )
    else:
        found.append(Finding("persistence", "ok", "the data is saved to disk"))
    if server.text("role") == "slave":
        up = server.text("master_link_status") == "up"
        found.append(
            Finding("replication", "ok", "a replica, connected to its master")
            if up
            else Finding(
                "replication",
                "bad",
                "a replica without its master",
                "Check that the master runs, and masterauth.",
            )
        )
        if server.text("slave_read_only") != "0":
            remedy = "Connect to the master for writes."
            found.append(Finding("role", "note", "this server takes no writes", remedy))
    return found


def _cluster(patient: Patient) -> list[Finding]:
    state = patient.cluster
    if not state:
        return []
    served, masters = int(state["cluster_slots_ok"]), int(state["cluster_size"])
    nodes = int(state["cluster_known_nodes"])
    if state["cluster_state"] != "ok" or served < _SLOTS:
        return [
            Finding(
                "cluster",
                "bad",
                f"the cluster's state is {state['cluster_state']}: {served:,} of {_SLOTS:,} slots"
                " are served",
                "Look for the nodes that are away: redis-cli --cluster check.",
            )
        ]
    text = f"a node of a cluster of {masters} masters and {nodes - masters} replicas"
    found = [Finding("cluster", "ok", f"{text}; the other findings are of this node")]
    if patient.server.text("role") == "master" and not patient.server.number("connected_slaves"):
        found.append(
            Finding(
                "replicas",
                "note",
                "this master has no replica: should it fail, its slots are gone",
                "Add one: redis-cli --cluster add-node NEW EXISTING --cluster-slave.",
            )
        )
    return found


_CHECKS = (
    _versions,
    _environment,
    _latency,
    _security,
    _memory,
    _events,
    _losses,
    _persistence,
    _cluster,
)
