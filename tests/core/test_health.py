"""health_check_interval: idle connections are pinged, and given up when nobody answers."""

import asyncio

import pytest
from waiting import until

from aiecs_redis import Redis
from aiecs_redis.testing import RedisServer


@pytest.fixture
def server():
    with RedisServer() as server:
        yield server


async def pings(client):
    stats = await client.info("commandstats")
    return stats.get("cmdstat_ping", {"calls": 0})["calls"]


async def test_an_idle_connection_is_pinged(server):
    async with Redis(**server.kwargs, health_check_interval=0.1) as client:
        before = await pings(client)
        await asyncio.sleep(0.5)
        assert await pings(client) >= before + 2
        assert client._native_transport.stats()["connects"] == 1


async def test_none_is_sent_without_an_interval(server):
    async with Redis(**server.kwargs) as client:
        before = await pings(client)
        await asyncio.sleep(0.3)
        assert await pings(client) == before


async def test_a_silent_server_is_noticed_while_nobody_asks(server):
    async with Redis(**server.kwargs, health_check_interval=0.1, socket_timeout=0.2) as client:
        reports = []
        asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
        await client.set("key", "value")
        server.pause()
        try:
            await until(lambda: client._native_transport.stats()["connections"] == 0)
        finally:
            server.resume()
        assert await client.get("key") == b"value"
        assert client._native_transport.stats()["connects"] == 2
        assert reports == []
