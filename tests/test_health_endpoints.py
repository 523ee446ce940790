"""Liveness and readiness over real HTTP, as a server of its own and as an ASGI application."""

import asyncio
import gc
import json
import urllib.error
import urllib.request

import pytest

import aiecs_redis
from aiecs_redis.health import HealthCheck, HealthServer, health_app


def fetch(port, path, method="GET"):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read()


async def get(port, path, method="GET"):
    return await asyncio.to_thread(fetch, port, path, method)


async def test_ready_and_alive(client):
    async with HealthServer(client, port=0) as server:
        status, body = await get(server.port, "/readyz")
        assert status == 200
        ready = json.loads(body)
        assert ready["status"] == "ready"
        assert ready["connections"] == 1
        status, body = await get(server.port, "/livez")
        assert (status, json.loads(body)["status"]) == (200, "alive")
        assert (await get(server.port, "/healthz?x=1"))[0] == 200
        assert await get(server.port, "/readyz", "HEAD") == (200, b"")
        assert (await get(server.port, "/readyz", "POST"))[0] == 405
        assert (await get(server.port, "/other"))[0] == 404
        assert (await get(server.port, "/metrics"))[0] == 404
    with pytest.raises(OSError):
        await get(server.port, "/livez")


async def test_metrics_that_raise_are_an_answer(client, caplog):
    def broken():
        raise ZeroDivisionError("in a figure")

    async with HealthServer(client, port=0, metrics=broken) as server:
        assert await get(server.port, "/metrics") == (500, b"failed: see the log\n")
        assert (await get(server.port, "/livez"))[0] == 200
    assert "Cannot answer /metrics" in caplog.text
    assert "in a figure" in caplog.text


async def test_not_ready_but_alive(start_server):
    redis_server = start_server()
    client = aiecs_redis.RedisClient(redis_server.kwargs)
    async with HealthServer(client, port=0, timeout=0.3) as server:
        status, body = await get(server.port, "/readyz")
        assert status == 503
        assert "not initialized" in json.loads(body)["error"]
        await client.initialize()
        assert (await get(server.port, "/readyz"))[0] == 200
        redis_server.pause()
        status, body = await get(server.port, "/readyz")
        assert status == 503
        assert json.loads(body) == {"status": "not ready", "error": "no PONG in 0.3 s"}
        assert (await get(server.port, "/livez"))[0] == 200
        redis_server.resume()
        assert (await get(server.port, "/readyz"))[0] == 200
        redis_server.kill()
        assert (await get(server.port, "/readyz"))[0] == 503
        await client.close()


@pytest.mark.parametrize(
    "sent", [b"nonsense\r\n\r\n", b"GET / HTTP/2\r\n\r\n", b"GET /" + b"x" * 9000 + b"\r\n\r\n"]
)
async def test_what_is_no_request(client, sent):
    async with HealthServer(client, port=0) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        assert (await reader.readline()) == b"HTTP/1.1 400 Bad Request\r\n"
        writer.close()
        # One that says nothing and goes disturbs nobody.
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.close()
        assert (await get(server.port, "/livez"))[0] == 200


async def test_asgi(client):
    sent = []

    async def send(message):
        sent.append(message)

    app = health_app(client, metrics=lambda: (b"figures", "text/plain"))
    for path, status in (("/health/readyz", 200), ("/livez", 200), ("/metrics", 200), ("/", 404)):
        sent.clear()
        await app({"type": "http", "method": "GET", "path": path}, None, send)
        assert sent[0]["status"] == status, path
        headers = dict(sent[0]["headers"])
        assert int(headers[b"content-length"]) == len(sent[1]["body"])
    with pytest.raises(RuntimeError, match="websocket"):
        await app({"type": "websocket"}, None, send)


async def test_bad_timeout(client):
    with pytest.raises(ValueError, match="timeout=0"):
        HealthCheck(client, timeout=0)


def listening():
    """How many servers of asyncio's listen in this process."""
    return sum(type(one) is asyncio.Server and one.is_serving() for one in gc.get_objects())


async def test_who_starts_it_at_the_same_time_shares_one_listener(client):
    server, before = HealthServer(client, port=0), listening()
    await asyncio.gather(*(server.start() for _ in range(3)))
    assert listening() == before + 1
    assert (await get(server.port, "/livez"))[0] == 200
    await server.stop()
    assert listening() == before
    other = HealthServer(client, port=server.port)
    await asyncio.gather(other.start(), other.start())
    taken = HealthServer(client, port=other.port)
    for outcome in await asyncio.gather(taken.start(), taken.start(), return_exceptions=True):
        assert isinstance(outcome, OSError)
    await other.stop()
    assert (await (await taken.start()).stop(), listening()) == (None, before)


@pytest.mark.parametrize("turns", range(6))
async def test_stopped_or_cancelled_while_it_starts(client, turns):
    before = listening()
    for host in ("127.0.0.1", "localhost"):  # which is looked up
        server = HealthServer(client, host, port=0)
        starting = asyncio.ensure_future(server.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        await server.stop()
        await asyncio.wait([starting])
        if turns:
            assert listening() == before
        await server.stop()
        starting = asyncio.ensure_future(server.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        if starting.cancel():
            await asyncio.wait([starting])
            assert listening() == before
        await server.stop()
        starting = asyncio.ensure_future(server.start())
        await asyncio.sleep(0)
        await server.stop()
        await server.start()  # it is wanted again, before it has heard that it was not
        await asyncio.wait([starting])
        assert (await get(server.port, "/livez"))[0] == 200
        await server.stop()
        assert listening() == before
