"""Blocking commands that are cancelled lose nothing, double nothing, and keep their connection."""

import asyncio
import random

import pytest
import redis

import aiecs_redis
from aiecs_redis.testing import RedisServer

PROTOCOLS = [2, 3]


@pytest.fixture(params=PROTOCOLS)
async def client(request, port, admin):
    async with aiecs_redis.Redis(
        port=port, protocol=request.param, decode_responses=True
    ) as client:
        yield client


async def settled(client):
    for _ in range(2000):
        if not client._native_transport.stats().get("handing_back"):
            return
        await asyncio.sleep(0.001)
    raise AssertionError("never handed back")


WAITS = {
    "blpop": lambda r: r.blpop("q", 0),
    "brpop": lambda r: r.brpop("q", 0),
    "blmpop": lambda r: r.blmpop(0, 1, "q", direction="LEFT", count=2),
    "bzpopmin": lambda r: r.bzpopmin("z", 0),
    "bzpopmax": lambda r: r.bzpopmax("z", 0),
    "bzmpop": lambda r: r.bzmpop(0, 1, ["z"], min=True, count=2),
    "blmove": lambda r: r.blmove("q", "processing", 0),
    "brpoplpush": lambda r: r.brpoplpush("q", "processing", 0),
    "xread": lambda r: r.xread({"s": "$"}, block=0),
}


@pytest.mark.parametrize("name", WAITS)
async def test_a_cancelled_wait_takes_nothing_and_keeps_its_connection(
    name, client, admin, blocked
):
    for _ in range(5):
        task = asyncio.ensure_future(WAITS[name](client))
        await blocked(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await settled(client)
        await blocked(0)
        admin.rpush("q", "item")
        admin.zadd("z", {"item": 1})
        assert await client.lrange("q", 0, -1) == ["item"]
        assert await client.zrange("z", 0, -1) == ["item"]
        admin.flushall()
    assert client._native_transport.stats()["connects"] == 2


async def test_the_connection_serves_the_next_one_once_nobody_refers_to_it(client, admin, blocked):
    first = asyncio.ensure_future(client.blpop("a", 0))
    await blocked(1)
    first.cancel()
    second = asyncio.ensure_future(client.blpop("b", 0))
    await blocked(1)
    await settled(client)
    admin.rpush("a", "1")
    admin.rpush("b", "2")
    assert list(await asyncio.wait_for(second, 10)) == ["b", "2"]
    assert admin.lrange("a", 0, -1) == ["1"]


async def popped_then_cancelled(client, admin, blocked, wait, fill):
    """The server has popped, and the reply is on its way, when the waiter is cancelled."""
    task = asyncio.ensure_future(wait(client))
    await blocked(1)
    fill(admin)  # blocks the loop: the reply waits in the socket
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settled(client)


@pytest.mark.parametrize("name", ["blpop", "brpop", "blmpop", "blmove", "brpoplpush"])
async def test_what_was_popped_goes_back_to_its_place_in_a_list(name, client, admin, blocked):
    await popped_then_cancelled(
        client, admin, blocked, WAITS[name], lambda admin: admin.rpush("q", "1", "2", "3")
    )
    assert admin.lrange("q", 0, -1) == ["1", "2", "3"]
    assert admin.lrange("processing", 0, -1) == []


@pytest.mark.parametrize("name", ["bzpopmin", "bzpopmax", "bzmpop"])
async def test_what_was_popped_goes_back_with_its_score(name, client, admin, blocked):
    members = {"a": 0.1, "b": 2.5, "c": float("inf")}
    await popped_then_cancelled(
        client, admin, blocked, WAITS[name], lambda admin: admin.zadd("z", members)
    )
    assert dict(admin.zrange("z", 0, -1, withscores=True)) == members


async def test_binary_items_come_back_as_they_were(port, admin, blocked):
    item = bytes(range(256))
    async with aiecs_redis.Redis(port=port) as client:
        await popped_then_cancelled(
            client, admin, blocked, WAITS["blpop"], lambda admin: admin.rpush("q", item)
        )
        assert await client.lrange("q", 0, -1) == [item]


async def test_closing_waits_for_what_has_to_go_back(port, admin, blocked):
    client = aiecs_redis.Redis(port=port)
    task = asyncio.ensure_future(client.blpop("q", 0))
    await blocked(1)
    admin.rpush("q", "item")
    task.cancel()
    await client.aclose()
    assert admin.lrange("q", 0, -1) == ["item"]


async def test_a_wait_with_a_timeout_of_its_own_is_called_off_as_well(client, admin, blocked):
    for _ in range(20):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.blpop("q", 5), 0.005)
    await settled(client)
    await blocked(0)
    assert client._native_transport.stats()["connects"] <= 5  # and not one for each of them


async def test_without_the_right_to_unblock_the_connection_is_closed():
    users = {"ann": "on >secret ~* &* +@all -client|unblock"}
    with RedisServer(users=users) as server:
        with redis.Redis(port=server.port, decode_responses=True) as admin:
            async with aiecs_redis.Redis(
                port=server.port, username="ann", password="secret"
            ) as client:
                task = asyncio.ensure_future(client.blpop("q", 0))
                while admin.info("clients")["blocked_clients"] != 1:
                    await asyncio.sleep(0.001)
                task.cancel()
                await settled(client)
                while admin.info("clients")["blocked_clients"]:
                    await asyncio.sleep(0.001)
                admin.rpush("q", "item")
                assert await client.lrange("q", 0, -1) == [b"item"]


@pytest.mark.parametrize("producers", [1, 4])
async def test_nothing_is_lost_or_doubled_under_cancellation_at_random(producers, client, admin):
    """Waits are cancelled in every phase while items come; each item arrives exactly once."""
    chance = random.Random(producers)
    items = [f"{producer}-{number}" for producer in range(producers) for number in range(250)]
    got = []

    async def produce(producer):
        for number in range(250):
            await client.lpush("q", f"{producer}-{number}")
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() / 500)

    async def consume():
        while len(got) < len(items):
            task = asyncio.ensure_future(client.brpop("q", 1))
            await asyncio.wait({task}, timeout=chance.random() / 250)
            if not task.cancel():
                reply = task.result()
            else:
                try:
                    reply = await task
                except asyncio.CancelledError:
                    continue
            if reply is not None:
                got.append(reply[1])

    await asyncio.wait_for(
        asyncio.gather(*(produce(n) for n in range(producers)), *(consume() for _ in range(8))), 60
    )
    await settled(client)
    assert sorted(got) == sorted(items)
