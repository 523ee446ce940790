"""The command line looks at one node of a cluster at a time."""

import pytest

pytest.importorskip("typer")

from aiecs_redis.cli import main


@pytest.mark.parametrize("by", ["nodes", "host"])
def test_a_node_of_a_cluster(cluster, no_environment, capsys, by):
    host, port = cluster.addresses[0]
    if by == "nodes":
        nodes = ",".join(f"{host}:{port}" for host, port in cluster.addresses)
        no_environment.setenv("REDIS_CLUSTER_NODES", nodes)
    else:
        no_environment.setenv("REDIS_HOST", host)
        no_environment.setenv("REDIS_PORT", str(port))
    assert main(["health"]) == 0
    assert f"healthy: {host}:{port}/0" in capsys.readouterr().out
    assert main(["info", "cluster"]) == 0
    assert "cluster_enabled" in capsys.readouterr().out
