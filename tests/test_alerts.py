"""Alerts: every rule is made to fire on a real server, and hysteresis by feeding samples."""

import asyncio
import json
import logging
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from redis.backoff import NoBackoff
from waiting import until

import aiecs_redis
from aiecs_redis import alert_rules
from aiecs_redis._options import ConnectRetry
from aiecs_redis._server_info import ServerInfo, replication_lag
from aiecs_redis.alert_rules import Sample, default_rules, prometheus_rules
from aiecs_redis.alerts import Alerts, Webhook, log_alerts
from aiecs_redis.testing import FaultProxy


@pytest.fixture
async def connect():
    clients = []

    def make(server, **options):
        patience = {"retry": ConnectRetry(NoBackoff(), 0)}  # an outage is to be seen at once
        clients.append(aiecs_redis.Redis(**{**server.kwargs, **patience, **options}))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


def names(alerts):
    return [(alert.rule, alert.firing) for alert in alerts]


async def test_a_healthy_server_gives_no_alert(client):
    alerts = Alerts(client)
    assert await alerts.check() == []
    assert await alerts.check() == []
    assert alerts.firing == []


async def test_outage(start_server, connect, caplog):
    server = start_server()
    told = []
    alerts = Alerts(connect(server), notify=[told.append, log_alerts()], interval=0.05)
    with caplog.at_level(logging.INFO, logger="aiecs_redis.alerts"):
        async with alerts:
            server.kill()
            while not told:
                await asyncio.sleep(0.02)
            server.start()
            while len(told) < 2:
                await asyncio.sleep(0.02)
    assert names(told) == [("outage", True), ("outage", False)]
    assert told[0].severity == "critical"
    assert str(server.port) in told[0].text
    assert told[1].text == "The server answers again"
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


async def test_a_server_that_hangs_is_an_outage(start_server, connect):
    server = start_server()
    alerts = Alerts(connect(server), timeout=0.2)
    assert await alerts.check() == []
    server.pause()
    (alert,) = await alerts.check()
    assert alert.text == "The server does not answer (no answer in 0.2 s)"
    server.resume()
    assert names(await alerts.check()) == [("outage", False)]


async def test_memory_and_evictions(start_server, connect):
    server = start_server(config={"maxmemory": "4mb", "maxmemory-policy": "allkeys-lru"})
    client = connect(server)
    alerts = Alerts(client, [alert_rules.memory(hold=0), alert_rules.evictions()])
    assert await alerts.check() == []
    for n in range(100):
        await client.set(f"key:{n}", "x" * 100_000)
    fired = {alert.rule: alert for alert in await alerts.check()}
    assert set(fired) == {"memory", "evictions"}
    assert fired["memory"].value > 0.9
    assert fired["memory"].text.startswith("Memory in use: ")
    assert fired["memory"].text.endswith(" % of maxmemory, above 90")
    await client.flushall()
    assert sorted(names(await alerts.check())) == [("evictions", False), ("memory", False)]


async def test_rejected_connections(start_server, connect):
    server = start_server(config={"maxclients": 5})
    alerts = Alerts(connect(server), [alert_rules.rejected_connections()])
    assert await alerts.check() == []
    others = [server.connect() for _ in range(8)]
    refused = 0
    for other in others:
        try:
            other.ping()
        except aiecs_redis.exceptions.redis.exceptions.ConnectionError:
            refused += 1
    assert refused
    (alert,) = await alerts.check()
    assert alert.value == refused
    for other in others:
        other.close()
    assert names(await alerts.check()) == [("rejected_connections", False)]


async def test_latency(start_server, connect):
    server = start_server()
    with FaultProxy(server.host, server.port) as proxy:
        # Far apart, for a machine that has other things to do, too.
        rule = alert_rules.latency(above=1.0, clear=0.5, hold=0)
        alerts = Alerts(connect(server, port=proxy.port), [rule])
        assert await alerts.check() == []
        proxy.to_client.latency = 1.2
        (alert,) = await alerts.check()
        assert (alert.rule, alert.firing) == ("latency", True)
        assert alert.value > 1.1
        assert alert.text == f"PING takes {1000 * alert.value:.4g} ms, above 1000"
        proxy.to_client.latency = 0
        for _ in range(100):
            fired = await alerts.check()
            if fired:
                break
        assert names(fired) == [("latency", False)]


async def test_hit_rate(start_server, connect):
    client = connect(start_server())
    alerts = Alerts(client, [alert_rules.hit_rate(hold=0, lookups=10)])
    await alerts.check()
    await client.set("a", 1)
    for _ in range(9):
        await client.get("missing")
    assert await alerts.check() == []  # too few look-ups to tell
    for _ in range(20):
        await client.get("missing")
    (alert,) = await alerts.check()
    assert alert.value == 0
    for _ in range(20):
        await client.get("a")
    assert names(await alerts.check()) == [("hit_rate", False)]


async def test_replication_lag(start_server, connect):
    master, replica = (start_server(config={"repl-diskless-sync-delay": 0}) for _ in range(2))
    client = connect(replica)
    await client.replicaof("127.0.0.1", master.port)
    alerts = Alerts(client, [alert_rules.replication_lag(above=0.5, clear=0.5, hold=0)])
    for _ in range(500):
        if (await client.info("replication"))["master_link_status"] == "up":
            break
        await asyncio.sleep(0.02)
    assert (await alerts.sample()).server.lag is not None
    master.kill()
    for _ in range(500):
        fired = await alerts.check()
        if fired:
            break
        await asyncio.sleep(0.02)
    assert names(fired) == [("replication_lag", True)]


def test_lag_of_a_master():
    assert replication_lag({"role": "master"}) is None
    assert replication_lag({"role": "master", "slave0": {"lag": 1}, "slave1": {"lag": 7}}) == 7
    down = {"role": "slave", "master_link_status": "down", "master_link_down_since_seconds": 12}
    assert replication_lag(down) == 12


def sample(at, **info):
    return Sample(at, ServerInfo(at, info.pop("latency", 0.001), info))


def test_hysteresis():
    alerts = Alerts(
        aiecs_redis.Redis(), [alert_rules.memory(above=0.9, clear=0.8, hold=30)], notify=[]
    )

    def look(at, used):
        return [a.firing for a in alerts.evaluate(sample(at, used_memory=used, maxmemory=100))]

    assert look(0, 95) == []
    assert look(20, 95) == []
    assert look(25, 89) == []  # back for a moment: counted from anew
    assert look(30, 95) == []
    assert look(59, 95) == []
    assert look(60, 95) == [True]
    assert look(200, 85) == []  # between the limits nothing changes
    assert look(300, 95) == []
    assert look(310, 70) == []
    assert alerts.evaluate(Sample(330, None, "away")) == []  # not known: nothing changes
    assert look(335, 70) == []
    assert alerts.firing == ["memory"]
    assert look(341, 70) == [False]
    assert alerts.firing == []


def test_latency_by_sample():
    alerts = Alerts(aiecs_redis.Redis(), [alert_rules.latency(hold=0)], notify=[])
    (alert,) = alerts.evaluate(sample(0, latency=0.25))
    assert alert.text == "PING takes 250 ms, above 100"


def test_rules_that_make_no_sense():
    with pytest.raises(ValueError, match=r"clear=0.95 has to be below 0.9"):
        alert_rules.memory(clear=0.95)
    with pytest.raises(ValueError, match=r"clear=0.5 has to be above 0.8"):
        alert_rules.hit_rate(clear=0.5)
    with pytest.raises(ValueError, match="one name"):
        Alerts(aiecs_redis.Redis(), [alert_rules.outage(), alert_rules.outage()])
    with pytest.raises(ValueError, match="interval=0"):
        Alerts(aiecs_redis.Redis(), interval=0)


async def test_a_listener_that_fails_does_not_keep_others_from_it(start_server, connect, caplog):
    server = start_server()
    told = []

    async def later(alert):
        await asyncio.sleep(0)
        told.append(alert)

    def broken(alert):
        raise ZeroDivisionError

    alerts = Alerts(connect(server), notify=[broken, later])
    server.kill()
    await alerts.check()
    assert names(told) == [("outage", True)]
    assert "Cannot pass on the alert outage" in caplog.text


# --------------------------------------------------------------------- webhook


@pytest.fixture
def receiver():
    """A real HTTP server that answers `status` as often as `failures` says, then 200."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.received.append((dict(self.headers), json.loads(body)))
            self.server.failures -= 1
            self.send_response(self.server.status if self.server.failures >= 0 else 200)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self):
            self.server.asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.received, server.failures, server.status, server.asked = [], 0, 500, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


async def test_webhook(start_server, connect, receiver):
    receiver.failures = 1
    server = start_server()
    hook = Webhook(
        f"http://127.0.0.1:{receiver.server_port}/token", headers={"Authorization": "Bearer x"}
    )
    alerts = Alerts(connect(server), notify=[hook])
    server.kill()
    await alerts.check()
    assert len(receiver.received) == 2  # once in vain
    headers, body = receiver.received[-1]
    assert headers["Authorization"] == "Bearer x"
    assert (body["rule"], body["status"], body["severity"]) == ("outage", "firing", "critical")
    assert "token" not in repr(hook)


async def test_a_webhook_that_is_away(receiver, client):
    receiver.failures = 99
    hook = Webhook(f"http://127.0.0.1:{receiver.server_port}/token", attempts=1)
    alert = Alerts(client, notify=[]).evaluate(Sample(0, None, "away"))[0]
    with pytest.raises(OSError, match=r"webhook at 127\.0\.0\.1 failed: .*Internal") as caught:
        await hook(alert)
    assert "token" not in str(caught.value)
    for wrong in ("ftp://host/", "http://", "http://host/a token", "http://host/t\u00f6ken"):
        with pytest.raises(ValueError, match="URL") as refused:
            Webhook(wrong)
        assert "ken" not in str(refused.value)


async def test_a_webhook_is_not_led_elsewhere(receiver, client):
    """urllib would send a GET there, with the headers and without the alert."""
    receiver.status, receiver.failures = 302, 1
    url = f"http://127.0.0.1:{receiver.server_port}/token"
    hook = Webhook(url, headers={"Authorization": "Bearer x"}, attempts=1)
    alert = Alerts(client, notify=[]).evaluate(Sample(0, None, "away"))[0]
    with pytest.raises(OSError, match="failed: HTTP status 302 Found"):
        await hook(alert)
    assert receiver.asked == []


async def test_a_webhook_that_speaks_something_else(client):
    async def speak(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"+PONG\r\n")
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    alert = Alerts(client, notify=[]).evaluate(Sample(0, None, "away"))[0]
    with pytest.raises(OSError, match=r"webhook at 127\.0\.0\.1 failed: BadStatusLine"):
        await Webhook(f"http://127.0.0.1:{port}/", attempts=1)(alert)
    server.close()
    await server.wait_closed()


# ------------------------------------------------------------------ Prometheus


def test_prometheus_rules():
    yaml = pytest.importorskip("yaml")
    (group,) = yaml.safe_load(prometheus_rules())["groups"]
    assert group["name"] == "redis"
    assert len(group["rules"]) == len(default_rules())
    by_name = {rule["alert"]: rule for rule in group["rules"]}
    memory = by_name["RedisMemory"]
    assert memory["expr"] == "redis_memory_used_bytes / (redis_memory_max_bytes > 0) > 0.9"
    assert (memory["for"], memory["labels"]) == ("30s", {"severity": "critical"})
    assert by_name["RedisOutage"]["expr"] == "redis_up < 1"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_prometheus_itself_takes_the_rules(tmp_path):
    file = tmp_path / "rules.yml"
    file.write_text(prometheus_rules())
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{len(default_rules())} rules found" in done.stdout


async def test_the_rules_ask_for_metrics_that_are_exported(client):
    pytest.importorskip("prometheus_client")
    import re

    from aiecs_redis.prometheus import PrometheusExporter

    asked = set(re.findall(r"redis_[a-z_]+", " ".join(rule.promql for rule in default_rules())))
    async with PrometheusExporter(client) as exporter:
        exported = set(re.findall(r"^(redis_\w+)", exporter.render()[0].decode(), re.M))
    assert asked - exported == {"redis_replication_lag_seconds"}  # only with replicas


async def test_two_starts_are_one(client):
    before = asyncio.all_tasks()
    alerts = Alerts(client)
    await asyncio.gather(alerts.start(), alerts.start())
    assert len(asyncio.all_tasks() - before) == 2  # one looks, one watches over it
    await alerts.stop()
    assert asyncio.all_tasks() == before


async def test_cancelling_a_start_leaves_nothing(start_server, connect):
    server = start_server()
    alerts = Alerts(connect(server))
    before = asyncio.all_tasks()
    server.pause()
    starting = asyncio.ensure_future(alerts.start())
    await asyncio.sleep(0.1)
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    assert asyncio.all_tasks() == before
    server.resume()


async def test_stopping_never_hangs(client):
    """A look that ended in the same moment took the place of the cancellation."""
    for turns in range(100):
        alerts = Alerts(client, interval=1e-6)
        await alerts.start()
        for _ in range(turns % 20):
            await asyncio.sleep(0)
        done, _ = await asyncio.wait([asyncio.ensure_future(alerts.stop())], timeout=10)
        assert done


async def test_whoever_is_told_may_stop_it(start_server, connect):
    server = start_server()
    before = asyncio.all_tasks()
    told = []

    async def notify(alert):
        told.append(alert.rule)
        await alerts.stop()

    alerts = Alerts(connect(server), notify=[notify], interval=0.01)
    await alerts.start()
    server.kill()
    await until(lambda: asyncio.all_tasks() == before)
    assert told == ["outage"]


@pytest.mark.parametrize(
    ("measure", "text", "told"),
    [
        (lambda *_: 5, "{value} of {limit}", [("odd", True)]),
        (lambda *_: "five", "{value}", []),
    ],
)
async def test_a_rule_that_is_wrong_does_not_stop_the_others(client, caplog, measure, text, told):
    odd = alert_rules.Rule("odd", measure, 1, 0, text)
    even = alert_rules.Rule("even", lambda *_: 2, 1, 0, "It is {value}")
    alerts = Alerts(client, [odd, even], notify=[])
    assert names(await alerts.check()) == [*told, ("even", True)]
    assert "The alert rule odd" in caplog.text


def test_a_second_run_after_one_that_was_not_stopped(redis_server):
    client = aiecs_redis.Redis(**redis_server.kwargs)
    looked = []
    rule = alert_rules.Rule("looks", lambda *_: looked.append(1), 1, 0, "")
    alerts = Alerts(client, [rule], interval=0.01)

    async def use(count):
        await alerts.start()
        while len(looked) < count:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(use(3), 10))
    asyncio.run(asyncio.wait_for(use(9), 10))
