"""Metrics of clients and of their server for Prometheus (extra `prometheus`).

    exporter = PrometheusExporter(await get_redis_client())
    await exporter.start(port=9121)              # /metrics, /livez, /readyz
    ...
    await exporter.stop()

The client's own figures begin with `aiecs_redis_` and are read when Prometheus asks. Those of the
server are called as the usual Redis exporter calls them (`redis_up`, `redis_memory_used_bytes`,
...), so that dashboards and alert rules made for it work; they are read from INFO every `interval`
seconds, as Prometheus' collectors cannot wait.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import re
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from aiecs_redis import _checks as checks
from aiecs_redis._extras import need
from aiecs_redis._server_info import ServerInfo, read_info
from aiecs_redis._tasks import stop, supervised
from aiecs_redis._underlying import check_client
from aiecs_redis.health import HealthServer
from aiecs_redis.metrics import ClientMetrics, CommandMetrics, PoolMetrics, current_client

if TYPE_CHECKING:
    from aiecs_redis.client import Redis
    from aiecs_redis.cluster import RedisCluster
    from aiecs_redis.redis_client import RedisClient

__all__ = ["BOUNDS", "PrometheusExporter"]

logger: logging.Logger = logging.getLogger(__name__)

Figures = Callable[[], Any]  # gives a mapping or a dataclass with numbers

BOUNDS = tuple(2**n / 1e6 for n in range(5, 24))
"""Upper bounds of the exported histogram, 32 microseconds to 8.4 seconds: bounds of the core's."""

_GAUGES = {
    "redis_memory_used_bytes": ("used_memory", "Memory in use."),
    "redis_memory_used_rss_bytes": ("used_memory_rss", "Memory the operating system gave."),
    "redis_memory_used_peak_bytes": ("used_memory_peak", "Most memory ever in use."),
    "redis_memory_max_bytes": ("maxmemory", "Limit of memory, 0 for none."),
    "redis_mem_fragmentation_ratio": ("mem_fragmentation_ratio", "Resident by used memory."),
    "redis_connected_clients": ("connected_clients", "Connections of clients."),
    "redis_blocked_clients": ("blocked_clients", "Clients in a blocking command."),
    "redis_connected_slaves": ("connected_slaves", "Replicas connected."),
    "redis_instantaneous_ops_per_sec": ("instantaneous_ops_per_sec", "Commands a second."),
    "redis_uptime_in_seconds": ("uptime_in_seconds", "Seconds since the start."),
}
_COUNTERS = {
    "redis_commands_processed": ("total_commands_processed", "Commands processed."),
    "redis_connections_received": ("total_connections_received", "Connections accepted."),
    "redis_rejected_connections": ("rejected_connections", "Refused because of maxclients."),
    "redis_keyspace_hits": ("keyspace_hits", "Look-ups that found their key."),
    "redis_keyspace_misses": ("keyspace_misses", "Look-ups that found nothing."),
    "redis_expired_keys": ("expired_keys", "Keys that expired."),
    "redis_evicted_keys": ("evicted_keys", "Keys evicted because of maxmemory."),
}


class _Group:
    """The exporters of one registry, its collector: a metric of several of them is one family."""

    def __init__(self) -> None:
        self.members: list[PrometheusExporter] = []

    def describe(self) -> list[Any]:
        """Nothing: the registry need not collect in order to know names."""
        return []

    def collect(self) -> Iterator[Any]:
        families: dict[str, Any] = {}
        for member in list(self.members):
            for family in member.collect():
                known = families.setdefault(family.name, family)
                if known is not family:
                    known.samples.extend(family.samples)
        yield from families.values()


_groups: weakref.WeakKeyDictionary[Any, _Group] = weakref.WeakKeyDictionary()


def _join(registry: Any, exporter: PrometheusExporter) -> None:
    group = _groups.get(registry)
    if group is None:
        group = _Group()
        registry.register(group)
        _groups[registry] = group
    group.members.append(exporter)


def _leave(registry: Any, exporter: PrometheusExporter) -> None:
    group = _groups[registry]
    group.members.remove(exporter)
    if not group.members:
        registry.unregister(group)
        del _groups[registry]


class PrometheusExporter:
    """Collects a client's metrics and its server's. Several may share a registry.

    Args:
        client: a `RedisClient` (initialized), or an `aiecs_redis.Redis` or `RedisCluster`.
        name: value of the label `client`, to tell several clients apart.
        server: whether the server's INFO is exported too.
        interval: seconds between two INFOs.
        registry: of prometheus_client, for `start()`; a new one by default.

    Raises:
        MissingExtraError: prometheus_client is not installed.
        TypeError: the client is none, or the name no str.
        ValueError: interval is not above 0.
    """

    def __init__(
        self,
        client: RedisClient | Redis | RedisCluster,
        *,
        name: str = "default",
        server: bool = True,
        interval: float = 15.0,
        registry: Any = None,
    ) -> None:
        checks.string("name", name)
        checks.seconds("interval", interval)
        check_client(client)
        need("prometheus_client", "prometheus", "Exporting to Prometheus")
        from prometheus_client import CollectorRegistry

        self._source = client
        self._name = name
        self._server = server
        self._interval = interval
        self.registry: Any = CollectorRegistry() if registry is None else registry
        self._started = False
        self._metrics: ClientMetrics | None = None
        self._info: ServerInfo | None = None
        self._up: bool | None = None
        self._task: asyncio.Task[None] | None = None
        self._http: HealthServer | None = None
        self._watched: dict[str, Figures] = {}

    def watch(self, name: str, figures: Figures) -> None:
        """Export figures of something else too, a cache's statistics for example.

        Args:
            name: the gauges are called `aiecs_redis_{name}_{field}`, with `_` for what else than
                letters, digits and `_` a field's name holds. Of fields that are called the same
                then, the last one is exported.
            figures: called when Prometheus asks; gives a mapping or a dataclass, of which the
                numbers are taken.

        Raises:
            TypeError: the name is no str, or figures no function.
            ValueError: the name holds something else than letters, digits and `_`.
        """
        checks.string("name", name)
        checks.function("figures", figures)
        if not re.fullmatch(r"[a-zA-Z0-9_]+", name):
            raise ValueError(f"name={name!r}: letters, digits and _ make a metric's name")
        self._watched[name] = figures

    @property
    def port(self) -> int | None:
        """The TCP port of /metrics, None when it is not served."""
        return self._http.port if self._http is not None else None

    async def start(self, port: int | None = None, host: str = "127.0.0.1") -> None:
        """Register with the registry, begin to count, and read INFO from time to time.

        Args:
            port: serve /metrics, /livez and /readyz here; None for not at all, 0 for a free
                port.
            host: address to listen on; "0.0.0.0" for everyone.

        Raises:
            RuntimeError: it is started already, or the RedisClient is not initialized.
            ValueError: a port that is none, or an empty host.
            OSError: the port is in use.
        """
        client = await current_client(self._source)
        if self._started:  # asked when nothing is awaited until it is set
            raise RuntimeError("the exporter is started already")
        metrics = _metrics_of(client)
        self._started = True
        if metrics is not None:
            metrics.start()
        self._metrics = metrics
        _join(self.registry, self)
        try:
            if port is not None:
                server = self._http = HealthServer(self._source, host, port, metrics=self.render)
                await server.start()
            if self._server:
                self._task = asyncio.create_task(self._poll())  # first: stop() may come now
                await self.refresh()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Undo `start()`. Twice does no harm."""
        metrics, self._metrics = self._metrics, None
        if not self._started:
            return
        self._started = False
        _leave(self.registry, self)
        if metrics is not None:
            metrics.stop()
        task, self._task = self._task, None
        await stop(task)
        server, self._http = self._http, None
        if server is not None:
            await server.stop()

    async def __aenter__(self) -> PrometheusExporter:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def _poll(self) -> None:
        await supervised(self._refresh_often())

    async def _refresh_often(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self.refresh()

    async def _follow(self) -> Any:
        """The client at this moment: a RedisClient that was closed and opened has another one."""
        client = await current_client(self._source)
        metrics = _metrics_of(client)
        if metrics is not None and self._metrics is not None and metrics is not self._metrics:
            self._metrics.stop()
            metrics.start()
            self._metrics = metrics
        return client

    async def refresh(self) -> None:
        """Read INFO now. A server that is away is `redis_up` 0, not an error."""
        try:
            found = await asyncio.wait_for(read_info(await self._follow()), self._interval)
        except Exception as exc:
            if self._up is not False:
                logger.warning("Cannot read the Redis server's metrics: %s", exc)
            self._up, self._info = False, None
        else:
            self._up, self._info = True, found

    def render(self) -> tuple[bytes, str]:
        """Return the registry in Prometheus' text format, and the content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    # --------------------------------------------------------------- collector

    def collect(self) -> Iterator[Any]:
        """Yield this exporter's metric families, of prometheus_client."""
        if self._metrics is not None:
            yield from self._commands(self._metrics.commands())
            yield from self._pool(self._metrics)
        if self._up is not None:
            yield from self._server_families(self._up, self._info)
        for name, figures in self._watched.items():
            yield from self._figures(name, figures())

    def _figures(self, name: str, found: Any) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        values: Any = found
        if dataclasses.is_dataclass(found) and not isinstance(found, type):
            values = dataclasses.asdict(found)
        gauges: dict[str, Any] = {}
        for field, value in values.items():
            if isinstance(value, (int, float)):
                allowed = re.sub(r"[^a-zA-Z0-9_]", "_", str(field))
                gauge = GaugeMetricFamily(
                    f"aiecs_redis_{name}_{allowed}", f"{field} of {name}.", labels=["client"]
                )
                gauge.add_metric([self._name], value)
                gauges[allowed] = gauge
        yield from gauges.values()

    def _commands(self, commands: dict[str, CommandMetrics]) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        done = CounterMetricFamily(
            "aiecs_redis_commands",
            "Commands by name and outcome.",
            labels=["client", "command", "outcome"],
        )
        nils = CounterMetricFamily(
            "aiecs_redis_nil_replies", "Commands answered with nil.", labels=["client", "command"]
        )
        pipelined = CounterMetricFamily(
            "aiecs_redis_pipelined_commands",
            "Commands sent inside pipelines.",
            labels=["client", "command"],
        )
        latency = HistogramMetricFamily(
            "aiecs_redis_command_duration_seconds",
            "Time from a command's start to its result, as its caller sees it.",
            labels=["client", "command"],
        )
        for one in commands.values():
            labels = [self._name, one.name]
            well = one.calls - one.errors - one.cancelled
            for outcome, count in ("ok", well), ("error", one.errors), ("cancelled", one.cancelled):
                done.add_metric([*labels, outcome], count)
            nils.add_metric(labels, one.nils)
            pipelined.add_metric(labels, one.pipelined)
            if one.calls:
                latency.add_metric(labels, _cumulated(one), one.seconds)
        yield from (done, nils, pipelined, latency)

    def _pool(self, metrics: ClientMetrics) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        pool = metrics.pool()
        for field, text in (
            ("connections", "Connections open or being opened."),
            ("lent", "Connections in one user's hands: subscriptions, WATCH, MONITOR."),
            ("inflight", "Commands sent and not answered."),
            ("waiting", "Commands that wait for a connection or for room in it."),
            ("pending_bytes", "Bytes not yet taken by the network."),
            ("circuit", "Circuit breaker: 0 closed or none, 1 open, 2 half-open."),
        ):
            gauge = GaugeMetricFamily(f"aiecs_redis_{field}", text, labels=["client"])
            gauge.add_metric([self._name], getattr(pool, field))
            yield gauge
        for field, text in (
            ("connects", "Connections made."),
            ("reconnects", "Connections lost after they had been in use."),
            ("circuit_opened", "Times that the circuit breaker went from closed to open."),
        ):
            counter = CounterMetricFamily(f"aiecs_redis_{field}", text, labels=["client"])
            counter.add_metric([self._name], getattr(pool, field))
            yield counter
        if pool.nodes:
            yield from self._cluster(pool)

    def _cluster(self, pool: PoolMetrics) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        nodes = GaugeMetricFamily(
            "aiecs_redis_cluster_nodes", "Nodes of the cluster.", labels=["client"]
        )
        nodes.add_metric([self._name], pool.nodes)
        sent_on = CounterMetricFamily(
            "aiecs_redis_cluster_redirections",
            "Commands sent on, or kept for a moment, because of what a node said.",
            labels=["client", "reason"],
        )
        for reason, count in (
            ("moved", pool.moved),
            ("ask", pool.asked),
            ("tryagain", pool.again),
            ("down", pool.down),
        ):
            sent_on.add_metric([self._name, reason], count)
        refreshes = CounterMetricFamily(
            "aiecs_redis_cluster_refreshes",
            "Times that the topology was asked for because of a command or a lost connection.",
            labels=["client"],
        )
        refreshes.add_metric([self._name], pool.refreshes)
        yield from (nodes, sent_on, refreshes)

    def _server_families(self, up: bool, info: ServerInfo | None) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        def gauge(name: str, text: str, value: float) -> Any:
            family = GaugeMetricFamily(name, text, labels=["client"])
            family.add_metric([self._name], value)
            return family

        yield gauge("redis_up", "Whether the server answers.", int(up))
        if info is None:
            return
        yield gauge("redis_ping_seconds", "Time from PING to PONG.", info.latency)
        for name, (field, text) in _GAUGES.items():
            yield gauge(name, text, info.number(field))
        for name, (field, text) in _COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=["client"])
            counter.add_metric([self._name], info.number(field))
            yield counter
        if info.lag is not None and math.isfinite(info.lag):
            yield gauge("redis_replication_lag_seconds", "How far replicas are behind.", info.lag)
        keys = GaugeMetricFamily("redis_db_keys", "Keys in a database.", labels=["client", "db"])
        for database, count in info.keys.items():
            keys.add_metric([self._name, database], count)
        yield keys


def _metrics_of(client: Any) -> ClientMetrics | None:
    """None of redis-py's own cluster client."""
    return ClientMetrics.of(client) if hasattr(client, "_native_observe") else None


def _cumulated(command: CommandMetrics) -> list[tuple[str, float]]:
    """Prometheus' buckets: how many commands took no longer than each bound."""
    found = []
    seen, position = 0, 0
    for bound in BOUNDS:
        while position < len(command.buckets) and command.buckets[position][0] <= bound * 1.000001:
            seen += command.buckets[position][1]
            position += 1
        found.append((repr(bound), float(seen)))
    return [*found, ("+Inf", float(command.calls))]
