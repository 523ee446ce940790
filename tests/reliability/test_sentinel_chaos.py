"""A master under Sentinels that is replaced, killed and paused under load."""

import itertools

import pytest
import redis.asyncio
from harness.chaos import Load, counts, stop_writing
from harness.figures import OURS, REDIS_PY
from harness.measure import in_thread, run, sizes

import aiecs_redis
from aiecs_redis.testing import SentinelServers

BACK = 1.0  # seconds from a promotion to the first answer
NAMES = [f"k{number}" for number in range(30)]

CLASSES = {OURS: aiecs_redis.Sentinel, REDIS_PY: redis.asyncio.Sentinel}


@pytest.fixture(params=[OURS, pytest.param(REDIS_PY, marks=pytest.mark.long)])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def group():
    with SentinelServers() as group:
        yield group


def forced(group):
    """As an operator does who wants to lose nothing: writes wait while the replica is promoted."""
    stop_writing(group.master(), group.replicas())
    return group.failover()


def killed(group):
    old = group.master()
    stop_writing(old, group.replicas())
    old.kill()
    return group.wait_for_promotion(old)


def paused(group):
    old = group.master()
    stop_writing(old, group.replicas())
    old.pause()
    return group.wait_for_promotion(old)


WAYS = (forced, killed, paused)


def put_right(group, master):
    """Whoever gave way without being killed follows the master, and lets the writes go on.

    Sentinel cannot tell it: what it publishes waits behind the writes.
    """
    for server in group.servers:
        if server.paused:
            server.resume()
        if server.pid is not None and server is not master and server.is_master():
            server.call("REPLICAOF", master.host, master.port)
            server.call("CLIENT", "UNPAUSE")
    group.recover()


@pytest.mark.parametrize("size", sizes(everyday=3, long=20))
def test_failovers(name, group, figure, size):
    async def main():
        back = []
        sentinel = CLASSES[name](group.addresses, decode_responses=True, socket_timeout=2)
        client = sentinel.master_for(group.name, max_connections=1000)
        await in_thread(group.recover)
        await client.flushall()
        load = Load(client, NAMES, len(NAMES))
        await load.flowing()
        for _, way in zip(range(size), itertools.cycle(WAYS)):
            new = await in_thread(way, group)
            named = await in_thread(group.wait_for_switch, new)
            back.append(await load.served({f"{key}:n" for key in NAMES}, named))
            await in_thread(put_right, group, new)
        await load.stop()
        lost = load.lost(await counts([group.master()], NAMES))
        figure(
            "sentinel-failovers",
            f"{size} failovers, service back after {max(back):.2f} s at most; {load.told()}, "
            f"{lost} counters off",
            name,
        )
        await client.aclose()
        await sentinel.aclose()
        if name == OURS:
            assert (load.still, load.misrouted, load.strange, lost) == (0, 0, 0, 0), load.errors
            assert max(back) <= BACK, back

    run(main(), 900)
