"""redis-py's own OpenTelemetry metrics are fed by native commands as by redis-py's."""

import pytest
from subprocesses import run_python

pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("redis.asyncio.observability.recorder", reason="came with redis-py 8")

# redis-py keeps its collector for the whole process.
SCRIPT = """
import asyncio, sys
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from redis.observability.config import MetricGroup, OTelConfig
from redis.observability.providers import get_observability_instance

reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
if sys.argv[2] == "on":
    groups = [MetricGroup.COMMAND, MetricGroup.RESILIENCY]
    get_observability_instance().init(OTelConfig(metric_groups=groups))

import redis.asyncio
import aiecs_redis

async def main(cls):
    async with cls.from_url(sys.argv[1]) as client:
        await client.set("key", "value")
        await asyncio.gather(client.get("key"), client.get("key"))
        async with client.pipeline(transaction=False) as pipe:
            await pipe.get("key").get("key").execute()
        try:
            await client.execute_command("INCR", "key")
        except redis.ResponseError:
            pass
        await asyncio.sleep(0.01)

def shown():
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    attributes = dict(point.attributes)
                    names = "db.operation.name", "db.namespace", "server.port", "error.type"
                    count = getattr(point, "count", getattr(point, "value", None))
                    yield (metric.name, *map(attributes.get, names), count)

asyncio.run(main(redis.asyncio.Redis if sys.argv[3] == "redis-py" else aiecs_redis.Redis))
for line in sorted(map(str, shown())):
    print(line)
"""


def recorded(url, switch, client):
    done = run_python("-c", SCRIPT, url, switch, client)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_is_recorded_as_by_redis_py(server):
    ours = recorded(server.url, "on", "ours")
    assert ours == recorded(server.url, "on", "redis-py")
    assert "'GET'" in ours
    assert "'PIPELINE'" in ours


def test_nothing_is_recorded_while_it_is_off(server):
    assert recorded(server.url, "off", "ours") == ""
