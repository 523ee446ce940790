"""The documented RedisClient on a real server: answers, error policy, life cycle, globals."""

import asyncio
import datetime
import gc
import inspect
import logging
import subprocess
import sys
import threading
import time
import types
import unittest.mock
import warnings
from pathlib import Path

import pytest
import redis.asyncio
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    DataError,
    RedisError,
    ResponseError,
)

import aiecs_redis
from aiecs_redis import OutcomeUnknownError
from aiecs_redis import redis_client as module
from aiecs_redis._single_flight import SingleFlight
from aiecs_redis.redis_client import RedisClient
from aiecs_redis.testing import FaultProxy, free_port

LOGGER = "aiecs_redis.redis_client"
NOT_INITIALIZED = "Redis client not initialized. Call initialize() first."
NO_GLOBAL = "Redis client not initialized. Call initialize_redis_client() first."
SECRET = "s3cret-p4ss"
COUNTED = "counted"


@pytest.fixture(autouse=True)
def log(caplog):
    """Everything is recorded; what the module said comes from `said()`."""
    caplog.set_level(logging.DEBUG)
    return caplog


@pytest.fixture
def said(caplog):
    """`said()`: what the module's logger was told since the last call, as (level, message)."""

    def said():
        records = [r for r in caplog.records if r.name == LOGGER]
        caplog.clear()
        return [(r.levelname, r.getMessage()) for r in records]

    return said


@pytest.fixture(autouse=True)
def no_global():
    """Tests begin and end without the shared instance."""
    assert module.redis_client is None
    yield
    left, module.redis_client = module.redis_client, None
    assert left is None, "the test left the shared instance behind"


def connections(admin):
    """How many connections of the clients that are named COUNTED the server has."""
    return len([c for c in admin.client_list() if c["name"] == COUNTED])


# ------------------------------------------------------------------- answers


@pytest.mark.both_loops
async def test_set_and_get(client, admin):
    assert await client.set("user:123:name", "John Doe") is True
    assert await client.get("user:123:name") == "John Doe"
    assert admin.ttl("user:123:name") == -1
    assert await client.get("missing") is None


@pytest.mark.parametrize(
    ("value", "stored"),
    [("ünï", "ünï"), (b"raw", "raw"), (7, "7"), (1.5, "1.5"), ("", ""), (bytearray(b"x"), "x")],
)
async def test_set_takes_what_redis_py_takes(client, value, stored):
    assert await client.set("k", value) is True
    got = await client.get("k")
    assert (got, type(got)) == (stored, str)


@pytest.mark.both_loops
async def test_set_with_expiration(client, admin):
    assert await client.set("k", "v", ex=3600) is True
    assert 3595 <= admin.ttl("k") <= 3600
    assert await client.set("k", "v", 60) is True
    assert 55 <= admin.ttl("k") <= 60
    assert await client.set("k", "v", ex=datetime.timedelta(minutes=5)) is True
    assert 295 <= admin.ttl("k") <= 300
    assert await client.set("k", "v") is True
    assert admin.ttl("k") == -1


@pytest.mark.both_loops
async def test_set_only_if_it_does_not_exist(client, admin):
    assert await client.set("lock", "me", ex=10, nx=True) is True
    assert await client.set("lock", "you", ex=10, nx=True) is False
    assert await client.set("lock", "you", 10, True) is False
    assert admin.get("lock") == "me"


async def test_the_other_options_of_set(client, admin):
    assert await client.set("k", "1", xx=True) is False
    assert await client.set("k", "1", px=50_000) is True
    assert 45_000 <= admin.pttl("k") <= 50_000
    assert await client.set("k", "2", keepttl=True) is True
    assert 40_000 <= admin.pttl("k") <= 50_000
    assert await client.set("k", "3", xx=True) is True
    assert admin.ttl("k") == -1
    assert await client.set("k", "4", exat=int(time.time()) + 100) is True
    assert 95 <= admin.ttl("k") <= 100
    assert await client.set("k", "5", pxat=int(time.time() * 1000) + 50_000) is True
    assert 45 <= admin.ttl("k") <= 50


async def test_set_with_get_answers_the_value_before(client, admin, said):
    assert await client.set("k", "1", get=True) is None
    assert await client.set("k", "2", get=True, ex=60) == "1"
    assert admin.get("k") == "2"
    assert await client.set("k", "3", get=False) is True
    admin.lpush("list", "x")
    assert await client.set("list", "v", get=True) is False
    assert [level for level, _ in said()] == ["ERROR"]


def test_set_has_all_options_of_redis_py():
    theirs = set(inspect.signature(redis.asyncio.Redis.set).parameters) - {"self", "name"}
    assert theirs - {"value", "ex", "nx"} == module._SET_OPTIONS


@pytest.mark.parametrize("options", [{"expire": 3}, {"ex": 1, "nxx": True}])
def test_an_option_that_does_not_exist_is_a_type_error_at_once(options):
    with pytest.raises(TypeError, match=r"set\(\) got an unexpected keyword argument"):
        RedisClient().set("k", "v", **options)


@pytest.mark.both_loops
async def test_hset_in_all_four_forms(client, admin):
    fields = {"name": "John Doe", "age": 25}
    assert await client.hset("user:123", fields) == 2
    assert await client.hset("user:123", mapping={"age": "26", "city": "New York"}) == 1
    assert await client.hset("user:123", "email", "john@example.com") == 1
    assert await client.hset("user:123", key="visits", value=0) == 1
    assert await client.hset("user:123", "note", "") == 1
    assert admin.hgetall("user:123") == {
        "name": "John Doe",
        "age": "26",
        "city": "New York",
        "email": "john@example.com",
        "visits": "0",
        "note": "",
    }
    assert fields == {"name": "John Doe", "age": 25}


async def test_hset_takes_any_mapping_and_both_forms_together(client, admin):
    assert await client.hset("h", types.MappingProxyType({"a": "1"})) == 1
    assert await client.hset("h", "b", "2", {"c": "3"}) == 2
    assert admin.hgetall("h") == {"a": "1", "b": "2", "c": "3"}


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), (("field",), {}), ((), {"key": "f"}), ((), {"value": "v"}), ((None, "v"), {})],
)
async def test_hset_without_anything_to_set_is_a_value_error(client, args, kwargs):
    call = client.hset("h", *args, **kwargs)
    with pytest.raises(ValueError, match="Either provide"):
        await call


@pytest.mark.parametrize("call", [({},), ("f", {"not": "a value"}), (None, None, {})])
async def test_hset_with_something_unfit_is_redis_pys_error(client, call):
    with pytest.raises(DataError):
        await client.hset("h", *call)
    assert await client.ping() is True


@pytest.mark.both_loops
async def test_the_other_hash_methods(client):
    await client.hset("h", {"a": "1", "b": "zwei"})
    assert await client.hget("h", "b") == "zwei"
    assert await client.hget("h", "missing") is None
    assert await client.hgetall("h") == {"a": "1", "b": "zwei"}
    assert await client.hgetall("missing") == {}
    assert await client.hincrby("h", "login_count", 1) == 1
    assert await client.hincrby("h", "login_count") == 2
    assert await client.hincrby("h", "login_count", amount=-5) == -3


@pytest.mark.both_loops
async def test_exists_expire_delete(client, admin):
    await client.set("k", "v")
    assert await client.exists("k") is True
    assert await client.exists("missing") is False
    assert await client.expire("k", 100) is True
    assert 95 <= admin.ttl("k") <= 100
    assert await client.expire("k", time=datetime.timedelta(minutes=1)) is True
    assert 55 <= admin.ttl("k") <= 60
    assert await client.expire("missing", 100) is False
    await client.set("l", "v")
    assert await client.delete("k", "l", "missing") == 2
    assert await client.delete("k") == 0
    many = [f"k{i}" for i in range(1500)]
    admin.mset(dict.fromkeys(many, ""))
    assert await client.delete(*many) == 1500


@pytest.mark.both_loops
async def test_ping_info_and_connection_info(client, admin):
    assert await client.ping() is True
    everything = await client.info()
    assert {"redis_version", "used_memory", "keyspace_hits"} <= everything.keys()
    assert isinstance(everything["uptime_in_seconds"], int)
    memory = await client.info("memory")
    assert isinstance(memory["used_memory"], int)
    assert "redis_version" not in memory
    assert (await client.info(section="memory")).keys() == memory.keys()
    admin.ping()  # connects
    found = await client.get_connection_info()
    assert list(found) == [
        "connected_clients",
        "client_recent_max_input_buffer",
        "client_recent_max_output_buffer",
    ]
    assert found["connected_clients"] == admin.info("clients")["connected_clients"]


async def test_values_of_info_are_those_of_redis_py(client, server):
    async with redis.asyncio.Redis(**server.kwargs) as reference:
        theirs = await reference.info()
    ours = await client.info()
    assert ours.keys() == theirs.keys()
    assert {k: type(v) for k, v in ours.items()} == {k: type(v) for k, v in theirs.items()}


async def test_bytes_where_decoding_is_switched_off(server):
    client = RedisClient(server.kwargs, decode_responses=False)
    await client.initialize()
    try:
        assert await client.set("k", "v", nx=True) is True
        assert await client.get("k") == b"v"
        await client.hset("h", {"a": "1"})
        assert await client.hgetall("h") == {b"a": b"1"}
        assert await client.ping() is True
    finally:
        await client.close()


def test_signatures_are_the_documented_ones():
    expected = {
        "get": ["key"],
        "hget": ["name", "key"],
        "hgetall": ["name"],
        "exists": ["name"],
        "expire": ["name", "time"],
        "ping": [],
        "get_client": [],
        "get_connection_info": [],
        "initialize": [],
        "close": [],
    }
    for name, names in expected.items():
        assert list(inspect.signature(getattr(RedisClient(), name)).parameters) == names
    assert str(inspect.signature(RedisClient().set)).startswith("(key: 'Key', value: 'Value', ex:")
    assert list(inspect.signature(RedisClient().set).parameters)[:4] == ["key", "value", "ex", "nx"]
    hincrby = inspect.signature(RedisClient().hincrby).parameters
    assert list(hincrby) == ["name", "key", "amount"]
    assert hincrby["amount"].default == 1
    assert list(inspect.signature(RedisClient().hset).parameters) == [
        "name",
        "key",
        "value",
        "mapping",
    ]
    assert inspect.signature(RedisClient().info).parameters["section"].default is None
    assert inspect.signature(RedisClient().delete).parameters["keys"].kind == 2  # *keys
    assert inspect.signature(module.initialize_redis_client).parameters["config"].default is None


# ------------------------------------------------------------- the awaitables

CALLS = {
    "set": ("k", "v"),
    "get": ("k",),
    "delete": ("k",),
    "ping": (),
    "info": (),
    "hset": ("h", {"a": "1"}),
    "hget": ("h", "a"),
    "hgetall": ("h",),
    "hincrby": ("h", "n"),
    "exists": ("k",),
    "expire": ("k", 100),
    "get_connection_info": (),
}
ANSWERS = {
    "set": True,
    "get": None,
    "delete": 0,
    "ping": True,
    "hset": 1,
    "hget": None,
    "hgetall": {},
    "hincrby": 1,
    "exists": False,
    "expire": False,
}


@pytest.mark.both_loops
@pytest.mark.parametrize("name", sorted(ANSWERS))
async def test_every_asyncio_consumer_takes_what_a_method_returns(client, admin, name):
    async def each(consume):
        admin.flushdb()
        call = getattr(client, name)(*CALLS[name])
        assert asyncio.iscoroutine(call)
        result = await consume(call)
        assert result == ANSWERS[name]
        assert type(result) is type(ANSWERS[name])

    async def plain(call):
        return await call

    async def task(call):
        return await asyncio.get_running_loop().create_task(call)

    async def wait(call):
        done, _ = await asyncio.wait([asyncio.ensure_future(call)])
        return done.pop().result()

    await each(plain)
    await each(task)
    await each(wait)
    await each(lambda call: asyncio.wait_for(call, 5))
    await each(asyncio.shield)
    await each(lambda call: next(asyncio.as_completed([call])))
    await each(lambda call: _first(asyncio.gather(call)))


async def _first(gathering):
    return (await gathering)[0]


@pytest.mark.parametrize("name", sorted(CALLS))
async def test_nothing_is_sent_before_it_is_awaited(client, admin, name):
    admin.config_resetstat()
    call = getattr(client, name)(*CALLS[name])
    await asyncio.sleep(0.02)
    command = "info" if name == "get_connection_info" else name
    sent = {k: v["calls"] for k, v in admin.info("commandstats").items()}
    assert sent.get(f"cmdstat_{command}", 0) <= (1 if command == "info" else 0)
    call.close()
    assert admin.dbsize() == 0


async def test_a_call_that_is_never_awaited_warns_like_a_coroutine(client):
    gc.collect()  # what earlier tests have left would be told here, too
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.get("k")
        gc.collect()
    assert [w.category for w in caught] == [RuntimeWarning]
    assert "never awaited" in str(caught[0].message)


async def test_cancelling_is_no_error(client, said):
    task = asyncio.ensure_future(client.get("k"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert said() == []
    assert await client.ping() is True


@pytest.mark.both_loops
async def test_many_at_once_wait_instead_of_failing(server, said):
    client = RedisClient(server.kwargs, max_connections=20)
    await client.initialize()
    try:
        said()
        assert await asyncio.gather(*(client.set(f"k{i}", str(i)) for i in range(500))) == (
            [True] * 500
        )
        assert await asyncio.gather(*(client.get(f"k{i}") for i in range(500))) == (
            [str(i) for i in range(500)]
        )
        assert said() == []
    finally:
        await client.close()


# --------------------------------------------------------------- error policy

SWALLOWED = {
    "set": (("key-1", "v"), False, "Redis set failed for key key-1: {}"),
    "get": (("key-1",), None, "Redis get failed for key key-1: {}"),
    "delete": (("key-1", "key-2"), 0, "Redis delete failed: {}"),
    "ping": ((), False, "Redis ping failed: {}"),
    "info": (("memory",), {}, "Redis info failed: {}"),
    "get_connection_info": ((), {}, "Failed to get connection info: {}"),
}
RAISED = sorted(set(CALLS) - set(SWALLOWED))


@pytest.mark.parametrize("name", sorted(SWALLOWED))
async def test_before_initialize_the_runtime_error_is_logged(name, said):
    args, answer, message = SWALLOWED[name]
    call = getattr(RedisClient(), name)(*args)
    assert said() == []  # nothing happens before it is awaited
    result = await call
    assert result == answer
    assert type(result) is type(answer)
    assert said() == [("ERROR", message.format(NOT_INITIALIZED))]


@pytest.mark.parametrize("name", RAISED)
async def test_before_initialize_the_runtime_error_passes_through(name, said):
    call = getattr(RedisClient(), name)(*CALLS[name])
    with pytest.raises(RuntimeError) as caught:
        await call
    assert str(caught.value) == NOT_INITIALIZED
    assert said() == []


@pytest.fixture
async def orphan(start_server):
    """An initialized client whose server has gone."""
    server = start_server()
    client = RedisClient(server.kwargs, socket_connect_timeout=1, socket_timeout=1)
    await client.initialize()
    server.kill()
    yield client
    await client.close()


@pytest.mark.both_loops
@pytest.mark.parametrize("name", sorted(SWALLOWED))
async def test_an_error_of_the_connection_is_logged(orphan, said, name):
    args, answer, message = SWALLOWED[name]
    said()
    result = await getattr(orphan, name)(*args)
    assert result == answer
    assert type(result) is type(answer)
    [(level, text)] = said()
    assert level == "ERROR"
    start = message.format("")
    assert text.startswith(start)
    assert len(text) > len(start)


@pytest.mark.both_loops
@pytest.mark.parametrize("name", RAISED)
async def test_an_error_of_the_connection_passes_through(orphan, said, name):
    said()
    with pytest.raises(ConnectionError):
        await getattr(orphan, name)(*CALLS[name])
    assert said() == []


async def test_an_error_of_the_server_is_logged_or_passes_through(client, admin, said):
    admin.lpush("list", "x")
    said()
    assert await client.get("list") is None
    [(level, text)] = said()
    assert level == "ERROR"
    assert text.startswith("Redis get failed for key list: WRONGTYPE")
    assert (
        await client.info(
            "x",
        )
        == {}
    )
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await client.hget("list", "a")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await client.hset("list", {"a": "1"})
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await client.hgetall("list")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await client.hincrby("list", "a")
    assert await client.delete() == 0
    assert await client.ping() is True


@pytest.mark.parametrize(
    ("args", "options"),
    [
        (("key-1", None), {}),
        (("key-1", {"a": 1}), {}),
        (("key-1", True), {}),
        (("key-1", "v"), {"ex": "soon"}),
        (("key-1", "v"), {"nx": True, "xx": True}),
    ],
)
async def test_arguments_that_cannot_be_sent_are_logged(client, admin, said, args, options):
    said()
    assert await client.set(*args, **options) is False
    [(level, text)] = said()
    assert level == "ERROR"
    assert text.startswith("Redis set failed for key key-1: ")
    assert await client.get(None) is None
    assert said()[0][1].startswith("Redis get failed for key None: ")
    assert admin.dbsize() == 0
    assert await client.ping() is True


async def test_what_is_not_an_exception_is_never_swallowed(client, monkeypatch, said):
    async def interrupted():
        raise KeyboardInterrupt

    class Interrupted:
        def get(self, key):
            return interrupted()

    said()
    monkeypatch.setattr(client, "_client", Interrupted())
    call = client.get("k")
    with pytest.raises(KeyboardInterrupt):
        call.send(None)
    assert said() == []


async def test_a_client_put_in_its_place_by_a_test_is_used(client, monkeypatch, said):
    class Fake:
        async def get(self, key):
            return f"fake {key}"

        async def exists(self, name):
            return 1

        async def delete(self, *keys):
            raise ResponseError("no")

    said()
    monkeypatch.setattr(client, "_client", Fake())
    assert await client.get("k") == "fake k"
    assert await client.exists("k") is True
    assert await client.delete("k") == 0
    assert said() == [("ERROR", "Redis delete failed: no")]


@pytest.fixture
async def through_proxy(start_server):
    """A client, and the proxy between it and its server."""
    server = start_server()
    with FaultProxy(server.host, server.port) as proxy:
        client = RedisClient({**server.kwargs, **proxy.kwargs})
        await client.initialize()
        yield client, proxy, server
        await client.close()


@pytest.mark.both_loops
async def test_a_read_on_a_connection_that_is_lost_is_repeated(through_proxy, said):
    client, proxy, _ = through_proxy
    await client.set("k", "v")
    said()
    proxy.to_client.cut_after = 1
    assert await client.get("k") == "v"
    proxy.cut()
    assert await asyncio.gather(*(client.get("k") for _ in range(20))) == ["v"] * 20
    assert proxy.connections == 3
    assert said() == []


@pytest.mark.both_loops
async def test_an_increment_on_a_connection_that_is_lost_is_not_repeated(through_proxy):
    client, proxy, server = through_proxy
    proxy.to_client.cut_after = 1
    with pytest.raises(OutcomeUnknownError):
        await client.hincrby("h", "n")
    assert server.cli("HGET", "h", "n") == "1"
    assert await client.hincrby("h", "n") == 2


@pytest.mark.both_loops
async def test_a_lock_on_a_connection_that_is_lost_is_not_repeated(through_proxy, said):
    client, proxy, server = through_proxy
    said()
    proxy.to_client.cut_after = 1
    assert await client.set("lock", "me", nx=True) is False
    assert server.cli("GET", "lock") == "me"  # set nevertheless: the log says that none knows
    [(_, text)] = said()
    assert text.startswith("Redis set failed for key lock: ")


@pytest.mark.both_loops
async def test_a_server_that_is_started_anew_is_found_again(through_proxy, said):
    client, _, server = through_proxy
    server.restart()
    said()
    assert await client.set("k", "v") is True
    assert said() == []


async def test_a_retry_policy_of_ones_own_is_kept(server):
    for retry in (
        redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 7),
        redis.retry.Retry(redis.backoff.NoBackoff(), 7),
    ):
        client = RedisClient(server.kwargs, retry=retry)
        await client.initialize()
        found = (await client.get_client()).get_retry()
        assert isinstance(found, redis.asyncio.retry.Retry)
        assert found.get_retries() == 7
        assert await client.set("k", "v") is True
        await client.close()


# -------------------------------------------------------------- the Redis below


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")
async def test_get_client_gives_a_redis_asyncio_client(client, admin):
    below = await client.get_client()
    assert isinstance(below, redis.asyncio.Redis)
    assert isinstance(below, aiecs_redis.Redis)
    assert await client.get_client() is below
    pipe = below.pipeline()
    pipe.hincrby("user:1", "score", 5)
    pipe.hget("user:1", "score")
    assert await pipe.execute() == [5, "5"]
    assert await below.eval("return {KEYS[1], ARGV[1]}", 1, "k", 7) == ["k", "7"]
    await below.execute_command("MEMORY", "PURGE")
    await below.setex("s", 60, "x")
    assert await below.lpush("l", "a", "b") == 2
    assert [key async for key in below.scan_iter(match="s*")] == ["s"]
    assert await below.delete("s", "l") == 2


async def test_get_client_before_initialize():
    with pytest.raises(RuntimeError) as caught:
        await RedisClient().get_client()
    assert str(caught.value) == NOT_INITIALIZED


async def test_settings_arrive_at_the_connection(server, admin):
    client = RedisClient(server.kwargs, client_name="documented", protocol=2)
    await client.initialize()
    try:
        mine = [c for c in admin.client_list() if c["name"] == "documented"]
        assert [c["db"] for c in mine] == [str(server.kwargs["db"])]
        pool = (await client.get_client()).connection_pool
        assert pool.max_connections == 20
        assert pool.connection_kwargs["decode_responses"] is True
    finally:
        await client.close()


# ------------------------------------------------------------------ life cycle


@pytest.mark.both_loops
async def test_initialize_reads_the_environment_and_says_so(environment, server, said):
    client = RedisClient()
    await client.initialize()
    where = f"{server.kwargs.get('host')}:{server.kwargs.get('port')}/{server.kwargs['db']}"
    assert said() == [("INFO", f"Redis client initialized successfully: {where}")]
    assert await client.set("k", "v") is True
    await client.close()
    assert said() == [("INFO", "Redis client closed")]


async def test_the_environment_is_read_at_initialize_not_before(no_environment, server, said):
    client = RedisClient()
    no_environment.setenv("REDIS_URL", server.url)
    await client.initialize()
    assert await client.ping() is True
    await client.close()


async def test_config_and_keywords(server, no_environment):
    no_environment.setenv("REDIS_PORT", "1")
    for client in (
        RedisClient(server.kwargs),
        RedisClient(config=server.kwargs),
        RedisClient(**server.kwargs),
        RedisClient({**server.kwargs, "db": 99}, db=server.kwargs["db"]),
        RedisClient(url=server.url),
        RedisClient({"url": server.url}),
    ):
        await client.initialize()
        assert await client.ping() is True
        await client.close()


def test_a_wrong_config_is_an_error_at_once():
    with pytest.raises(ValueError, match="max_connections=-1"):
        RedisClient({"max_connections": -1})
    with pytest.raises(ValueError, match="did you mean 'host'"):
        RedisClient(hsot="h")
    with pytest.raises(TypeError, match="dictionary"):
        RedisClient("redis://localhost")


async def test_a_wrong_environment_is_an_error_of_initialize(no_environment, said):
    no_environment.setenv("REDIS_PORT", "abc")
    client = RedisClient()
    with pytest.raises(ValueError, match="REDIS_PORT='abc'"):
        await client.initialize()
    [(level, text)] = said()
    assert level == "ERROR"
    assert text.startswith("Failed to initialize Redis client: REDIS_PORT='abc' ")
    assert await client.ping() is False


async def test_the_config_given_may_be_changed_afterwards(server):
    config = dict(server.kwargs)
    client = RedisClient(config)
    config["port"] = 1
    await client.initialize()
    await client.close()


@pytest.mark.both_loops
async def test_a_server_that_is_down_is_reported_quickly(said):
    port = free_port()
    client = RedisClient(host="127.0.0.1", port=port, password=SECRET)
    began = time.monotonic()
    with pytest.raises(ConnectionError) as caught:
        await client.initialize()
    assert time.monotonic() - began < 2
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert SECRET not in str(caught.value)
    [(level, text)] = said()
    assert (level, text) == ("ERROR", f"Failed to initialize Redis client: {caught.value}")
    assert repr(client) == "<RedisClient not initialized>"
    assert await client.get("k") is None
    assert said() == [("ERROR", f"Redis get failed for key k: {NOT_INITIALIZED}")]


async def test_a_host_that_does_not_exist_is_named(said):
    client = RedisClient(host="no-such-host.invalid")
    with pytest.raises(RedisError, match=r"no-such-host\.invalid"):
        await client.initialize()


async def test_a_socket_that_does_not_exist_is_named(tmp_path):
    path = str(tmp_path / "none.sock")
    with pytest.raises(ConnectionError, match=r"none\.sock"):
        await RedisClient(unix_socket_path=path).initialize()


@pytest.mark.both_loops
async def test_after_a_failure_the_client_may_be_tried_again(start_server, said):
    server = start_server()
    server.kill()
    client = RedisClient(server.kwargs)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await client.initialize()
    server.restart()
    await client.initialize()
    assert await client.ping() is True
    await client.close()


@pytest.mark.both_loops
@pytest.mark.parametrize("password", [SECRET, None])
async def test_a_wrong_password_is_an_error_with_host_and_port(start_server, said, password):
    server = start_server(requirepass="right")
    client = RedisClient(server.kwargs, password=password)
    with pytest.raises(AuthenticationError) as caught:
        await client.initialize()
    assert f"127.0.0.1:{server.port}" in str(caught.value)
    assert SECRET not in str(caught.value) + repr(said()) + repr(client)
    assert len(server.connect().client_list()) == 1  # this one
    assert await client.ping() is False


async def test_a_server_that_does_not_answer_is_named_and_given_up(start_server):
    server = start_server()
    server.pause()
    client = RedisClient(server.kwargs, socket_timeout=0.3, socket_connect_timeout=0.3)
    began = time.monotonic()
    with pytest.raises(RedisError, match=f"127.0.0.1:{server.port}"):
        await client.initialize()
    assert time.monotonic() - began < 3
    server.resume()
    await client.initialize()
    await client.close()


async def test_initialize_again_tests_the_connection_again(server, admin, start_server):
    client = RedisClient(server.kwargs, client_name=COUNTED)
    await client.initialize()
    below = await client.get_client()
    await client.initialize()
    assert await client.get_client() is below
    assert connections(admin) == 1
    await client.close()
    other = start_server()
    client = RedisClient(other.kwargs)
    await client.initialize()
    other.kill()
    with pytest.raises(ConnectionError):
        await client.initialize()
    other.restart()
    assert await client.ping() is True
    await client.close()


@pytest.mark.both_loops
async def test_concurrent_initialize_of_one_client(server, admin, said):
    client = RedisClient(server.kwargs, client_name=COUNTED)
    await asyncio.gather(*(client.initialize() for _ in range(20)))
    assert len(said()) == 1
    assert connections(admin) == 1
    await client.close()


@pytest.mark.both_loops
async def test_close_leaves_no_connection_and_may_be_called_twice(server, admin, said):
    client = RedisClient(server.kwargs, client_name=COUNTED)
    await client.close()
    assert said() == []
    await client.initialize()
    await asyncio.gather(*(client.get("k") for _ in range(100)))
    said()
    await client.close()
    await client.close()
    assert said() == [("INFO", "Redis client closed")]
    for _ in range(100):
        if connections(admin) == 0:
            break
        await asyncio.sleep(0.01)
    assert connections(admin) == 0
    assert await client.get("k") is None
    with pytest.raises(RuntimeError):
        await client.hget("h", "a")


@pytest.mark.both_loops
async def test_concurrent_close(server, said):
    client = RedisClient(server.kwargs)
    await client.initialize()
    said()
    await asyncio.gather(*(client.close() for _ in range(10)))
    assert said() == [("INFO", "Redis client closed")]


@pytest.mark.both_loops
async def test_usable_again_after_close_and_initialize(server):
    client = RedisClient(server.kwargs)
    for _ in range(3):
        await client.initialize()
        assert await client.set("k", "v") is True
        await client.close()


async def test_close_while_commands_run(server, said):
    client = RedisClient(server.kwargs)
    await client.initialize()
    calls = [asyncio.ensure_future(client.get(f"k{i}")) for i in range(50)]
    await asyncio.sleep(0)
    await client.close()
    assert set(await asyncio.wait_for(asyncio.gather(*calls), 5)) == {None}


async def test_repr_shows_the_server_and_no_password(start_server):
    server = start_server(requirepass=SECRET)
    client = RedisClient(server.kwargs)
    assert repr(client) == "<RedisClient not initialized>"
    await client.initialize()
    assert repr(client) == f"<RedisClient connected to 127.0.0.1:{server.port}/0>"
    await client.close()
    assert repr(client) == "<RedisClient not initialized>"


async def test_several_instances_beside_each_other(server, client):
    other = RedisClient(server.kwargs)
    never = RedisClient(server.kwargs)
    await other.initialize()
    await client.set("k", "v")
    assert await other.get("k") == "v"
    await other.close()
    assert await client.get("k") == "v"
    assert await never.get("k") is None


# ------------------------------------------------------------ several event loops


def new_loop(kind):
    if kind == "uvloop":
        return pytest.importorskip("uvloop").new_event_loop()
    return asyncio.new_event_loop()


def run(kind, coroutine):
    loop = new_loop(kind)
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_a_second_loop_without_close(server, kind, said):
    client = RedisClient(server.kwargs)

    async def first():
        await client.initialize()
        return await client.set("k", "1")

    async def next_one(i):
        await asyncio.gather(*(client.hincrby("h", "n") for _ in range(10)))
        return await client.get("k"), await client.set("k", str(i))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(kind, first()) is True
        said()
        for i in range(2, 6):
            assert run(kind, next_one(i)) == (str(i - 1), True)
        gc.collect()
        run(kind, client.close())
        gc.collect()
    assert said() == [("INFO", "Redis client closed")]


def test_one_instance_in_several_threads(server, said):
    client = RedisClient(server.kwargs)
    results, errors = [], []

    async def work(n):
        await client.initialize()
        await asyncio.gather(*(client.hincrby("h", "n") for _ in range(50)))
        results.append(await client.set(f"k{n}", "v"))

    def thread(n):
        try:
            run("asyncio", work(n))
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=thread, args=(n,)) for n in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert (results, errors) == ([True] * 8, [])
    assert len([m for m in said() if "initialized successfully" in m[1]]) == 1

    async def check():
        try:
            return await client.hget("h", "n")
        finally:
            await client.close()

    assert run("asyncio", check()) == "400"


def test_the_shared_instance_is_one_for_several_threads(environment, said):
    barrier = threading.Barrier(8)
    seen, errors = [], []

    async def work():
        await module.initialize_redis_client()
        client = await module.get_redis_client()
        seen.append(client)
        assert await client.ping() is True

    def thread():
        try:
            barrier.wait()
            run("asyncio", work())
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=thread) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert errors == []
    assert len(seen) == 8
    assert set(seen) == {module.redis_client}
    run("asyncio", module.close_redis_client())


# ------------------------------------------------------------------ the globals


@pytest.mark.both_loops
async def test_the_shared_instance(environment, said):
    with pytest.raises(RuntimeError) as caught:
        await module.get_redis_client()
    assert str(caught.value) == NO_GLOBAL
    assert await module.initialize_redis_client() is None
    client = await module.get_redis_client()
    assert isinstance(client, RedisClient)
    assert client is module.redis_client
    await module.initialize_redis_client()
    assert module.redis_client is client
    assert await client.ping() is True
    assert [level for level, _ in said()] == ["INFO"]
    await module.close_redis_client()
    assert module.redis_client is None
    assert said() == [("INFO", "Redis client closed")]
    await module.close_redis_client()
    with pytest.raises(RuntimeError):
        await module.get_redis_client()
    await module.initialize_redis_client()
    assert module.redis_client is not client
    await module.close_redis_client()


async def test_the_shared_instance_with_a_config(server, no_environment):
    no_environment.setenv("REDIS_PORT", "1")
    await module.initialize_redis_client(server.kwargs)
    assert await module.redis_client.ping() is True
    await module.close_redis_client()
    await module.initialize_redis_client(config={"url": server.url})
    await module.close_redis_client()


@pytest.mark.both_loops
async def test_concurrent_calls_give_one_instance(environment, admin, said):
    environment.setenv("REDIS_CLIENT_NAME", COUNTED)
    await asyncio.gather(*(module.initialize_redis_client() for _ in range(50)))
    assert connections(admin) == 1
    assert len(said()) == 1
    client = module.redis_client
    await asyncio.gather(*(module.close_redis_client() for _ in range(10)))
    assert client is not None
    assert said() == [("INFO", "Redis client closed")]


@pytest.mark.both_loops
async def test_a_failure_leaves_no_shared_instance(start_server, no_environment, said):
    server = start_server()
    server.kill()
    no_environment.setenv("REDIS_HOST", server.host)
    no_environment.setenv("REDIS_PORT", str(server.port))
    calls = (module.initialize_redis_client() for _ in range(10))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(r) for r in results} == {ConnectionError}
    assert len(said()) == 1
    assert module.redis_client is None
    with pytest.raises(RuntimeError):
        await module.get_redis_client()
    server.restart()
    await module.initialize_redis_client()
    assert await module.redis_client.ping() is True
    await module.close_redis_client()


async def test_a_wrong_config_leaves_no_shared_instance():
    with pytest.raises(ValueError, match="prot"):
        await module.initialize_redis_client({"prot": 1})
    assert module.redis_client is None


async def test_who_is_cancelled_does_not_take_the_others_along(environment, start_server):
    server = start_server()
    server.pause()
    config = {"host": server.host, "port": server.port, "db": 0}
    first = asyncio.ensure_future(module.initialize_redis_client(config))
    others = [asyncio.ensure_future(module.initialize_redis_client(config)) for _ in range(3)]
    await asyncio.sleep(0.05)
    first.cancel()
    others[0].cancel()
    await asyncio.sleep(0.05)
    server.resume()
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.gather(*others[1:])
    assert await module.redis_client.ping() is True
    await module.close_redis_client()
    await asyncio.sleep(0.05)
    assert len(server.connect().client_list()) == 1  # this one


# -------------------------------------------------------- one module, two names


def test_both_ways_to_the_module_are_one():
    assert aiecs_redis.redis_client is module
    for name in (
        "RedisClient",
        "initialize_redis_client",
        "get_redis_client",
        "close_redis_client",
    ):
        assert getattr(aiecs_redis, name) is getattr(module, name)


@pytest.fixture
def aiecs(tmp_path, monkeypatch):
    """A package aiecs whose redis_client.py consists of the line that the documentation gives."""
    lines = [line.strip() for line in module.__doc__.splitlines() if "alias(__name__)" in line]
    assert len(lines) == 1
    folder = tmp_path / "aiecs" / "infrastructure" / "persistence"
    folder.mkdir(parents=True)
    for each in (folder, folder.parent, folder.parent.parent):
        (each / "__init__.py").write_text("")
    (folder / "__init__.py").write_text("from .redis_client import RedisClient, get_redis_client\n")
    (folder / "redis_client.py").write_text(lines[0] + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(aiecs_redis.__file__).parents[1]))
    yield tmp_path
    for name in [n for n in sys.modules if n.partition(".")[0] == "aiecs"]:
        del sys.modules[name]


async def test_the_one_line_module(aiecs, environment, monkeypatch):
    import aiecs.infrastructure.persistence.redis_client as plain
    from aiecs.infrastructure.persistence import RedisClient as Class
    from aiecs.infrastructure.persistence import redis_client as submodule

    assert plain is submodule is module
    assert Class is RedisClient
    assert plain.redis_client is None
    await plain.initialize_redis_client()
    from aiecs.infrastructure.persistence.redis_client import redis_client as there

    from aiecs_redis.redis_client import redis_client as here

    assert there is here is module.redis_client is not None
    path = "aiecs.infrastructure.persistence.redis_client"
    with monkeypatch.context() as patch:
        patch.setattr(f"{path}.redis_client", "patched")
        assert await module.get_redis_client() == "patched"
    with unittest.mock.patch(f"{path}.redis_client", "mocked"):
        assert await module.get_redis_client() == "mocked"
    with unittest.mock.patch("aiecs_redis.redis_client.redis_client", "mocked"):
        assert await plain.get_redis_client() == plain.redis_client == "mocked"
    assert plain.redis_client is module.redis_client is here
    await module.close_redis_client()
    assert plain.redis_client is None
    assert module.__name__ == "aiecs_redis.redis_client"


async def test_importing_everything_from_the_one_line_module(aiecs):
    names = {}
    exec("from aiecs.infrastructure.persistence.redis_client import *", names)
    assert names["initialize_redis_client"] is module.initialize_redis_client
    with pytest.raises(ImportError):
        exec("from aiecs.infrastructure.persistence.redis_client import nothing", names)


@pytest.mark.parametrize("first", ["aiecs_redis.redis_client", "aiecs_redis", "aiecs"])
def test_the_one_line_module_in_any_order_of_import(aiecs, first):
    script = (
        f"import {first}\n"
        "import aiecs.infrastructure.persistence.redis_client as a\n"
        "import aiecs_redis.redis_client as b\n"
        "from aiecs.infrastructure.persistence import redis_client as c\n"
        "assert a is b is c\n"
        "b.redis_client = 1\n"
        "assert a.redis_client == 1\n"
        "a.redis_client = 2\n"
        "assert b.redis_client == 2\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=aiecs, timeout=60)


def test_the_one_line_module_as_a_script(aiecs):
    command = [sys.executable, "-m", "aiecs.infrastructure.persistence.redis_client"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=aiecs, timeout=60)
    assert done.returncode == 0, done.stderr
    (aiecs / "aiecs" / "infrastructure" / "persistence" / "__init__.py").write_text("")
    subprocess.run(command, check=True, cwd=aiecs, timeout=60)


# --------------------------------------------------------------- single flight


async def test_single_flight_shares_one_run():
    flight, runs = SingleFlight(), []

    async def attempt():
        runs.append(1)
        await asyncio.sleep(0.01)

    await asyncio.gather(*(flight.run(attempt) for _ in range(5)))
    assert len(runs) == 1
    await flight.run(attempt)
    assert len(runs) == 2
    assert flight._flights == {}


async def test_single_flight_shares_the_failure_but_does_not_keep_it():
    flight, runs = SingleFlight(), []

    async def attempt():
        runs.append(1)
        await asyncio.sleep(0)
        if len(runs) == 1:
            raise LookupError("once")

    results = await asyncio.gather(*(flight.run(attempt) for _ in range(3)), return_exceptions=True)
    assert [str(r) for r in results] == ["once"] * 3
    await flight.run(attempt)
    assert len(runs) == 2


async def test_single_flight_is_taken_over_when_its_runner_is_cancelled():
    flight, runs = SingleFlight(), []

    async def attempt():
        runs.append(1)
        await asyncio.sleep(0.02)

    tasks = [asyncio.ensure_future(flight.run(attempt)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.gather(*tasks[1:])
    assert tasks[0].cancelled()
    assert len(runs) == 2


async def test_cancelling_one_who_waits_leaves_the_run_alone():
    flight, done = SingleFlight(), []

    async def attempt():
        await asyncio.sleep(0.02)
        done.append(1)

    tasks = [asyncio.ensure_future(flight.run(attempt)) for _ in range(2)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await tasks[0]
    assert tasks[1].cancelled()
    assert done == [1]
