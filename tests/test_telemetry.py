"""Spans and metrics of OpenTelemetry, collected in memory by its own SDK."""

import asyncio
import subprocess
import sys

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
    InMemorySpanExporter,
)
from opentelemetry.trace import SpanKind, StatusCode

import aiecs_redis
from aiecs_redis.metrics import ClientMetrics
from aiecs_redis.telemetry import instrument


@pytest.fixture
async def native(server):
    client = aiecs_redis.Redis(**server.kwargs)
    yield client
    await client.aclose()


@pytest.fixture
def tracing():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider, exporter
    provider.shutdown()


async def turn():
    await asyncio.sleep(0.01)


async def test_spans(native, server, tracing):
    provider, exporter = tracing
    telemetry = instrument(native, tracer_provider=provider, metrics=False)
    tracer = provider.get_tracer("test")

    async def request(name):
        with tracer.start_as_current_span(name):
            await native.set(name, "secret value")
            await asyncio.gather(native.get(name), native.get(name))
            await turn()

    await asyncio.gather(request("r1"), request("r2"))
    telemetry.stop()
    await native.get("unseen")
    await turn()
    spans = exporter.get_finished_spans()
    parents = {span.name: span for span in spans if span.kind == SpanKind.INTERNAL}
    commands = [span for span in spans if span.kind == SpanKind.CLIENT]
    assert len(commands) == 6
    for parent in parents.values():
        own = [span for span in commands if span.parent.span_id == parent.context.span_id]
        assert sorted(span.name for span in own) == ["GET", "GET", "SET"]
        for span in own:
            assert span.context.trace_id == parent.context.trace_id
            assert parent.start_time - 10**6 <= span.start_time < span.end_time
    attributes = dict(commands[0].attributes)
    assert attributes == {
        "db.system.name": "redis",
        "db.namespace": str(server.kwargs["db"]),
        "db.operation.name": "SET",
        "db.query.text": "SET ?",
        "server.address": server.kwargs["host"],
        "server.port": server.kwargs["port"],
    }
    assert "secret value" not in repr([span.to_json() for span in commands])


async def test_errors_pipelines_and_keys(native, tracing):
    provider, exporter = tracing
    instrument(native, tracer_provider=provider, metrics=False, keys=True)
    await native.set("text", "x")
    pipe = native.pipeline(transaction=False)
    pipe.get("text")
    pipe.get("other")
    await pipe.execute()
    with pytest.raises(aiecs_redis.exceptions.redis.exceptions.ResponseError):
        await native.lpush("text", 1)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(native.blpop("none", timeout=9), 0.05)
    await turn()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert spans["SET"].attributes["db.query.text"] == "SET text"
    assert spans["PIPELINE"].attributes["db.operation.batch.size"] == 2
    failed = spans["LPUSH"]
    assert failed.status.status_code == StatusCode.ERROR
    assert failed.attributes["db.response.status_code"] == "WRONGTYPE"
    assert failed.attributes["error.type"].endswith("ResponseError")
    assert spans["BLPOP"].attributes["error.type"] == "asyncio.CancelledError"
    assert spans["BLPOP"].end_time - spans["BLPOP"].start_time >= 40 * 10**6


async def test_metrics(native):
    reader = InMemoryMetricReader()
    telemetry = instrument(native, meter_provider=MeterProvider([reader]), spans=False)
    for _ in range(5):
        await native.get("a")
    await turn()
    data = reader.get_metrics_data()
    found = {
        metric.name: metric.data.data_points
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    (duration,) = found["db.client.operation.duration"]
    assert duration.count == 5
    assert duration.attributes["db.operation.name"] == "GET"
    assert list(duration.explicit_bounds) == [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10]
    assert found["aiecs_redis.client.connections"][0].value == 1
    assert found["db.client.connection.pending_requests"][0].value == 0
    telemetry.stop()
    assert not ClientMetrics.of(native).running


async def test_nothing_to_report(native):
    with pytest.raises(ValueError, match="neither"):
        instrument(native, spans=False, metrics=False)


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("from aiecs_redis.telemetry import instrument; instrument(Redis())", "otel"),
        (
            "from aiecs_redis.prometheus import PrometheusExporter; PrometheusExporter(Redis())",
            "prometheus",
        ),
    ],
)
def test_a_missing_extra_is_named(code, extra):
    blocked = "import sys; sys.modules.update(opentelemetry=None, prometheus_client=None); "
    program = f"{blocked}from aiecs_redis import Redis; {code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().endswith(f"pip install 'aiecs-redis[{extra}]'")
