"""Monitoring a RedisClient on a real cluster: all masters together."""

import pytest
import pytest_asyncio

from aiecs_redis import RedisClient, alert_rules
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
    with pytest.raises(TypeError, match="expected an"):
        ClientMetrics.of(await client.get_client())
