"""What a blocking command on a node had popped goes back to that node, as without a cluster."""

import asyncio
import time

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


def blocked_on(node):
    return "blocked_clients:1" in node.call("INFO", "clients")


async def test_cancelled_when_its_slot_has_been_moved_away(cluster, client):
    """The node answers MOVED: nobody waits, and the command is not to hold the other node."""
    key = "moving"
    source = cluster.owner_of(key)
    target = next(node for node in cluster.masters() if node is not source)
    slot = client.keyslot(key)
    assert await client.set("{moving}warm", "up")
    waiting = asyncio.ensure_future(client.blpop(key, 0))
    while not blocked_on(source):
        await asyncio.sleep(0.01)
    await client.delete("{moving}warm")
    cluster.move_slots([slot], target)
    while blocked_on(source):  # the answer has been sent; here it has not been read
        time.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    for _ in range(3):
        assert await asyncio.wait_for(client.set(key, "free"), 5)
        await asyncio.sleep(0.01)
    assert not blocked_on(target)
    cluster.move_slots([slot], source)
