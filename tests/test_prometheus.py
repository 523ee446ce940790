"""The Prometheus exporter, scraped over HTTP."""

import asyncio
import dataclasses
import urllib.request

import pytest

prometheus_client = pytest.importorskip("prometheus_client")

from prometheus_client.parser import text_string_to_metric_families  # noqa: E402
from waiting import until  # noqa: E402

import aiecs_redis  # noqa: E402
from aiecs_redis.prometheus import BOUNDS, PrometheusExporter  # noqa: E402


def scrape(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
        assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_scraped(client):
    exporter = PrometheusExporter(client, name="app")
    await exporter.start(port=0)
    try:
        for n in range(20):
            await client.set(f"key:{n}", "x")
        await client.get("missing")
        await client.hset("hash", {"a": 1})
        assert await client.get("hash") is None  # an error, which the client logs
        await exporter.refresh()
        found = await asyncio.to_thread(scrape, exporter.port)
    finally:
        await exporter.stop()
    me = ("client", "app")
    command = ("command", "GET")
    assert found["aiecs_redis_commands_total", me, ("command", "SET"), ("outcome", "ok")] == 20
    assert found["aiecs_redis_commands_total", me, command, ("outcome", "error")] == 1
    assert found["aiecs_redis_nil_replies_total", me, command] == 1
    assert found["aiecs_redis_command_duration_seconds_count", me, ("command", "SET")] == 20
    assert found["aiecs_redis_connections", me] == 1
    assert found["redis_up", me] == 1
    assert found["redis_memory_used_bytes", me] > 100_000
    assert found["redis_commands_processed_total", me] >= 22
    databases = {key[2][1]: value for key, value in found.items() if key[0] == "redis_db_keys"}
    assert 21 in databases.values()
    buckets = [
        value
        for key, value in found.items()
        if key[0].endswith("_bucket") and ("command", "SET") in key
    ]
    assert len(buckets) == len(BOUNDS) + 1
    assert buckets == sorted(buckets)
    assert buckets[-1] == 20


async def test_bounds_are_bounds_of_the_core(client):
    native = await client.get_client()
    async with PrometheusExporter(native, server=False) as exporter:
        await native.execute_command("BLPOP", "nothing", 0.04)
        text = exporter.render()[0].decode()
    line = 'duration_seconds_bucket{client="default",command="BLPOP",le="%s"} %s'
    assert line % (0.032768, 0.0) in text
    assert line % ("+Inf", 1.0) in text
    assert "redis_up" not in text


async def test_a_server_that_goes_away(start_server):
    server = start_server()
    client = aiecs_redis.RedisClient(server.kwargs)
    await client.initialize()
    exporter = PrometheusExporter(client, interval=0.05)
    await exporter.start()
    try:
        assert b'redis_up{client="default"} 1.0' in exporter.render()[0]
        server.kill()
        await until(lambda: b'redis_up{client="default"} 0.0' in exporter.render()[0])
        assert b"redis_memory_used_bytes" not in exporter.render()[0]
        server.restart()
        await until(lambda: b'redis_up{client="default"} 1.0' in exporter.render()[0])
    finally:
        await exporter.stop()
        await client.close()


@dataclasses.dataclass
class CacheFigures:
    hits: int = 0
    name: str = "no number"


async def test_figures_of_something_else(client):
    figures = CacheFigures()
    async with PrometheusExporter(client, server=False) as exporter:
        exporter.watch("cache", lambda: figures)
        exporter.watch("queue", lambda: {"length": 2.5})
        figures.hits = 7
        text = exporter.render()[0].decode()
        assert 'aiecs_redis_cache_hits{client="default"} 7.0' in text
        assert 'aiecs_redis_queue_length{client="default"} 2.5' in text
        assert "cache_name" not in text
        with pytest.raises(ValueError, match="name='a b'"):
            exporter.watch("a b", dict)


async def test_fields_that_prometheus_has_no_name_for(client):
    async with PrometheusExporter(client, server=False) as exporter:
        exporter.watch("cache", lambda: {"hit-rate": 0.5, "größe": 3, 7: 1, "a.b": 1, "a b": 2})
        text = exporter.render()[0].decode()
        assert 'aiecs_redis_cache_hit_rate{client="default"} 0.5' in text
        assert "# HELP aiecs_redis_cache_hit_rate hit-rate of cache." in text
        assert 'aiecs_redis_cache_gr__e{client="default"} 3.0' in text
        assert 'aiecs_redis_cache_7{client="default"} 1.0' in text
        assert text.count("# TYPE aiecs_redis_cache_a_b gauge") == 1
        assert 'aiecs_redis_cache_a_b{client="default"} 2.0' in text


async def test_two_clients_in_one_registry(client, server):
    registry = prometheus_client.CollectorRegistry()
    async with aiecs_redis.Redis(**server.kwargs) as other:
        first = PrometheusExporter(client, name="first", registry=registry)
        second = PrometheusExporter(other, name="second", registry=registry)
        async with first, second:
            await client.set("a", 1)
            await other.set("a", 1)
            text = first.render()[0].decode()
            assert text == second.render()[0].decode()
            assert text.count("# TYPE aiecs_redis_commands_total counter") == 1
            for name in ("first", "second"):
                line = 'aiecs_redis_commands_total{client="%s",command="SET",outcome="ok"} 1.0'
                assert line % name in text
    assert first.render()[0] == b""


async def test_starting_twice(client):
    async with PrometheusExporter(client) as exporter:
        with pytest.raises(RuntimeError, match="started already"):
            await exporter.start()
    await exporter.stop()
    with pytest.raises(ValueError, match="interval=0"):
        PrometheusExporter(client, interval=0)


async def test_starting_twice_at_the_same_time(server):
    class Slow(aiecs_redis.RedisClient):
        async def get_client(self):
            await asyncio.sleep(0)
            return await super().get_client()

    client = Slow(server.kwargs)
    await client.initialize()
    before = asyncio.all_tasks()
    exporter = PrometheusExporter(client)
    results = await asyncio.gather(exporter.start(), exporter.start(), return_exceptions=True)
    assert [str(r) for r in results if r is not None] == ["the exporter is started already"]
    assert exporter.render()[0].count(b"redis_up{") == 1
    await exporter.stop()
    assert exporter.render()[0] == b""
    assert asyncio.all_tasks() == before
    await client.close()


async def starts_without_an_answer(server, client):
    """An exporter that listens, and the task of its start, which waits for a paused server."""
    exporter = PrometheusExporter(client)
    server.pause()
    starting = asyncio.ensure_future(exporter.start(port=0))
    await until(lambda: exporter.port)
    return exporter, starting


async def test_stopping_while_it_starts_leaves_nothing(start_server):
    server = start_server()
    client = aiecs_redis.Redis(**server.kwargs)
    await client.ping()
    before = asyncio.all_tasks()
    exporter, starting = await starts_without_an_answer(server, client)
    await exporter.stop()
    server.resume()
    await starting
    assert asyncio.all_tasks() == before
    await client.aclose()


async def test_stopping_never_hangs(client):
    """An INFO that came in the same moment took the place of the cancellation."""
    for turns in range(300):
        exporter = PrometheusExporter(client, interval=0.001)
        await exporter.start()
        for _ in range(turns % 60):
            await asyncio.sleep(0)
        done, _ = await asyncio.wait([asyncio.ensure_future(exporter.stop())], timeout=10)
        assert done


async def test_cancelling_a_start_leaves_nothing(start_server):
    server = start_server()
    client = aiecs_redis.Redis(**server.kwargs)
    await client.ping()
    before = asyncio.all_tasks()
    exporter, starting = await starts_without_an_answer(server, client)
    port = exporter.port
    starting.cancel()
    await asyncio.wait([starting])
    server.resume()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)
    assert asyncio.all_tasks() == before
    async with exporter:
        assert b"redis_up" in exporter.render()[0]
    await client.aclose()
