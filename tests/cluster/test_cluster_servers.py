"""The clusters that other tests rely on: they do what they say, and leave nothing behind."""

import pytest
import redis

from aiecs_redis.testing import ClusterServers, ServerError


def client_of(cluster):
    return redis.RedisCluster(**cluster.kwargs, decode_responses=True)


def test_it_serves_as_soon_as_it_is_started_and_leaves_nothing_behind(alive):
    with ClusterServers() as cluster:
        pids = [node.pid for node in cluster.nodes]
        folders = [node.folder for node in cluster.nodes]
        client = client_of(cluster)
        for number in range(30):
            assert client.set(f"key {number}", number)
        client.close()
        assert sum(node.call("DBSIZE") for node in cluster.masters()) == 30
    assert not any(map(alive, pids))
    assert not folders[0].parent.exists()


@pytest.mark.parametrize("options", [{}, {"tls_auth_clients": True}], ids=["server", "mutual"])
def test_with_password_and_tls(start_cluster, options):
    cluster = start_cluster(replicas=1, tls=True, requirepass='p "w\\', **options)
    assert client_of(cluster).set("a", 1)
    new = cluster.failover(cluster.owner_of("a"))
    cluster.wait_until_agreed()
    assert new.call("GET", "a") == "1"
    target = next(node for node in cluster.masters() if node is not new)
    slot = redis.crc.key_slot(b"a")
    assert cluster.move_slots([slot], target) == 1
    assert target.call("GET", "a") == "1"
    with pytest.raises(redis.exceptions.AuthenticationError):
        target.connect(password=None).ping()


@pytest.mark.since("7.0", "host names in clusters")
def test_host_names_are_announced(start_cluster):
    cluster = start_cluster(hostname="localhost")
    assert {shard[2][0] for shard in cluster.nodes[0].call("CLUSTER", "SLOTS")} == {"localhost"}
    assert client_of(cluster).set("a", 1)


def on_its_way(cluster, slot=100):
    """The move of a slot, a key that is in it, and one that is not."""
    there, absent = cluster.key_in(slot, "there"), cluster.key_in(slot, "absent")
    source = cluster.owner(slot)
    move = cluster.move(slot, next(node for node in cluster.masters() if node is not source))
    source.call("SET", there, "1")
    return move, there, absent


def test_a_slot_on_its_way_is_answered_with_ask_and_then_with_moved(cluster):
    move, there, absent = on_its_way(cluster)
    source, target = move.source, move.target
    with move:
        assert source.call("GET", there) == "1"
        with pytest.raises(redis.exceptions.AskError):
            source.call("GET", absent)
        assert move.move_keys(1) == 1
        with pytest.raises(redis.exceptions.AskError):
            source.call("GET", there)
    with pytest.raises(redis.exceptions.MovedError):
        source.call("GET", there)
    assert target.call("GET", there) == "1"
    assert cluster.owner(move.slot) is target
    cluster.wait_until_agreed()


@pytest.mark.since("7.0", "TRYAGAIN from the node that a slot leaves")
def test_keys_on_both_nodes_are_answered_with_tryagain(cluster):
    move, there, absent = on_its_way(cluster)
    with move, pytest.raises(redis.exceptions.TryAgainError):
        move.source.call("MGET", there, absent)


def test_a_move_that_fails_leaves_the_slot(cluster):
    source = cluster.owner(7)
    target = next(node for node in cluster.masters() if node is not source)
    with pytest.raises(LookupError):
        with cluster.move(7, target):
            raise LookupError
    assert cluster.owner(7) is source
    assert "->-" not in source.call("CLUSTER", "NODES")
    with pytest.raises(ValueError, match="slot 7"):
        cluster.move(7, source)


@pytest.mark.parametrize("how", ["", "FORCE", "TAKEOVER"])
def test_failovers(replicated, how):
    old = replicated.owner(0)
    old.call("SET", replicated.key_in(0), "kept")
    old.call("WAIT", 1, 1000)
    new = replicated.failover(old, how)
    assert new is not old
    replicated.wait_until_agreed()
    assert replicated.owner(0) is new
    assert old in replicated.replicas(new)
    assert new.call("GET", replicated.key_in(0)) == "kept"


def test_a_killed_master_is_replaced_and_comes_back_as_a_replica(replicated):
    old = replicated.owner(0)
    replicas = replicated.replicas(old)
    name = old.id
    old.kill()
    new = replicated.wait_for_promotion(replicas)
    replicated.wait_until_agreed()
    old.restart()
    replicated.wait_until_agreed()
    assert old.id == name
    assert old in replicated.replicas(new)


def test_a_node_moves_to_another_port_and_stays_the_same(replicated):
    node = replicated.replicas()[0]
    name, port = node.id, node.port
    node.move_to_port()
    replicated.wait_until_agreed()
    assert node.port != port
    assert node.id == name
    assert replicated.node(name) is node
    assert replicated.masters()[0].view()[name].port == node.port


def test_whoever_does_not_agree_is_named(replicated):
    replicated.failover(replicated.owner(0), "TAKEOVER")
    with pytest.raises(ServerError, match="does not agree"):
        replicated.wait_until_agreed(0)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="masters=0"):
        ClusterServers(masters=0)
    with pytest.raises(ValueError, match="TAKEOVER"):
        ClusterServers().failover(None, "SOON")


def test_the_logs_name_the_nodes(cluster):
    logs = cluster.logs(5)
    assert all(f":{node.port}" in logs for node in cluster.nodes)
    assert "Cluster state changed: ok" in cluster.nodes[0].log()
