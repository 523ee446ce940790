"""A cluster under load while slots move, masters are replaced, killed and paused, nodes move.

Acknowledged increments <= counter <= acknowledged + ambiguous; nothing hangs, no reply is somebody
else's, and the service is back within a second of a promotion.
"""

import asyncio
import itertools
import random
import time

import pytest
import redis.asyncio.cluster
from harness.chaos import Load, counts, stop_writing
from harness.figures import OURS, REDIS_PY
from harness.measure import in_thread, run, sizes

import aiecs_redis
from aiecs_redis.testing import ClusterServers

TASKS = 30
BACK = 1.0  # seconds from a promotion to the first answer

CLASSES = {
    OURS: getattr(aiecs_redis, "RedisCluster", None),
    REDIS_PY: redis.asyncio.cluster.RedisCluster,
}


@pytest.fixture(params=[OURS, pytest.param(REDIS_PY, marks=pytest.mark.long)])
def name(request):
    if CLASSES[request.param] is None:
        pytest.skip("there is no native client of clusters")
    return request.param


@pytest.fixture(scope="module")
def servers():
    with ClusterServers(replicas=1, node_timeout=1.0) as cluster:
        yield cluster


@pytest.fixture
def cluster(servers):
    put_right(servers)
    for node in servers.masters():
        node.call("FLUSHALL")
    return servers


def put_right(cluster):
    cluster.recover()
    for node in cluster.nodes:  # not before all know who is master
        node.call("CLIENT", "UNPAUSE")


def client_of(name, cluster, **options):
    if name == REDIS_PY:
        options["max_connections"] = 1000
    return CLASSES[name](**cluster.kwargs, decode_responses=True, **options)


def names_over_all_slots(cluster, number):
    step = 16384 // number
    return [cluster.key_in(slot * step + step // 2, f"k{slot}") for slot in range(number)]


async def settle(cluster, load, names, name, case, figure, more):
    await load.stop()
    await in_thread(put_right, cluster)
    found = await counts(cluster.masters(), names)
    lost = load.lost(found)
    figure(case, f"{more}; {load.told()}, {lost} counters off", name)
    if name == OURS:
        assert (load.still, load.misrouted, load.strange, lost) == (0, 0, 0, 0), load.errors


@pytest.mark.parametrize("size", sizes(everyday=40, long=1000))
def test_moved_slots(name, cluster, figure, size):
    async def main():
        async with client_of(name, cluster) as client:
            slots = [number * 16 for number in range(size)]
            names = [cluster.key_in(slot, "k") for slot in slots]
            load = Load(client, names, TASKS)
            await load.flowing()
            started = time.monotonic()
            await in_thread(move_around, cluster, slots)
            took = time.monotonic() - started
            errors = sum(load.errors.values())
            more = f"{size:,} slots moved in {took:.0f} s, {errors} errors"
            await settle(cluster, load, names, name, "cluster-slots", figure, more)
            if name == OURS:
                assert errors == 0, load.errors  # moving slots is nothing to tell anybody of

    run(main(), 600)


def move_around(cluster, slots):
    """Each slot to the next master, with keys being created in it meanwhile."""
    masters = cluster.masters()
    for slot in slots:
        owner = cluster.owner(slot)
        target = masters[(masters.index(owner) + 1) % len(masters)]
        with cluster.move(slot, target) as move:
            move.move_keys(1)
            time.sleep(0.001)  # clients meet a slot that is half here, half there
    cluster.wait_until_agreed()


def plain(cluster, master):
    return cluster.failover(master)


def forced(cluster, master):
    """Without the master, which stands still."""
    stop_writing(master, cluster.replicas(master))
    master.pause()
    return cluster.failover(master, "FORCE")


def killed(cluster, master):
    replicas = cluster.replicas(master)
    stop_writing(master, replicas)
    master.kill()
    return cluster.wait_for_promotion(replicas)


WAYS = (plain, forced, killed)


@pytest.mark.parametrize("size", sizes(everyday=3, long=20))
def test_failovers(name, cluster, figure, size):
    async def main():
        back = []
        async with client_of(name, cluster) as client:
            names = names_over_all_slots(cluster, 60)
            load = Load(client, names, TASKS)
            await load.flowing()
            for number, way in zip(range(size), itertools.cycle(WAYS)):
                slot = (number * 6000) % 16384
                master = await in_thread(cluster.owner, slot)
                view = (await in_thread(master.view))[master.id]
                concerned = {
                    f"{key}:n" for key in names if view.holds(redis.crc.key_slot(key.encode()))
                }
                await in_thread(way, cluster, master)
                back.append(await load.served(concerned, time.monotonic()))
                await in_thread(put_right, cluster)
            more = f"{size} failovers, service back after {max(back):.2f} s at most"
            await settle(cluster, load, names, name, "cluster-failovers", figure, more)
            if name == OURS:
                assert max(back) <= BACK, back

    run(main(), 600)


def test_a_paused_master(name, cluster, figure):
    """It goes on before the others replace it: what was sent waits."""

    async def main():
        async with client_of(name, cluster) as client:
            names = names_over_all_slots(cluster, 30)
            load = Load(client, names, TASKS)
            await load.flowing()
            for slot in (0, 6000, 12000):
                master = await in_thread(cluster.owner, slot)
                await in_thread(master.pause)
                await asyncio.sleep(0.3)
                master.resume()
            more = "3 pauses of 0.3 s"
            await settle(cluster, load, names, name, "cluster-pause", figure, more)

    run(main(), 120)


def test_a_node_comes_back_at_another_port(name, cluster, figure):
    """A replica moves to another port and becomes master there."""

    async def main():
        back = []
        async with client_of(name, cluster) as client:
            names = names_over_all_slots(cluster, 60)
            load = Load(client, names, TASKS)
            await load.flowing()
            for slot in (0, 6000):
                master = await in_thread(cluster.owner, slot)
                replica = (await in_thread(cluster.replicas, master))[0]
                await in_thread(replica.move_to_port)
                await in_thread(cluster.wait_until_agreed)
                key = next(key for key in names if cluster.owner_of(key) is master)
                new = await in_thread(cluster.failover, master)
                assert new is replica
                back.append(await load.served({f"{key}:n"}, time.monotonic()))
            more = f"2 nodes at other ports, service back after {max(back):.2f} s at most"
            await settle(cluster, load, names, name, "cluster-ports", figure, more)
            if name == OURS:
                assert max(back) <= BACK, back

    run(main(), 120)


@pytest.mark.long
def test_all_of_it_in_turns(cluster, figure):
    """Slots move, a master is replaced, a node comes back at another port; again and again."""
    if CLASSES[OURS] is None:
        pytest.skip("there is no native client of clusters")
    rng = random.Random(1)

    async def main():
        async with client_of(OURS, cluster) as client:
            names = names_over_all_slots(cluster, 120)
            load = Load(client, names, 2 * TASKS)
            await load.flowing()
            for _ in range(12):
                await in_thread(move_around, cluster, rng.sample(range(16384), 12))
                master = await in_thread(cluster.owner, rng.randrange(16384))
                await in_thread(rng.choice(WAYS), cluster, master)
                await in_thread(put_right, cluster)
                await in_thread(cluster.replicas()[0].move_to_port)
                await in_thread(cluster.wait_until_agreed)
            more = "12 rounds"
            await settle(cluster, load, names, OURS, "cluster-all", figure, more)

    run(main(), 600)
