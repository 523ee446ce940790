"""OpenTelemetry spans and metrics of a client's commands (extra `otel`).

    telemetry = instrument(await redis_client.get_client())
    ...
    telemetry.stop()

A span for every command (one for a pipeline), child of the span in which the command was made, and
the metric `db.client.operation.duration`, both by the semantic conventions for database clients.
Values never appear; keys only when asked for. A client that is not instrumented pays nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import ResponseError

from aiecs_redis._extras import need
from aiecs_redis._nodes import is_cluster
from aiecs_redis.metrics import ClientMetrics, CommandRecord

if TYPE_CHECKING:
    from aiecs_redis.client import Redis
    from aiecs_redis.cluster import RedisCluster

__all__ = ["Telemetry", "instrument"]

_SCOPE = "aiecs_redis"
_BOUNDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10]
"""Seconds, as the semantic conventions advise for db.client.operation.duration."""


def instrument(
    client: Redis | RedisCluster,
    *,
    tracer_provider: Any = None,
    meter_provider: Any = None,
    spans: bool = True,
    metrics: bool = True,
    keys: bool = False,
) -> Telemetry:
    """Begin to report a client's commands; `stop()` of what is returned ends it.

    Args:
        client: an `aiecs_redis.Redis` or `RedisCluster`.
        tracer_provider: of OpenTelemetry; the global one by default.
        meter_provider: the same for metrics.
        spans: report a span for every command.
        metrics: report durations and the state of connections.
        keys: show a command's key in `db.query.text`: "GET user:1" instead of "GET ?".

    Raises:
        MissingExtraError: opentelemetry-api is not installed.
        TypeError: the client is neither of the two.
        ValueError: neither spans nor metrics.
    """
    if not (spans or metrics):
        raise ValueError("instrument() with neither spans nor metrics reports nothing")
    need("opentelemetry.trace", "otel", "Reporting to OpenTelemetry")
    return Telemetry(client, tracer_provider, meter_provider, spans, metrics, keys)


class Telemetry:
    """What `instrument()` began, which makes it; its arguments are those of this class."""

    def __init__(
        self,
        client: Redis | RedisCluster,
        tracer_provider: Any,
        meter_provider: Any,
        spans: bool,
        metrics: bool,
        keys: bool,
    ) -> None:
        from opentelemetry import metrics as metrics_api
        from opentelemetry import trace

        self._trace = trace
        self._keys = keys
        self._source: ClientMetrics | None = ClientMetrics.of(client)
        self._common = _server_attributes(client)
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider) if spans else None
        self._duration: Any = None
        if metrics:
            meter = metrics_api.get_meter(_SCOPE, meter_provider=meter_provider)
            self._make_instruments(meter, metrics_api)
        self._remove = self._source.observe(self._report)

    def stop(self) -> None:
        """Report no longer. Twice does no harm."""
        self._remove()
        self._source = None

    # ----------------------------------------------------------------- metrics

    def _make_instruments(self, meter: Any, metrics_api: Any) -> None:
        self._duration = meter.create_histogram(
            "db.client.operation.duration",
            unit="s",
            description="Duration of database client operations.",
            explicit_bucket_boundaries_advisory=_BOUNDS,
        )
        pool = {"db.client.connection.pool.name": self._pool_name()}

        def observe(field: str) -> Any:
            def callback(_: Any) -> Iterable[Any]:
                source = self._source
                if source is None:
                    return []
                return [metrics_api.Observation(getattr(source.pool(), field), pool)]

            return callback

        for name, unit, field, text in (
            ("db.client.connection.pending_requests", "{request}", "waiting", "Waiting commands."),
            ("aiecs_redis.client.connections", "{connection}", "connections", "Connections."),
            ("aiecs_redis.client.inflight", "{command}", "inflight", "Unanswered commands."),
            ("aiecs_redis.client.pending_bytes", "By", "pending_bytes", "Unsent bytes."),
        ):
            meter.create_observable_up_down_counter(name, [observe(field)], unit, text)
        meter.create_observable_counter(
            "aiecs_redis.client.reconnects", [observe("reconnects")], "{connection}", "Lost ones."
        )

    def _pool_name(self) -> str:
        address = self._common.get("server.address", "redis")
        port = self._common.get("server.port")
        return f"{address}:{port}" if port is not None else str(address)

    # ------------------------------------------------------------ each command

    def _report(self, record: CommandRecord) -> None:
        attributes: dict[str, Any] = {**self._common, "db.operation.name": record.name}
        if record.commands > 1:  # a batch of one is no batch, by the conventions
            attributes["db.operation.batch.size"] = record.commands
        if record.outcome == "cancelled":
            attributes["error.type"] = "asyncio.CancelledError"
        elif record.outcome == "error":
            attributes.update(_error_attributes(record))
        if self._duration is not None:
            self._duration.record(record.seconds, attributes)
        if self._tracer is not None:
            self._span(self._tracer, record, attributes)

    def _span(self, tracer: Any, record: CommandRecord, attributes: dict[str, Any]) -> None:
        trace = self._trace
        if not record.commands:
            shown = record.key if self._keys and record.key is not None else "?"
            attributes = {**attributes, "db.query.text": f"{record.name} {shown}"}
        span = tracer.start_span(
            record.name,
            kind=trace.SpanKind.CLIENT,
            attributes=attributes,
            start_time=int(record.started * 1e9),
        )
        if record.outcome == "error":
            text = str(record.error) if record.error is not None else "commands of it failed"
            span.set_status(trace.Status(trace.StatusCode.ERROR, text))
        span.end(end_time=int(record.ended * 1e9))


def _error_attributes(record: CommandRecord) -> dict[str, Any]:
    if record.error is None:  # a pipeline some of whose commands failed
        return {"error.type": "_OTHER"}
    cls = type(record.error)
    found: dict[str, Any] = {"error.type": f"{cls.__module__}.{cls.__qualname__}"}
    if isinstance(record.error, ResponseError):
        code = str(record.error).partition(" ")[0]
        found["db.response.status_code"] = code if code.isupper() else "ERR"
    return found


def _server_attributes(client: Redis | RedisCluster) -> dict[str, Any]:
    found: dict[str, Any] = {"db.system.name": "redis", "db.namespace": "0"}
    if is_cluster(client):
        found["server.address"], found["server.port"] = cast(
            "RedisCluster", client
        ).nodes_manager.seed
        return found
    pool: Any = cast("Redis", client).connection_pool
    settings = pool.connection_kwargs
    found["db.namespace"] = str(settings.get("db") or 0)
    path = settings.get("path")
    if path:
        found["server.address"] = str(path)
    elif hasattr(pool, "locate"):  # of Sentinel: wherever that is
        found["server.address"] = str(pool.service_name)
    else:
        found["server.address"] = str(settings.get("host", "localhost"))
        found["server.port"] = int(settings.get("port", 6379))
    return found
