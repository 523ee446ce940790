"""What a blocking command on a node had popped goes back to that node, as without a cluster."""

import asyncio

import pytest

import aiecs_redis


@pytest.fixture
async def client(cluster):
    options = {"host": "127.0.0.1", "port": cluster.nodes[0].port, "decode_responses": True}
    async with aiecs_redis.RedisCluster(**options) as client:
        yield client


@pytest.mark.parametrize("key", ["a", "b", "c", "q1", "q2"])
async def test_cancelled_when_the_reply_has_been_read(key, client):
    for turns in range(5):
        told = []
        group = asyncio.gather(client.blpop(key, 0), asyncio.sleep(60))
        member = group._children[0]
        member.add_done_callback(lambda m, told=told: m.cancelled() or told.append(m.result()))
        await asyncio.sleep(0.01)
        await client.rpush(key, "item")
        for _ in range(turns):
            await asyncio.sleep(0)
        group.cancel()
        await asyncio.gather(group, return_exceptions=True)
        for _ in range(500):
            left = await client.lrange(key, 0, -1)
            if told or left:
                break
            await asyncio.sleep(0.01)
        assert bool(told) != (left == ["item"]), (turns, told, left)
        await client.delete(key)
