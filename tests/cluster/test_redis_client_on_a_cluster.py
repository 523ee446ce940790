"""The documented RedisClient on a real cluster: the same methods, errors and messages."""

import asyncio
import logging

import pytest
import pytest_asyncio
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ResponseError

from aiecs_redis import RedisClient, settings
from aiecs_redis._cluster_info import merged
from aiecs_redis._native import Command


@pytest_asyncio.fixture
async def client(cluster, no_environment):
    client = RedisClient({"cluster_nodes": cluster.addresses})
    await client.initialize()
    yield client
    await client.close()


def of_every_master(cluster):
    return [cluster.key_in(slot, ":key") for slot in (0, 6000, 12000)]


async def test_the_documented_methods(cluster, client):
    assert isinstance(await client.get_client(), RedisCluster)
    keys = of_every_master(cluster)
    assert len({cluster.owner_of(key) for key in keys}) == 3
    for key in keys:
        assert await client.set(key, "v", ex=60) is True
        assert await client.set(key, "w", nx=True) is False
        assert await client.get(key) == "v"
        assert await client.exists(key) is True
        assert await client.expire(key, 30) is True
        assert await client.hset(f"h{key}", {"a": "1", "b": "2"}) == 2
        assert await client.hset(f"h{key}", "c", "3") == 1
        assert await client.hget(f"h{key}", "a") == "1"
        assert await client.hincrby(f"h{key}", "a", 2) == 3
        assert await client.hgetall(f"h{key}") == {"a": "3", "b": "2", "c": "3"}
    assert await client.ping() is True
    assert await client.delete(*keys, "no such key") == 3
    assert await client.get(keys[0]) is None
    assert await asyncio.gather(*(client.set(f"k{n}", str(n)) for n in range(300))) == [True] * 300
    assert await asyncio.gather(*(client.get(f"k{n}") for n in range(300))) == [
        str(n) for n in range(300)
    ]


async def test_info_is_that_of_all_masters(cluster, client):
    await asyncio.gather(*(client.set(f"k{n}", "v") for n in range(100)))
    info = await client.info()
    assert info["db0"]["keys"] == 100
    assert info["redis_version"]
    assert set(info["nodes"]) == {f"127.0.0.1:{node.port}" for node in cluster.nodes}
    parts = [node["used_memory"] for node in info["nodes"].values()]
    assert info["used_memory"] == sum(parts)
    assert info["used_memory_human"].endswith("M")
    assert set(await client.info("memory")) < set(info)
    clients = await client.get_connection_info()
    assert clients["connected_clients"] >= 3
    assert set(clients) == {
        "connected_clients",
        "client_recent_max_input_buffer",
        "client_recent_max_output_buffer",
    }


async def test_errors_have_the_documented_policy(client, caplog):
    await client.set("text", "v")
    with pytest.raises(ResponseError):
        await client.hset("text", {"a": "1"})
    await client.hset("hash", {"a": "1"})
    with caplog.at_level(logging.ERROR):
        assert await client.get("hash") is None
    assert caplog.messages[0].startswith("Redis get failed for key hash: ")


async def test_any_node_will_do_and_the_server_says_that_it_is_a_cluster(cluster, no_environment):
    """The document's production configuration: the name of a cluster as host, no other word."""
    host, port = cluster.addresses[1]
    config = {
        "host": host,
        "port": port,
        "db": 0,
        "max_connections": 100,
        "retry_on_timeout": True,
        "decode_responses": True,
        "socket_keepalive": True,
        "socket_keepalive_options": {},
        "health_check_interval": 30,
    }
    client = RedisClient(config)
    await client.initialize()
    assert isinstance(await client.get_client(), RedisCluster)
    for key in of_every_master(cluster):
        assert await client.set(key, "v")
    await client.close()
    plain = RedisClient(config, cluster=False)
    await plain.initialize()
    assert not isinstance(await plain.get_client(), RedisCluster)
    await plain.close()


async def test_by_environment(cluster, no_environment, caplog):
    nodes = ",".join(f"{host}:{port}" for host, port in cluster.addresses)
    no_environment.setenv("REDIS_CLUSTER_NODES", nodes)
    client = RedisClient()
    with caplog.at_level(logging.INFO):
        await client.initialize()
    assert f"Redis client initialized successfully: {nodes}/0" in caplog.messages
    assert await client.set("a", "1")
    await client.close()
    await client.initialize()
    assert await client.get("a") == "1"
    await client.close()


async def test_the_commands_are_the_cores(client):
    for call in (client.get("a"), client.set("a", "1"), client.hgetall("h"), client.exists("a")):
        assert isinstance(call, Command)
        await call


async def test_settings_of_ours(cluster, no_environment):
    config = {"cluster_nodes": cluster.addresses, "operation_timeout": 3, "pool_timeout": 2}
    client = RedisClient({**config, "max_pending_bytes": 1 << 20, "encoding_errors": "replace"})
    await client.initialize()
    assert await client.set("a", "1")
    await client.close()
    refused = RedisClient({**config, "circuit_breaker": 5})
    with pytest.raises(ValueError, match="circuit_breaker"):
        await refused.initialize()
    refused = RedisClient({**config, "redis_connect_func": print})
    with pytest.raises(ValueError, match="redis_connect_func"):
        await refused.initialize()


async def test_password_and_tls(start_cluster, no_environment, caplog):
    cluster = start_cluster(requirepass="s3cret", tls=True)
    options = {key: value for key, value in cluster.kwargs.items() if key not in ("host", "port")}
    client = RedisClient({**options, "cluster_nodes": cluster.addresses})
    await client.initialize()
    for key in of_every_master(cluster):
        assert await client.set(key, "v")
        assert await client.get(key) == "v"
    await client.close()
    wrong = RedisClient({**options, "password": "no", "cluster_nodes": cluster.addresses})
    with pytest.raises(Exception) as caught:
        await wrong.initialize()
    assert "s3cret" not in str(caught.value) + caplog.text


async def test_no_node_can_be_reached(no_environment):
    client = RedisClient({"cluster_nodes": "127.0.0.1:1,127.0.0.1:2", "socket_timeout": 1})
    with pytest.raises(Exception, match="127.0.0.1"):
        await asyncio.wait_for(client.initialize(), 30)


def test_variables():
    assert settings.VARIABLES["REDIS_CLUSTER_NODES"] == "cluster_nodes"
    assert settings.VARIABLES["REDIS_CLUSTER"] == "cluster"


def test_what_is_added_up():
    one = {"used_memory": 1000, "uptime_in_seconds": 9, "role": "master", "tcp_port": 1}
    two = {"used_memory": 2000, "uptime_in_seconds": 5, "role": "master", "tcp_port": 2}
    one["db0"] = {"keys": 1, "expires": 0, "avg_ttl": 7}
    one["used_memory_human"] = two["used_memory_human"] = "1000B"
    found = merged({"a:1": one, "a:2": two})
    assert found["used_memory"] == 3000
    assert found["used_memory_human"] == "2.93K"
    assert found["uptime_in_seconds"] == 5
    assert (found["role"], found["tcp_port"]) == ("master", 1)
    assert found["db0"] == {"keys": 1, "expires": 0, "avg_ttl": 7}
    assert found["nodes"]["a:2"] == two
    assert merged({"a:1": one, "a:2": {"db0": {"keys": 2, "expires": 1}}})["db0"] == {
        "keys": 3,
        "expires": 1,
        "avg_ttl": 7,
    }
