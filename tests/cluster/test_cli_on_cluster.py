"""The command line on a real cluster: what concerns keys goes to every master."""

import json

import pytest


@pytest.fixture
def cli(cluster, no_environment, command_line):
    """`command_line` on a node of the cluster."""
    no_environment.setenv("REDIS_HOST", cluster.nodes[1].host)
    no_environment.setenv("REDIS_PORT", str(cluster.nodes[1].port))
    return command_line


@pytest.fixture
def full(cluster):
    for number in range(300):
        for name, value in ((f"user:{number}", "x" * number), (f"other:{number}", "1")):
            cluster.owner_of(name).call("SET", name, value)
    return cluster


def test_keys_of_every_master(cli, ask, full):
    status, out, _ = cli("scan", "user:*")
    assert status == 0
    assert set(out.split()) == {f"user:{number}" for number in range(300)}
    assert len(cli("scan", "--limit", 250)[1].split()) == 250
    assert ask("bigkeys", "--count", 3)["keys"][0]["name"] == "user:299"
    assert {found["prefix"]: found["keys"] for found in ask("memory", "prefixes")} == {
        "user:*": 300,
        "other:*": 300,
    }
    before, after = ask("memory", "purge").values()
    assert before > 3 * 2**20
    assert after > 0


def test_delete(cli, ask, full):
    found = ask("delete", "user:*", "--dry-run")
    assert (found["matching"], found["deleted"]) == (300, 0)
    assert "the 3 masters of the cluster" in found["server"]
    assert ask("delete", "user:*", "--yes", "--batch", 50)["deleted"] == 300
    assert sum(node.call("DBSIZE") for node in full.masters()) == 300


def test_one_node_where_it_is_about_a_server(cli, ask, cluster):
    named = f"{cluster.nodes[1].host}:{cluster.nodes[1].port}"
    assert named in ask("ping")["server"]
    assert named in ask("health")["server"]
    assert named in ask("latency", "--count", 5)["server"]
    assert cli("info", "server")[0] == 0
    assert f"{named}" in cli("top", "--count", 1, "--interval", 0.1)[1]
    assert cli("slowlog")[0] == 0
    assert ask("publish", "channel", "message")["receivers"] == 0


def test_doctor(ask):
    findings = {found["check"]: found for found in ask("doctor")}
    assert findings["cluster"]["level"] == "ok"
    assert "3 masters and 0 replicas" in findings["cluster"]["text"]
    assert "no replica" in findings["replicas"]["text"]


def test_doctor_of_a_cluster_that_is_named_by_its_nodes(cli, ask, cluster, no_environment):
    nodes = ",".join(f"{host}:{port}" for host, port in cluster.addresses)
    for name in ("REDIS_HOST", "REDIS_PORT"):
        no_environment.delenv(name, raising=False)
    no_environment.setenv("REDIS_CLUSTER_NODES", nodes)
    found = {finding["check"]: finding for finding in ask("doctor")}
    assert "tls" not in found  # on this machine
    assert found["password"]["level"] == "note"


def test_a_cluster_that_does_not_serve_all_slots(cli, start_cluster, no_environment):
    cluster = start_cluster(masters=3, node_timeout=0.5)
    no_environment.setenv("REDIS_PORT", str(cluster.nodes[0].port))
    assert cli("health")[0] == 0
    cluster.nodes[0].call("CLUSTER", "DELSLOTS", 0)
    status, out, _ = cli("health")
    assert status == 1
    assert out == "the cluster's state is fail: 16,383 of 16,384 slots are served\n"
    status, out, _ = cli("doctor", "--json")
    findings = {found["check"]: found for found in json.loads(out)}
    assert (status, findings["cluster"]["level"]) == (1, "bad")
    status, out, err = cli("scan", "*")
    assert (status, out) == (1, "")
    assert err.startswith("aiecs-redis: All slots are not covered")


def test_a_cluster_that_is_named_by_some_of_its_nodes(cli, full, no_environment):
    no_environment.delenv("REDIS_HOST")
    no_environment.delenv("REDIS_PORT")
    nodes = ",".join(f"{node.host}:{node.port}" for node in full.nodes[:2])
    no_environment.setenv("REDIS_CLUSTER_NODES", nodes)
    assert cli("health")[0] == 0
    assert len(cli("scan", "user:*")[1].split()) == 300
