"""The Sentinels that other tests rely on: they do what they say, and leave nothing behind."""

import time

import pytest
import redis

from aiecs_redis.testing import SentinelServers


def test_it_serves_as_soon_as_it_is_started_and_leaves_nothing_behind(alive):
    with SentinelServers(replicas=1, sentinels=2, name="other") as group:
        everybody = [*group.servers, *group.sentinels]
        pids = [server.pid for server in everybody]
        folder = everybody[0].folder.parent
        sentinel = redis.Sentinel(group.addresses)
        assert sentinel.discover_master("other") == ("127.0.0.1", group.servers[0].port)
        assert sentinel.master_for("other").set("a", "1")
    assert not any(map(alive, pids))
    assert not folder.exists()


def test_with_passwords_and_tls(start_group):
    group = start_group(requirepass="theirs", sentinel_password="itsown", tls=True)
    sentinel = redis.Sentinel(
        group.addresses, sentinel_kwargs=group.sentinel_kwargs, **group.kwargs
    )
    assert group.kwargs["password"] == "theirs"
    assert group.sentinel_kwargs["password"] == "itsown"
    master = sentinel.master_for("mymaster")
    assert master.set("a", "1")
    assert master.wait(2, 5000) == 2
    new = group.failover()
    group.wait_until_agreed()
    assert group.master() is new
    assert new.call("GET", "a") == "1"
    group.sentinels[0].restart()
    group.wait_until_agreed()


def test_a_forced_failover(group):
    old = group.master()
    old.call("SET", "a", "kept")
    old.call("WAIT", 2, 1000)
    new = group.failover()
    assert new is not old
    assert group.wait_for_switch(new) <= time.monotonic()
    group.wait_until_agreed()
    assert group.master() is new
    assert set(group.replicas()) == set(group.servers) - {new}
    assert new.call("GET", "a") == "kept"


def test_a_killed_master_is_replaced_and_comes_back_as_a_replica(group):
    old = group.master()
    old.kill()
    new = group.wait_for_promotion(old)
    group.wait_until_agreed()
    assert group.master() is new
    old.restart()
    group.wait_until_agreed()
    assert old in group.replicas()


def test_a_sentinel_that_comes_back_is_known_again(group):
    gone = group.sentinels[1]
    gone.kill()
    assert group.addresses[1] == ("127.0.0.1", gone.port)
    assert group.master() is not None
    gone.restart()
    group.wait_until_agreed()


def test_sentinels_that_keep_their_hands_off_are_waited_for(group):
    """After a pause they are in TILT, and would begin no failover."""
    for one in group.sentinels:
        one.pause()
    time.sleep(5.5)
    group.recover()
    for one in group.sentinels:
        assert "sentinel_tilt:0" in one.call("INFO", "sentinel")
    old = group.master()
    assert group.failover(timeout=20) is not old
    group.wait_until_agreed()


def test_wrong_arguments():
    with pytest.raises(ValueError, match="letters and digits"):
        SentinelServers(requirepass="a b")
    with pytest.raises(ValueError, match="sentinels=0"):
        SentinelServers(sentinels=0)
