"""`aiecs_redis.Sentinel` on real Sentinels: discovery, failovers, replicas, tidiness."""

import asyncio
import logging
import os
import time

import pytest
import pytest_asyncio
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, SentinelManagedConnection
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, ReadOnlyError
from waiting import until

import aiecs_redis
from aiecs_redis import OutcomeUnknownError, Sentinel, _sentinel_watch

NAME = "mymaster"


@pytest_asyncio.fixture
async def sentinel(group):
    sentinel = Sentinel(group.addresses, decode_responses=True)
    yield sentinel
    await sentinel.aclose()


@pytest_asyncio.fixture
async def master(sentinel):
    client = sentinel.master_for(NAME)
    yield client
    await client.aclose()


@pytest_asyncio.fixture
async def replica(sentinel):
    client = sentinel.replica_for(NAME)
    yield client
    await client.aclose()


def address(server):
    return server.host, server.port


def stats(client):
    return client.connection_pool._aiecs_link.transport.stats()


def subscribed(sentinel, name):
    """How many connections of that name have subscribed to it."""
    return sentinel.call("CLIENT", "LIST", "TYPE", "pubsub").count(f" name={name} ")


async def synchronized(group):
    master = group.master()
    master.call("PING")  # WAIT is for what was written before this connection's last command
    assert master.call("WAIT", 2, 5000) == 2


# ---------------------------------------------------------------- being a drop-in


@pytest.mark.both_loops
async def test_the_clients_are_ours_and_native(group, master, replica):
    assert isinstance(master, aiecs_redis.Redis)
    assert isinstance(master, redis.asyncio.Redis)
    assert await master.set("a", "1")
    assert await master.get("a") == "1"
    assert stats(master)["connections"] == 1
    assert master.connection_pool.master_address == address(group.master())
    await synchronized(group)
    assert await replica.get("a") == "1"
    assert stats(replica)["connections"] >= 1


async def test_an_own_pool_class_keeps_redis_pys_connections(sentinel):
    class Mine(redis.asyncio.sentinel.SentinelConnectionPool):
        pass

    client = sentinel.master_for(NAME, connection_pool_class=Mine)
    assert await client.set("a", "1")
    assert client.connection_pool.connection_class is SentinelManagedConnection
    assert client.connection_pool._available_connections
    await client.aclose()


async def test_everything_a_client_does(master):
    async with master.pipeline(transaction=True) as pipe:
        assert await pipe.set("a", "1").incr("a").execute() == [True, 2]
    async with master.pipeline() as pipe:
        await pipe.watch("a")
        pipe.multi()
        pipe.incr("a")
        assert await pipe.execute() == [3]
    await master.rpush("list", "x")
    assert list(await master.blpop(["list"], timeout=1)) == ["list", "x"]
    async with master.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe("channel")
        await pubsub.get_message(timeout=0.2)
        await master.publish("channel", "hello")
        message = await pubsub.get_message(timeout=2)
        assert message["data"] == "hello"
    assert await master.eval("return 7", 0) == 7


async def test_its_name_stands_for_the_address_in_telemetry(master):
    from aiecs_redis.telemetry import _server_attributes

    found = _server_attributes(master)
    assert found["server.address"] == NAME
    assert "server.port" not in found


async def test_arguments_of_ours_are_taken(sentinel):
    client = sentinel.master_for(NAME, operation_timeout=3, circuit_breaker=None)
    assert client.connection_pool._aiecs_options == {"operation_timeout": 3}
    assert await client.ping()
    await client.aclose()
    with pytest.raises(ValueError, match="operation_timeout=0"):
        sentinel.master_for(NAME, operation_timeout=0)


def test_install_covers_it():
    try:
        aiecs_redis.install()
        assert redis.asyncio.Sentinel is Sentinel
        assert redis.asyncio.sentinel.Sentinel is Sentinel
        assert redis.asyncio.sentinel.SentinelConnectionPool is aiecs_redis.SentinelConnectionPool
    finally:
        aiecs_redis.uninstall()
    assert redis.asyncio.Sentinel is not Sentinel


# --------------------------------------------------------------------- discovery


async def test_discovery(group, sentinel):
    assert await sentinel.discover_master(NAME) == address(group.master())
    expected = sorted(map(address, group.replicas()))
    assert sorted(await sentinel.discover_replicas(NAME)) == expected
    with pytest.raises(MasterNotFoundError, match="'nobody'"):
        await sentinel.discover_master("nobody")
    assert await sentinel.discover_slaves("nobody") == []


async def test_in_the_middle_of_a_failover_the_promoted_one_is_told(group):
    """By the Sentinel that leads it, which has the old one among its masters until the end."""
    async with Sentinel(group.addresses[:1]) as leader:
        new = await asyncio.to_thread(group.failover)
        await asyncio.to_thread(group.wait_for_switch, new)
        assert await leader.discover_master(NAME) == address(new)


async def test_it_is_closed_at_the_end_of_its_block(group):
    async with Sentinel(group.addresses) as sentinel:
        assert isinstance(sentinel, Sentinel)
        host, _ = await sentinel.discover_master(NAME)
        assert host == "127.0.0.1"
        pools = [client.connection_pool for client in sentinel.sentinels]
    assert not any(pool._aiecs_link.transport.stats().get("connections") for pool in pools)


async def test_a_name_that_no_sentinel_knows_fails_at_once(sentinel):
    client = sentinel.master_for("nobody")
    with pytest.raises(MasterNotFoundError, match="'nobody'"):
        await asyncio.wait_for(client.get("a"), 2)
    await client.aclose()


async def test_sentinels_that_are_down_or_silent_are_passed_over(group):
    down, silent = group.sentinels[0], group.sentinels[1]
    down.kill()
    silent.pause()
    sentinel = Sentinel(group.addresses, socket_timeout=5)
    begin = time.monotonic()
    assert await sentinel.discover_master(NAME) == address(group.master())
    assert time.monotonic() - begin < 2
    await sentinel.aclose()


async def test_when_no_sentinel_can_be_reached_all_are_named():
    sentinel = Sentinel([("127.0.0.1", 1), ("127.0.0.1", 2)], socket_timeout=1)
    with pytest.raises(MasterNotFoundError, match=r"127.0.0.1.*127.0.0.1"):
        await sentinel.discover_master(NAME)
    await sentinel.aclose()


async def test_min_other_sentinels(group):
    with_two = Sentinel(group.addresses, min_other_sentinels=2)
    assert await with_two.discover_master(NAME) == address(group.master())
    with_three = Sentinel(group.addresses, min_other_sentinels=3)
    with pytest.raises(MasterNotFoundError):
        await with_three.discover_master(NAME)
    await with_two.aclose()
    await with_three.aclose()


async def test_other_sentinels_are_learned_and_the_given_ones_kept(group):
    sentinel = Sentinel(group.addresses[:1])
    client = sentinel.master_for(NAME)
    await client.ping()
    await until(lambda: set(sentinel._learned) == set(group.addresses[1:]))
    group.sentinels[0].kill()
    assert await sentinel.discover_master(NAME) == address(group.master())
    assert len(sentinel.sentinels) == 1
    await client.aclose()
    await sentinel.aclose()


# --------------------------------------------------------------------- credentials


async def test_passwords_apart_and_tls(start_group):
    group = start_group(requirepass="theirs", sentinel_password="itsown", tls=True)
    sentinel = Sentinel(group.addresses, sentinel_kwargs=group.sentinel_kwargs, **group.kwargs)
    master = sentinel.master_for(NAME)
    replica = sentinel.replica_for(NAME)
    assert await master.set("a", "1")
    group.master().call("WAIT", 2, 2000)
    assert await replica.get("a") == b"1"
    await asyncio.to_thread(group.failover)
    await asyncio.to_thread(group.wait_until_agreed)
    assert await master.get("a") == b"1"
    assert await master.set("a", "2")
    await master.aclose()
    await replica.aclose()
    await sentinel.aclose()
    wrong = Sentinel(group.addresses, sentinel_kwargs={**group.sentinel_kwargs, "password": "no"})
    with pytest.raises(MasterNotFoundError) as caught:
        await wrong.discover_master(NAME)
    assert "itsown" not in str(caught.value)
    await wrong.aclose()


# ----------------------------------------------------------------------- failovers


@pytest.mark.both_loops
async def test_a_failover_is_followed_without_an_error(group, master):
    await master.set("a", "1")
    await asyncio.sleep(0.3)  # subscriptions
    new = await asyncio.to_thread(group.failover)
    await asyncio.to_thread(group.wait_for_switch, new)
    await until(lambda: master.connection_pool.master_address == address(new), 1)
    assert (await master.info("server"))["tcp_port"] == new.port
    assert await master.set("a", "2")


async def test_a_killed_master_is_followed(group, master):
    await master.set("a", "1")
    await synchronized(group)
    old = group.master()
    old.kill()
    assert await asyncio.wait_for(master.get("a"), 15) == "1"  # it waits for the next master
    assert await master.incr("a") == 2
    assert master.connection_pool.master_address != address(old)


async def test_a_paused_master_is_left_and_its_commands_are_told(group, sentinel):
    client = sentinel.master_for(NAME, socket_timeout=60)
    await client.set("a", "1")
    await synchronized(group)
    await asyncio.sleep(0.3)
    group.master().pause()
    read, write = asyncio.ensure_future(client.get("a")), asyncio.ensure_future(client.incr("a"))
    assert await asyncio.wait_for(read, 15) == "1"
    with pytest.raises(OutcomeUnknownError, match="INCR"):
        await asyncio.wait_for(write, 15)
    await client.aclose()


async def test_by_error_alone(group, sentinel, monkeypatch):
    """Without a word of the Sentinels: the demoted master refuses, and the command goes on."""
    monkeypatch.setattr(sentinel._watch, "add", lambda pool: None)
    client = sentinel.master_for(NAME)
    await client.set("a", "1")
    old = group.master()
    await asyncio.to_thread(group.failover)
    await asyncio.to_thread(group.wait_until_agreed)
    assert await client.incr("a") == 2
    assert client.connection_pool.master_address == address(group.master()) != address(old)
    await client.aclose()


async def led_elsewhere(group, value):
    """A client, its Sentinel, the master that no longer is one, and the new one.

    By hand, so that no connection is cut, and the client is told by nothing but errors.
    """
    sentinel = Sentinel(group.addresses, decode_responses=True)
    client = sentinel.master_for(NAME)
    old, new = group.servers
    assert await client.set("n", value)
    sentinel._watch.add = lambda pool: None
    await sentinel._watch.stop()
    new.call("REPLICAOF", "NO", "ONE")
    old.call("REPLICAOF", "127.0.0.1", "1")
    lead_to(sentinel, new)
    return client, sentinel, old, new


def lead_to(sentinel, server):
    async def discover(name):
        return address(server)

    sentinel.discover_master = discover


async def test_read_only_replies_are_sent_again_whatever_they_are(start_group):
    """A pipeline, a transaction, a single INCR: refused, hence not executed."""
    group = start_group(replicas=1, sentinels=1)
    client, sentinel, old, new = await led_elsewhere(group, 0)
    assert await client.incr("n") == 1
    assert new.call("GET", "n") == "1"
    new.call("REPLICAOF", "127.0.0.1", "1")
    old.call("REPLICAOF", "NO", "ONE")
    old.call("SET", "n", "10")
    lead_to(sentinel, old)
    async with client.pipeline(transaction=False) as pipe:
        assert await pipe.get("n").incr("n").execute() == ["10", 11]
    old.call("REPLICAOF", "127.0.0.1", "1")
    new.call("REPLICAOF", "NO", "ONE")
    new.call("SET", "n", "20")
    lead_to(sentinel, new)
    async with client.pipeline(transaction=True) as pipe:
        assert await pipe.incr("n").incr("n").execute() == [21, 22]
    await client.aclose()
    await sentinel.aclose()


@pytest.mark.parametrize("repeatable", [True, False])
async def test_a_pipeline_whose_last_command_is_not_refused(repeatable, start_group):
    group = start_group(replicas=1, sentinels=1)
    client, sentinel, _, new = await led_elsewhere(group, 10)
    async with client.pipeline(transaction=False) as pipe:
        pipe.set("n", 20)
        if repeatable:
            assert await pipe.get("n").execute() == [True, "20"]
        else:  # what was published is not published twice
            refused, _ = await pipe.publish("channel", "message").execute(raise_on_error=False)
            assert type(refused) is ReadOnlyError
    assert await client.set("n", 30)  # by another connection
    assert new.call("GET", "n") == "30"
    await client.aclose()
    await sentinel.aclose()


async def test_a_master_that_stays_read_only_is_told(start_group):
    group = start_group(replicas=0, sentinels=1)
    sentinel = Sentinel(group.addresses)
    client = sentinel.master_for(NAME)
    await client.ping()
    only = group.servers[0]
    only.call("REPLICAOF", "127.0.0.1", "1")

    async def stubborn(name):
        return address(only)

    sentinel.discover_master = stubborn
    with pytest.raises(ReadOnlyError):
        await asyncio.wait_for(client.incr("n"), 30)
    await client.aclose()
    await sentinel.aclose()


async def test_an_explicit_retry_has_redis_pys_meaning(group):
    limits = {"socket_timeout": 2, "socket_connect_timeout": 2}  # redis-py 7 has none
    sentinel = Sentinel(group.addresses, decode_responses=True, sentinel_kwargs=limits, **limits)
    client = sentinel.master_for(NAME, retry=Retry(NoBackoff(), 0))
    for attempt in range(20):  # a busy machine may take longer than that
        try:
            await client.set("a", "1")
            break
        except (ConnectionError, redis.exceptions.TimeoutError):
            if attempt == 19:
                raise
    group.master().pause()
    for one in group.sentinels:
        one.pause()
    client.connection_pool._aiecs_link.transport.close()
    with pytest.raises((ConnectionError, redis.exceptions.TimeoutError)):
        await asyncio.wait_for(client.get("a"), 60)
    await client.aclose()
    await sentinel.aclose()


async def test_subscriptions_and_watch_follow(group, master):
    async with master.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe("channel")
        await pubsub.get_message(timeout=0.3)
        new = await asyncio.to_thread(group.failover)
        await asyncio.to_thread(group.wait_until_agreed)
        found, end = None, time.monotonic() + 10
        while found is None and time.monotonic() < end:
            await master.publish("channel", "hello")
            try:
                found = await pubsub.get_message(timeout=0.1)
            except ConnectionError:
                continue
        assert found["data"] == "hello"
    async with master.pipeline() as pipe:
        await pipe.watch("a")
        pipe.multi()
        pipe.set("a", "1")
        assert await pipe.execute() == [True]
    assert new.call("GET", "a") == "1"


async def test_a_subscription_outlives_whatever_is_raised_in_it(group, caplog):
    class Picky(Sentinel):
        fails = False

        def check_master_state(self, state, service_name):
            if self.fails:
                raise ZeroDivisionError("not today")
            return super().check_master_state(state, service_name)

    told = group.sentinels[0]

    def complaints():  # others are subscribed to as well
        said = f"port={told.port}"
        found = [one for one in caplog.records if "Cannot take in" in one.getMessage()]
        return [one for one in found if said in one.getMessage()]

    async with Picky([address(told)], sentinel_kwargs={"client_name": "picky"}) as sentinel:
        client = sentinel.master_for(NAME)
        await client.ping()
        await until(lambda: subscribed(told, "picky") == 1)
        caplog.clear()
        sentinel.fails = True
        told.call("CLIENT", "KILL", "TYPE", "pubsub")
        with caplog.at_level(logging.DEBUG, logger="aiecs_redis.sentinel"):
            await until(lambda: len(complaints()) >= 3)
        levels = [one.levelname for one in complaints()]
        assert levels == ["ERROR"] + ["DEBUG"] * (len(levels) - 1)
        assert complaints()[0].exc_info[0] is ZeroDivisionError
        sentinel.fails = False
        new = await asyncio.to_thread(group.failover)
        await asyncio.to_thread(group.wait_for_switch, new)
        await until(lambda: client.connection_pool.master_address == address(new))
        await client.aclose()  # which cancels it
        await until(lambda: subscribed(told, "picky") == 0)


async def test_a_sentinel_that_is_away_for_hours_is_subscribed_to_again(group, monkeypatch):
    """After 1024 attempts the next pause could not be told."""
    pauses = []
    sleep = asyncio.sleep

    async def short(seconds):
        pauses.append(seconds)
        await sleep(0)

    away, other = group.sentinels[:2]
    away.kill()
    named = {"client_name": "patient"}
    async with Sentinel([address(away), address(other)], sentinel_kwargs=named) as sentinel:
        client = sentinel.master_for(NAME)
        monkeypatch.setattr(_sentinel_watch.asyncio, "sleep", short)
        await client.ping()
        await until(lambda: len(pauses) > 1200, 60)
        monkeypatch.undo()
        assert 2.5 <= max(pauses) <= 5
        away.start()
        await until(lambda: subscribed(away, "patient") == 1, 20)
        await client.aclose()


# ------------------------------------------------------------------------ replicas


async def test_replicas_share_the_commands(group, replica):
    await replica.ping()
    await until(lambda: stats(replica)["connects"] == 2)
    for server in group.replicas():
        server.call("CONFIG", "RESETSTAT")
    await asyncio.gather(*(replica.get("a") for _ in range(200)))
    for server in group.replicas():
        lines = server.call("INFO", "commandstats").splitlines()
        calls = [line.partition(",")[0] for line in lines if line.startswith("cmdstat_get:")]
        assert calls == ["cmdstat_get:calls=100"]


@pytest.mark.both_loops
async def test_a_replica_that_is_killed_is_left(group, replica):
    await replica.ping()
    await until(lambda: stats(replica)["connections"] == 2)
    group.replicas()[0].kill()
    for _ in range(50):
        assert await asyncio.wait_for(replica.get("a"), 10) is None
    await until(lambda: stats(replica)["connections"] == 1)


async def test_without_replicas_the_master_answers(start_group):
    group = start_group(replicas=0, sentinels=1)
    sentinel = Sentinel(group.addresses)
    replica = sentinel.replica_for(NAME)
    assert await replica.ping()
    assert (await replica.info("server"))["tcp_port"] == group.servers[0].port
    await replica.aclose()
    await sentinel.aclose()


async def test_a_write_on_a_replica_is_an_error(replica):
    with pytest.raises(ReadOnlyError):
        await replica.set("a", "1")


# ------------------------------------------------------------------------ tidiness


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_nothing_is_left_over(group):
    async def use():
        async with Sentinel(group.addresses) as sentinel:
            master, replica = sentinel.master_for(NAME), sentinel.replica_for(NAME)
            await asyncio.gather(*(master.incr("n") for _ in range(10)), replica.get("n"))
            await asyncio.sleep(0.3)
            await master.aclose()
            await replica.aclose()
            await asyncio.sleep(0.05)
            assert asyncio.all_tasks() == {asyncio.current_task()}
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(use())
    before = descriptors()
    for _ in range(3):
        asyncio.run(use())
    assert descriptors() <= before


async def test_a_closed_client_and_a_closed_sentinel_may_be_used_again(group, sentinel):
    client = sentinel.master_for(NAME)
    assert await client.ping()
    await client.aclose()
    assert await client.ping()
    await sentinel.aclose()
    assert await client.ping()
    new = await asyncio.to_thread(group.failover)
    await asyncio.to_thread(group.wait_until_agreed)
    assert await client.set("a", "1")
    assert new.call("GET", "a") == "1"
    await client.aclose()


def test_several_loops_one_after_the_other(group):
    async def make():  # redis-py's pools want a loop on Python 3.9
        return Sentinel(group.addresses).master_for(NAME)

    client = asyncio.run(make())
    for number in range(3):

        async def use():
            assert await client.incr("loops") == number + 1  # noqa: B023

        asyncio.run(use())
