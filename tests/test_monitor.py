"""RedisMonitor and the metrics of the core, on a real server."""

import asyncio
import contextvars
import gc
import logging
import weakref

import pytest
import redis.exceptions

import aiecs_redis
from aiecs_redis.metrics import ClientMetrics, CommandMetrics
from aiecs_redis.monitor import RedisMonitor


@pytest.fixture
async def native(server):
    client = aiecs_redis.Redis(**server.kwargs)
    yield client
    await client.aclose()


async def turn():
    """Observers are told in a later loop turn."""
    await asyncio.sleep(0.01)


# ---------------------------------------------------------------- the document


async def test_health_has_the_documented_fields(client):
    status = await RedisMonitor(client).get_health_status()
    assert list(status) == [
        "status",
        "connected_clients",
        "used_memory",
        "total_commands_processed",
        "keyspace_hits",
        "keyspace_misses",
        "uptime_in_seconds",
    ]
    assert status["status"] == "healthy"
    assert status["connected_clients"] >= 1
    assert status["used_memory"][-1] in "BKMG"


async def test_documented_methods_agree_with_the_example(client):
    from examples.monitor import RedisMonitor as Documented

    ours, theirs = RedisMonitor(client), Documented(client)
    for method in ("get_health_status", "get_memory_usage", "get_performance_metrics"):
        assert list(await getattr(ours, method)()) == list(await getattr(theirs, method)()), method
    memory = await ours.get_memory_usage()
    assert memory["used_memory"] > 100_000


async def test_unhealthy(start_server):
    server = start_server()
    client = aiecs_redis.RedisClient(server.kwargs)
    await client.initialize()
    monitor = RedisMonitor(client)
    try:
        server.kill()
        assert await monitor.get_health_status() == {"status": "unhealthy", "error": "ping_failed"}
        raising = RedisMonitor(await client.get_client())
        status = await raising.get_health_status()
        assert status["status"] == "unhealthy"
        assert str(server.port) in status["error"]
        assert "error" in await raising.get_memory_usage()
        assert "error" in await raising.get_performance_metrics()
    finally:
        await client.close()


async def test_hit_rate(start_server):
    async with aiecs_redis.Redis(**start_server().kwargs) as native:
        monitor = RedisMonitor(native)
        assert await monitor.get_hit_rate() is None
        await native.set("a", 1)
        for key in ("a", "a", "a", "b"):
            await native.get(key)
        assert await monitor.get_hit_rate() == 0.75


# -------------------------------------------------------------------- counters


async def test_nothing_is_counted_unless_asked_for(native):
    await native.get("a")
    metrics = ClientMetrics.of(native)
    assert metrics.commands() == {}
    assert not metrics.running
    assert metrics.pool().connections == 1


async def test_counters(native):
    metrics = ClientMetrics.of(native)
    with metrics.counting():
        await native.set("a", 1)
        await asyncio.gather(*(native.get("a") for _ in range(10)), native.get("missing"))
        await native.execute_command("get", "a")
        await native.execute_command(b"GeT", "a")
        with pytest.raises(redis.exceptions.ResponseError):
            await native.hget("a", "field")
        found = metrics.commands()
        assert set(found) == {"GET", "HGET", "SET"}
        get = found["GET"]
        assert (get.calls, get.errors, get.cancelled, get.nils) == (13, 0, 0, 1)
        assert found["HGET"].errors == 1
        assert sum(count for _, count in get.buckets) == 13
        assert 0 < get.mean <= get.slowest
        await native.get("a")
        assert (metrics.commands()["GET"] - get).calls == 1
    assert metrics.commands() == {}


async def test_errors_that_a_policy_hides_are_counted(client):
    native = await client.get_client()
    await client.hset("h", {"a": 1})
    with ClientMetrics.of(native).counting() as metrics:
        assert await client.get("h") is None
        get = metrics.commands()["GET"]
    assert (get.calls, get.errors, get.nils) == (1, 1, 0)


async def test_pipelines_are_one_entry(native):
    with ClientMetrics.of(native).counting() as metrics:
        pipe = native.pipeline(transaction=False)
        pipe.set("a", "text")
        pipe.get("a")
        pipe.incr("a")
        await pipe.execute(raise_on_error=False)
        found = metrics.commands()
    assert (found["PIPELINE"].calls, found["PIPELINE"].errors) == (1, 1)
    assert (found["GET"].calls, found["GET"].pipelined) == (0, 1)


async def test_cancelled_commands(native):
    with ClientMetrics.of(native).counting() as metrics:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(native.blpop("list", timeout=10), 0.05)
        found = metrics.commands()["BLPOP"]
    assert (found.calls, found.errors, found.cancelled) == (1, 0, 1)
    assert found.percentile(0.5) >= 0.04


async def test_names_are_bounded(native):
    with ClientMetrics.of(native).counting() as metrics:
        results = await asyncio.gather(
            native.execute_command("NO\0SUCH"),
            *(native.execute_command(f"NOSUCH{n}", "x") for n in range(400)),
            native.execute_command("NO/SUCH"),
            native.execute_command("N" * 200),
            return_exceptions=True,
        )
        found = metrics.commands()
    assert all(isinstance(one, redis.exceptions.ResponseError) for one in results)
    assert 200 < len(found) <= 257
    assert sum(one.errors for one in found.values()) == 403
    assert found["OTHER"].calls >= 403 - 256
    assert not [name for name in found if "\0" in name or "/" in name]


async def test_arguments_in_the_name_are_no_part_of_it(native):
    with ClientMetrics.of(native).counting() as metrics:
        await native.execute_command("ECHO secret")
        await native.execute_command("CONFIG SET slowlog-max-len 128")
        assert await native.execute_command("ACL WHOAMI") == "default"
        assert set(metrics.commands()) == {"ECHO", "CONFIG SET", "ACL WHOAMI"}


async def test_lost_connections(start_server):
    server = start_server()
    async with aiecs_redis.Redis(**server.kwargs) as native:
        with ClientMetrics.of(native).counting() as metrics:
            await native.ping()
            blocked = asyncio.ensure_future(native.blpop("list", timeout=0))
            while metrics.pool().connections < 2 or not metrics.pool().inflight:
                await asyncio.sleep(0.01)
            server.restart()
            with pytest.raises(redis.exceptions.ConnectionError):
                await blocked
            await native.ping()
            assert metrics.commands()["BLPOP"].errors == 1
            assert metrics.commands()["PING"].calls == 2
            assert metrics.pool().reconnects >= 1


def test_percentiles():
    command = CommandMetrics("GET", 100, 0, 0, 0, 0, 1.0, 0.5, ((0.001, 90), (0.01, 9), (0.6, 1)))
    assert command.percentile(0.5) == 0.001
    assert command.percentile(0.95) == 0.01
    assert command.percentile(1) == 0.5
    with pytest.raises(ValueError, match=r"part=99"):
        command.percentile(99)


async def test_a_histogram_contains_what_was_measured(native):
    with ClientMetrics.of(native).counting() as metrics:
        for millis in (2, 3, 20, 50):  # to Redis 6.2, 0.001 s is 0, for ever
            await native.execute_command("BLPOP", "nothing", millis / 1000)
        found = metrics.commands()["BLPOP"]
    bounds = [bound for bound, count in found.buckets for _ in range(count)]
    assert len(bounds) == 4
    assert bounds[-1] >= found.slowest > bounds[-1] * 7 / 8 - 1e-6
    assert found.percentile(1) == found.slowest


# ------------------------------------------------------------- single commands

request_id = contextvars.ContextVar("request_id", default="none")


async def test_observers_see_commands_in_their_context(native):
    seen = []

    def observer(record):
        seen.append((record.name, record.key, record.outcome, request_id.get()))

    remove = ClientMetrics.of(native).observe(observer)

    async def request(name):
        request_id.set(name)
        await native.set(name, 1)
        await asyncio.gather(native.get(name), native.get(name))

    await asyncio.gather(request("r1"), request("r2"))
    await turn()
    for name in ("r1", "r2"):
        own = [entry for entry in seen if entry[1] == name]
        assert sorted(own) == [("GET", name, "ok", name)] * 2 + [("SET", name, "ok", name)]
    remove()
    await native.get("r1")
    await turn()
    assert len(seen) == 6
    assert not ClientMetrics.of(native).running


async def test_an_observer_that_fails_harms_no_command(native):
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    def observer(record):
        raise ZeroDivisionError

    seen = []
    ClientMetrics.of(native).observe(observer)
    ClientMetrics.of(native).observe(seen.append)
    assert await native.set("a", 1)
    await turn()
    assert isinstance(told[0]["exception"], ZeroDivisionError)
    assert [record.name for record in seen] == ["SET"]  # nor the other observers


async def test_passwords_and_scripts_are_not_shown(native):
    seen = []
    ClientMetrics.of(native).observe(seen.append)
    for arguments in (("AUTH", "s3cret"), ("CONFIG SET", "save", ""), ("EVAL", "return 1", 0)):
        await asyncio.gather(native.execute_command(*arguments), return_exceptions=True)
    await turn()
    assert [record.name for record in seen] == ["AUTH", "CONFIG SET", "EVAL"]
    assert [record.key for record in seen] == [None] * 3


async def test_slow_log(native, caplog):
    metrics = ClientMetrics.of(native)
    metrics.log_slow(0.03, size=2)
    with caplog.at_level(logging.WARNING, logger="aiecs_redis.metrics"):
        for name in ("l1", "l2", "l3"):
            await native.blpop(name, timeout=0.05)
        await native.get("quick")
        await turn()
    assert [record.key for record in metrics.slow_commands()] == ["l3", "l2"]
    assert metrics.slow_commands()[0].seconds >= 0.03
    assert len(caplog.messages) == 3
    assert caplog.messages[0].endswith("ms): BLPOP l1")
    metrics.log_slow(None)
    assert not metrics.running
    with pytest.raises(ValueError, match="seconds=-1"):
        metrics.log_slow(-1)


async def test_changes_while_commands_are_under_way(native):
    metrics = ClientMetrics.of(native)
    metrics.start()
    blocked = asyncio.ensure_future(native.blpop("list", timeout=10))
    await turn()
    metrics.stop()
    metrics.start()
    await native.rpush("list", 1)
    assert await blocked
    assert metrics.commands()["BLPOP"].calls == 1
    metrics.stop()


async def test_monitor_follows_a_client_that_is_opened_again(client):
    monitor = RedisMonitor(client)
    await monitor.metrics()
    await client.get("a")
    assert (await monitor.get_command_metrics())["GET"].calls == 1
    await client.close()
    await client.initialize()
    assert "GET" not in await monitor.get_command_metrics()
    await client.get("a")
    assert (await monitor.get_command_metrics())["GET"].calls == 1
    assert (await monitor.get_pool_metrics()).connections == 1
    await monitor.stop()


async def test_observed_clients_are_collected(server):
    client = aiecs_redis.Redis(**server.kwargs)
    ClientMetrics.of(client).observe(lambda record, client=client: None)
    await client.get("a")
    await turn()
    await client.aclose()
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None


def test_what_is_no_client():
    with pytest.raises(TypeError, match=r"aiecs_redis.Redis"):
        ClientMetrics.of(object())
