"""The example service, over real HTTP and WebSockets: uvicorn in processes of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from aiecs_redis.testing import RedisServer, free_port

ROOT = Path(__file__).resolve().parent.parent


class Service:
    """One process of the service."""

    def __init__(self, server):
        self.port = free_port()
        environment = {
            **{name: value for name, value in os.environ.items() if name[:6] != "REDIS_"},
            "REDIS_HOST": server.host,
            "REDIS_PORT": str(server.port),
            "REDIS_PASSWORD": server.requirepass,
        }
        command = [sys.executable, "-m", "uvicorn", "examples.service.app:app"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), "--log-level", "warning"],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(600):
            with contextlib.suppress(OSError):
                if self.call("GET", "/health/readyz")[0] == 200:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.process.kill()
        raise AssertionError(self.process.communicate()[1])

    def call(self, method, path, body=None, token=None):
        """(status, decoded JSON or text)."""
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as exc:
            status, text = exc.code, exc.read().decode()
        return status, json.loads(text) if text[:1] in "{[" else text

    def login(self, user_id):
        status, found = self.call("POST", "/login", {"user_id": user_id})
        assert status == 200
        return found["token"]

    def events(self, token):
        return connect(f"ws://127.0.0.1:{self.port}/events?token={token}", open_timeout=20)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        said = self.process.communicate(timeout=30)[1]
        return self.process.returncode, said


@pytest.fixture(scope="module")
def redis_here():
    with RedisServer(requirepass="s3cret") as server:
        yield server


@pytest.fixture(scope="module")
def services(redis_here):
    """Two processes, as behind a load balancer."""
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: Service(redis_here), range(2)))
    yield both
    for service in both:
        status, said = service.stop()
        assert status in (0, -signal.SIGTERM), said
        assert "Traceback" not in said, said
        assert "s3cret" not in said


def test_sessions_are_shared(services):
    first, second = services
    token = first.login("ann")
    status, found = second.call("GET", "/me", token=token)
    assert (status, found["user_id"], found["role"]) == (200, "ann", "user")
    assert second.call("POST", "/logout", token=token) == (200, {"ended": True})
    assert first.call("GET", "/me", token=token)[0] == 401
    assert first.call("GET", "/me")[0] == 401
    assert first.call("POST", "/login", {"user_id": "nobody"})[0] == 403


def test_a_session_lives_on_with_its_use(services, redis_here):
    token = services[0].login("ann")
    with redis_here.connect() as admin:
        admin.expire(f"session:{token}", 5)
        assert services[1].call("GET", "/me", token=token)[0] == 200
        assert admin.ttl(f"session:{token}") > 1000
        admin.delete(f"session:{token}")
    assert services[1].call("GET", "/me", token=token)[0] == 401


def test_cache(services):
    first, second = services
    first.call("PUT", "/users/bob", {"name": "Bob"})
    before = first.call("GET", "/users/bob")[1]["queries"]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: first.call("GET", "/users/bob"), range(16)))
    assert {status for status, _ in found} == {200}
    assert found[-1][1]["queries"] == before
    assert second.call("GET", "/users/bob")[1]["name"] == "Bob"
    assert second.call("PUT", "/users/bob", {"name": "Robert"})[0] == 200
    first.call("PUT", "/users/bob", {"name": "Robert"})  # each process has a database of its own
    assert first.call("GET", "/users/bob")[1]["name"] == "Robert"


def test_a_cached_user_that_is_changed_elsewhere(services):
    """The process that has it in its memory is told."""
    first, second = services
    second.call("PUT", "/users/ann", {"name": "Anna"})
    first.call("PUT", "/users/ann", {"name": "Ann"})
    for _ in range(3):
        assert first.call("GET", "/users/ann")[1]["name"] == "Ann"
    queries = first.call("GET", "/users/ann")[1]["queries"]
    second.call("PUT", "/users/ann", {"name": "Anna"})
    end = time.monotonic() + 20
    while first.call("GET", "/users/ann")[1]["queries"] == queries:
        assert time.monotonic() < end, "it was not told"
    second.call("PUT", "/users/ann", {"name": "Ann"})


def test_that_there_is_no_such_user_is_remembered(services):
    assert services[0].call("GET", "/users/nobody")[0] == 404
    before = services[0].call("GET", "/users/ann")[1]["queries"]
    assert services[0].call("GET", "/users/nobody")[0] == 404
    assert services[0].call("GET", "/users/ann")[1]["queries"] == before


def test_tasks_and_events(services):
    first, second = services
    token = first.login("ann")
    other = first.login("bob")
    with second.events(token) as socket, second.events(other) as others:
        status, started = first.call("POST", "/tasks", {"name": "report"}, token)
        assert status == 202
        # The lock holds across processes.
        assert second.call("POST", "/tasks", {"name": "again"}, token)[0] == 409
        events = []
        while not events or events[-1]["status"] != "completed":
            events.append(json.loads(socket.recv(timeout=20)))
        with pytest.raises(TimeoutError):
            others.recv(timeout=0.05)
    assert {event["task_id"] for event in events} == {started["task_id"]}
    assert [event["progress"] for event in events] == [0, 20, 40, 60, 80, 100, 100]
    status, found = second.call("GET", f"/tasks/{started['task_id']}", token=token)
    assert (found["status"], found["progress"], found["name"]) == ("completed", 100, "report")
    assert found["result"] == {"name": "report", "steps": 5}
    assert second.call("GET", f"/tasks/{started['task_id']}", token=other)[0] == 404
    assert second.call("POST", "/tasks", {"name": "again"}, token)[0] == 202


def test_events_need_a_session(services):
    with pytest.raises(InvalidStatus):
        services[0].events("wrong").recv(timeout=20)


@pytest.mark.parametrize("how", ["logout", "time"])
def test_events_end_with_the_session(services, redis_here, how):
    """Although another process ended it, or none."""
    first, second = services
    token = first.login("ann")
    with second.events(token) as socket:
        if how == "logout":
            first.call("POST", "/logout", token=token)
        else:
            with redis_here.connect() as admin:
                admin.pexpire(f"session:{token}", 10)
        with pytest.raises(ConnectionClosed):
            while True:
                socket.recv(timeout=20)  # of a task that was started before
        assert socket.close_code == 4401


def test_health_and_metrics(services):
    assert services[0].call("GET", "/health/livez")[0] == 200
    pytest.importorskip("prometheus_client")
    services[0].login("ann")
    status, text = services[0].call("GET", "/health/metrics")
    assert status == 200
    assert 'aiecs_redis_commands_total{client="service",command="PIPELINE",outcome="ok"}' in text


def test_a_cut_subscription_is_a_gap(services, redis_here):
    first = services[0]
    with first.events(first.login("bob")) as socket:
        with redis_here.connect() as admin:
            assert admin.client_kill_filter(_type="pubsub") >= 2
        assert json.loads(socket.recv(timeout=60)) == {"status": "gap"}
        token = first.login("bob")
        assert first.call("POST", "/tasks", {"name": "report"}, token)[0] == 202
        while (status := json.loads(socket.recv(timeout=20))["status"]) == "gap":
            pass  # the subscription may have come back after the session
        assert status == "running"
        while status != "completed":  # no event of it comes to whoever listens next
            status = json.loads(socket.recv(timeout=20))["status"]


def test_redis_goes_and_comes_back(services, redis_here):
    first = services[0]
    with first.events(first.login("bob")) as socket:
        redis_here.kill()
        assert first.call("GET", "/health/readyz")[0] == 503
        assert first.call("GET", "/health/livez")[0] == 200
        redis_here.start()
        with pytest.raises(ConnectionClosed):  # it came back without its data
            while True:
                assert json.loads(socket.recv(timeout=60)) == {"status": "gap"}
        assert socket.close_code == 4401
    token = first.login("bob")
    assert first.call("GET", "/me", token=token)[0] == 200
    with first.events(token) as socket:
        end = time.monotonic() + 60
        status = "gap"  # its subscription may come back a little later
        while status == "gap" and time.monotonic() < end:
            first.call("POST", "/tasks", {"name": "report"}, token)
            with contextlib.suppress(TimeoutError):
                status = json.loads(socket.recv(timeout=0.5))["status"]
        assert status in ("running", "completed")
