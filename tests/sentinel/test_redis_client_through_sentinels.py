"""The documented RedisClient through real Sentinels: the same methods, over failovers."""

import asyncio
import logging

import pytest
from redis.exceptions import ConnectionError, RedisError

from aiecs_redis import RedisClient
from aiecs_redis.sentinel import SentinelConnectionPool


def settings_for(group, **more):
    return {"sentinels": group.addresses, "sentinel_master": group.name, **more}


async def test_the_documented_methods_over_a_failover(group, no_environment):
    client = RedisClient(settings_for(group))
    await client.initialize()
    redis = await client.get_client()
    assert isinstance(redis.connection_pool, SentinelConnectionPool)
    assert redis._native_ready  # the core's own commands, with the error policy on them

    async def use():
        assert await client.set("a", "1", ex=60) is True
        assert await client.get("a") == "1"
        assert await client.hset("h", {"a": "1"}) in (0, 1)
        assert await client.hincrby("h", "a", 1) > 1
        assert (await client.hgetall("h"))["a"]
        assert await client.exists("a") is True
        assert await client.expire("a", 5) is True
        assert await client.delete("a") == 1
        assert await client.ping() is True
        assert (await client.info("replication"))["role"] == "master"
        assert (await client.get_connection_info())["connected_clients"] > 0

    await use()
    await asyncio.sleep(0.3)
    new = await asyncio.to_thread(group.failover)
    await asyncio.to_thread(group.wait_until_agreed)
    await use()
    assert (await client.info("server"))["tcp_port"] == new.port
    await client.close()
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await client.initialize()
    assert await client.ping()
    await client.close()


async def test_by_environment(group, no_environment, caplog):
    sentinels = ",".join(f"{host}:{port}" for host, port in group.addresses)
    no_environment.setenv("REDIS_SENTINELS", sentinels)
    no_environment.setenv("REDIS_SENTINEL_MASTER", group.name)
    no_environment.setenv("REDIS_DB", "3")
    client = RedisClient()
    with caplog.at_level(logging.INFO):
        await client.initialize()
    assert f"Redis client initialized successfully: mymaster@{sentinels}/3" in caplog.messages
    assert await client.set("a", "1")
    assert group.master().call("DBSIZE") == 0
    await client.close()


async def test_passwords_apart_and_tls(start_group, no_environment):
    group = start_group(requirepass="theirs", sentinel_password="itsown", tls=True)
    config = settings_for(group, sentinel_password="itsown", **group.kwargs)
    client = RedisClient(config)
    await client.initialize()
    assert await client.set("a", "1")
    assert "itsown" not in repr(client)
    await client.close()
    for key in ("password", "sentinel_password"):
        wrong = RedisClient({**config, key: "no"})
        with pytest.raises(RedisError) as caught:
            await asyncio.wait_for(wrong.initialize(), 30)
        assert "itsown" not in str(caught.value)
        assert "theirs" not in str(caught.value)


async def test_an_unknown_master_is_named_at_once(group, no_environment):
    client = RedisClient({**settings_for(group), "sentinel_master": "nobody"})
    with pytest.raises(ConnectionError, match="'nobody'"):
        await asyncio.wait_for(client.initialize(), 5)


async def test_no_sentinel_can_be_reached(no_environment, caplog):
    client = RedisClient({"sentinels": "127.0.0.1:1", "sentinel_master": "m"}, socket_timeout=1)
    with pytest.raises(ConnectionError, match="127.0.0.1"):
        await asyncio.wait_for(client.initialize(), 30)
    assert "Failed to initialize Redis client" in caplog.text
