"""Monitoring a client of a real cluster: all its masters together, and what it has counted."""

import asyncio
import contextvars

import pytest
import pytest_asyncio
import redis.asyncio
import redis.exceptions
from subprocesses import run_python
from waiting import until

from aiecs_redis import RedisClient, RedisCluster, alert_rules
from aiecs_redis.alerts import Alerts
from aiecs_redis.health import HealthCheck
from aiecs_redis.metrics import ClientMetrics
from aiecs_redis.monitor import RedisMonitor


@pytest_asyncio.fixture
async def connect():
    made = []

    async def connect(cluster):
        made.append(RedisClient(cluster.kwargs))
        await made[-1].initialize()
        return made[-1]

    yield connect
    for client in made:
        await client.close()


async def test_a_cluster_that_is_well(cluster, connect):
    client = await connect(cluster)
    assert await Alerts(client).check() == []
    report = await HealthCheck(client).readiness()
    assert (report.ok, report.details["masters"]) == (True, 3)
    monitor = RedisMonitor(client)
    assert (await monitor.get_health_status())["status"] == "healthy"
    for node in cluster.masters():
        node.call("CONFIG", "RESETSTAT")
    await client.set("a", 1)
    assert await client.get("a") == "1"
    assert await monitor.get_hit_rate() == 1.0


async def test_a_master_that_is_away(replicated, connect):
    client = await connect(replicated)
    alerts, health = Alerts(client, timeout=2), HealthCheck(client)
    assert await alerts.check() == []
    master = replicated.masters()[0]
    master.pause()
    try:
        assert [(one.rule, one.firing) for one in await alerts.check()] == [("outage", True)]
        assert not (await health.readiness()).ok
    finally:
        master.resume()


async def test_memory_is_that_of_the_fullest_master(cluster, connect):
    client = await connect(cluster)
    alerts = Alerts(client, [alert_rules.memory(hold=0)])
    full = cluster.masters()[0]
    try:
        for node in cluster.masters():
            node.call("CONFIG", "SET", "maxmemory", "100mb")
        assert await alerts.check() == []
        full.call("CONFIG", "SET", "maxmemory", "1mb")
        assert [(one.rule, one.firing) for one in await alerts.check()] == [("memory", True)]
        full.call("CONFIG", "SET", "maxmemory", "100mb")
        assert [(one.rule, one.firing) for one in await alerts.check()] == [("memory", False)]
    finally:
        for node in cluster.masters():
            node.call("CONFIG", "SET", "maxmemory", "0")


async def test_what_the_servers_say_is_exported(cluster, connect):
    pytest.importorskip("prometheus_client")
    from aiecs_redis.prometheus import PrometheusExporter

    client = await connect(cluster)
    for number in range(30):
        await client.set(f"key:{number}", 1)
    async with PrometheusExporter(client) as exporter:
        lines = exporter.render()[0].decode().splitlines()
    assert 'redis_up{client="default"} 1.0' in lines
    assert 'redis_db_keys{client="default",db="db0"} 30.0' in lines


# ------------------------------------------------------- counted by the client

KEYS = [f"key:{number}" for number in range(30)]


def calls(metrics):
    return {name: one.calls for name, one in metrics.commands().items()}


async def test_commands_of_all_nodes_are_counted(native):
    with ClientMetrics.of(native).counting() as metrics:
        assert ClientMetrics.of(native) is metrics
        await asyncio.gather(*(native.set(key, "x") for key in KEYS))
        await asyncio.gather(*(native.get(key) for key in [*KEYS, "missing"]))
        with pytest.raises(redis.exceptions.ResponseError):
            await native.incr(KEYS[0])
        found = metrics.commands()
        assert (found["SET"].calls, found["GET"].calls, found["GET"].nils) == (30, 31, 1)
        assert (found["INCRBY"].calls, found["INCRBY"].errors) == (1, 1)
        for command in found.values():
            assert sum(count for _, count in command.buckets) == command.calls
            assert 0 < command.percentile(0.5) <= command.percentile(0.99) <= command.slowest < 10
    assert metrics.commands() == {}
    assert not metrics.running
    await native.get("a")
    await native.dbsize()
    assert metrics.commands() == {}


async def test_what_goes_to_several_nodes(native):
    with ClientMetrics.of(native).counting() as metrics:
        await native.mset(dict.fromkeys(KEYS, "x"))
        assert await native.mget(KEYS) == ["x"] * 30
        pipe = native.pipeline()
        for key in KEYS:
            pipe.get(key)
        await pipe.execute()
        assert calls(metrics) == {"MSET": 1, "MGET": 1, "PIPELINE": 1, "GET": 0}
        assert metrics.commands()["GET"].pipelined == 30
        pipe.get(KEYS[0]).incr(KEYS[1])
        await pipe.execute(raise_on_error=False)
        assert metrics.commands()["PIPELINE"].errors == 1
        await native.pipeline(transaction=True).set("{t}a", 1).get("{t}a").execute()
        assert calls(metrics)["PIPELINE"] == 3
        assert metrics.commands()["GET"].pipelined == 32


async def test_commands_that_redis_py_sends_to_nodes(native):
    with ClientMetrics.of(native).counting() as metrics:
        assert await native.ping()  # connects; the topology's own questions are nobody's commands
        await native.nodes_manager.initialize()
        before = calls(metrics)
        await native.ping(target_nodes=RedisCluster.PRIMARIES)
        assert calls(metrics) == {**before, "PING": before["PING"] + 3}  # one for each
        node = native.get_primaries()[0]
        with pytest.raises(redis.exceptions.ResponseError):
            await native.execute_command("CONFIG", "GET", target_nodes=node)
        assert metrics.commands()["CONFIG"].errors == 1
    assert "CLUSTER SLOTS" not in before


async def test_observers_and_the_slow_log(native, caplog):
    variable = contextvars.ContextVar("variable", default=None)
    seen = []
    metrics = ClientMetrics.of(native)
    remove = metrics.observe(lambda record: seen.append((record.name, record.key, variable.get())))
    metrics.log_slow(0.0, size=3)
    variable.set("here")
    await native.set("a", "secret")
    await native.mget("a", "b")
    await native.ping(target_nodes=RedisCluster.PRIMARIES)
    await until(lambda: len(seen) >= 5)
    assert seen[:2] == [("SET", "a", "here"), ("MGET", "a", "here")]
    assert [name for name, *_ in seen[2:]] == ["PING"] * 3
    assert [record.name for record in metrics.slow_commands()] == ["PING"] * 3
    assert "secret" not in caplog.text
    remove()
    metrics.log_slow(None)
    assert not metrics.running
    seen.clear()
    await native.ping(target_nodes=RedisCluster.PRIMARIES)
    await asyncio.sleep(0.05)
    assert seen == []


async def test_connections_of_all_nodes(cluster):
    native = RedisCluster(**cluster.kwargs, protocol=3)
    metrics = ClientMetrics.of(native)
    assert metrics.pool().connections == metrics.pool().nodes == 0
    waiting = asyncio.gather(*(native.set(key, "x") for key in KEYS))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert metrics.pool().waiting == 30  # nobody knows yet where to send them
    await waiting
    pool = metrics.pool()
    assert (pool.nodes, pool.connections, pool.connects, pool.reconnects) == (3, 3, 3, 0)
    assert (pool.waiting, pool.inflight, pool.protocol, pool.circuit) == (0, 0, 3, 0)
    for node in cluster.masters()[:2]:
        node.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await until(lambda: metrics.pool().reconnects == 2)
    await asyncio.gather(*(native.get(key) for key in KEYS))
    pool = metrics.pool()
    assert (pool.connections, pool.connects) == (3, 5)
    assert pool.refreshes > 0
    await native.aclose()
    assert metrics.pool().connections == 0


async def test_counters_of_a_node_that_is_gone_stay(replicated):
    async with RedisCluster(**replicated.kwargs) as native:
        await native.initialize()
        (replica, *_) = native.get_replicas()
        await asyncio.gather(
            *(native.ping(target_nodes=node) for node in native.get_nodes()), native.get("a")
        )
        metrics = ClientMetrics.of(native)
        before = metrics.pool()
        assert (before.nodes, before.connects) == (6, 6)
        (server,) = [node for node in replicated.nodes if node.port == int(replica.port)]
        server.kill()

        async def forgotten():
            await native.nodes_manager.initialize()
            return replica.name not in native.nodes_manager._clients

        for _ in range(200):
            if await forgotten():
                break
            await asyncio.sleep(0.1)
        after = metrics.pool()
        assert (after.nodes, after.connections) == (5, 5)
        assert after.connects >= 6
        assert after.reconnects >= 1


async def test_redirections_are_counted(native, cluster):
    await native.mset(dict.fromkeys(KEYS, "x"))
    metrics = ClientMetrics.of(native)
    key = KEYS[0]
    source, slot = cluster.owner_of(key), native.keyslot(key)
    target = next(node for node in cluster.masters() if node is not source)
    with metrics.counting():
        with cluster.move(slot, target) as move:
            move.move_keys(1)
            assert await native.get(key) == "x"
            pool = metrics.pool()
            assert (pool.moved, pool.asked) == (0, 1)
        try:
            assert await native.pipeline().get(key).get(KEYS[1]).execute() == ["x", "x"]
            pool = metrics.pool()
            assert (pool.moved, pool.asked) == (1, 1)
            get = metrics.commands()["GET"]
            assert (get.calls, get.errors, get.pipelined) == (1, 0, 2)
        finally:
            cluster.move_slots([slot], source)


async def test_the_exporter_has_all_of_it(native, cluster):
    pytest.importorskip("prometheus_client")
    from aiecs_redis.prometheus import PrometheusExporter

    async with PrometheusExporter(native, name="app") as exporter:
        await asyncio.gather(*(native.set(key, "x") for key in KEYS))
        key = KEYS[0]
        source, slot = cluster.owner_of(key), native.keyslot(key)
        cluster.move_slots([slot], next(n for n in cluster.masters() if n is not source))
        assert await native.get(key) == "x"
        cluster.move_slots([slot], source)
        lines = exporter.render()[0].decode().splitlines()
    for line in (
        'aiecs_redis_commands_total{client="app",command="SET",outcome="ok"} 30.0',
        'aiecs_redis_command_duration_seconds_count{client="app",command="SET"} 30.0',
        'aiecs_redis_connections{client="app"} 3.0',
        'aiecs_redis_connects_total{client="app"} 3.0',
        'aiecs_redis_reconnects_total{client="app"} 0.0',
        'aiecs_redis_cluster_nodes{client="app"} 3.0',
        'aiecs_redis_cluster_redirections_total{client="app",reason="moved"} 1.0',
        'aiecs_redis_cluster_redirections_total{client="app",reason="ask"} 0.0',
        'redis_up{client="app"} 1.0',
    ):
        assert line in lines, line
    assert not ClientMetrics.of(native).running


async def test_a_redis_client_and_its_monitor(cluster, connect):
    client = await connect(cluster)
    monitor = RedisMonitor(client)
    await monitor.metrics()
    await client.set("a", 1)
    await client.get("a")
    found = await monitor.get_command_metrics()
    assert (found["SET"].calls, found["GET"].calls) == (1, 1)
    assert (await monitor.get_pool_metrics()).nodes == 3
    report = await HealthCheck(client).readiness()
    assert report.details["connections"] == report.details["masters"] == 3
    await monitor.stop()
    assert await monitor.get_pool_metrics() is not None


async def test_spans(native, cluster):
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from aiecs_redis.telemetry import instrument

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = instrument(native, tracer_provider=provider, metrics=False, keys=True)
    await native.set("a", "x")
    await native.pipeline().get("a").get("b").execute()
    await native.ping(target_nodes=RedisCluster.PRIMARIES)
    await until(lambda: len(exporter.get_finished_spans()) == 5)
    telemetry.stop()
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["SET", "PIPELINE", "PING", "PING", "PING"]
    assert spans[0].attributes["db.query.text"] == "SET a"
    assert spans[0].attributes["server.port"] == cluster.kwargs["port"]
    assert spans[1].attributes["db.operation.batch.size"] == 2


async def test_redis_pys_own_cluster_client_has_the_servers_figures_only(cluster):
    pytest.importorskip("prometheus_client")
    from aiecs_redis.prometheus import PrometheusExporter

    async with redis.asyncio.RedisCluster(**cluster.kwargs) as client:
        async with PrometheusExporter(client) as exporter:
            text = exporter.render()[0].decode()
        with pytest.raises(TypeError, match="expected an aiecs_redis.Redis or RedisCluster"):
            ClientMetrics.of(client)
    assert 'redis_up{client="default"} 1.0' in text
    assert "aiecs_redis_commands" not in text


# redis-py keeps its collector for the whole process.
RECORDED = """
import asyncio, sys
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from redis.observability.config import MetricGroup, OTelConfig
from redis.observability.providers import get_observability_instance

reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
get_observability_instance().init(OTelConfig(metric_groups=[MetricGroup.COMMAND]))

import aiecs_redis

async def main():
    async with aiecs_redis.RedisCluster(host="127.0.0.1", port=int(sys.argv[1])) as client:
        await asyncio.gather(*(client.get(f"key:{n}") for n in range(30)))
        await client.ping(target_nodes=client.PRIMARIES)
        await client.pipeline().get("a").get("b").execute()
        await asyncio.sleep(0.01)

asyncio.run(main())
for resource in reader.get_metrics_data().resource_metrics:
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            for point in metric.data.data_points:
                print(point.attributes["db.operation.name"], point.count)
"""


def test_redis_pys_own_metrics_are_fed(cluster):
    pytest.importorskip("opentelemetry.sdk")
    pytest.importorskip("redis.asyncio.observability.recorder", reason="came with redis-py 8")
    done = run_python("-c", RECORDED, cluster.kwargs["port"])
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["GET 30", "PING 3", "PIPELINE 1"]
