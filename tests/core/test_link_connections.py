"""The native Connection classes, driven the way redis-py drives its own."""

import asyncio
import codecs
import gc
import warnings

import pytest
import redis.asyncio
import redis.exceptions

import aiecs_redis
from aiecs_redis.testing import RedisServer


@pytest.fixture(scope="module", params=["tcp", "tls", "unix"])
def server(request):
    options = {"tcp": {}, "tls": {"tls": True}, "unix": {"unix_socket": True}}[request.param]
    with RedisServer(requirepass="secret", **options) as server:
        yield server


def pool_of(server, **options):
    settings = {**server.kwargs, **options}
    if settings.pop("ssl", False):
        settings["connection_class"] = redis.asyncio.SSLConnection
    if "unix_socket_path" in settings:
        settings["path"] = settings.pop("unix_socket_path")
        settings["connection_class"] = redis.asyncio.UnixDomainSocketConnection
        settings.pop("host", None)
        settings.pop("port", None)
    return aiecs_redis.ConnectionPool(**settings)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_pool_of_native_connections(server, protocol):
    pool = pool_of(server, protocol=protocol, db=3, client_name="me")
    connection = await pool.get_connection()
    assert type(connection).__module__ == "aiecs_redis.connection"
    await connection.send_command("SET", "k", b"\x00\xff")
    assert await connection.read_response() in (b"OK", "OK")
    await connection.send_packed_command(connection.pack_commands([("GET", "k"), ("DBSIZE",)]))
    assert await connection.read_response(disable_decoding=True) == b"\x00\xff"
    assert await connection.read_response() == 1
    await connection.send_command("CLIENT", "GETNAME")
    assert await connection.read_response() in (b"me", "me")
    can_read = getattr(connection, "can_read", None) or connection.can_read_destructive
    assert not await can_read()
    await pool.release(connection)
    assert await pool.get_connection() is connection
    await pool.release(connection)
    await pool.aclose()
    assert not connection.is_connected


async def test_redis_pys_own_client_runs_on_it(server):
    pool = pool_of(server)
    client = redis.asyncio.Redis.from_pool(pool)
    assert await client.set("k", "v")
    async with client.pipeline() as pipeline:
        assert await pipeline.get("k").incr("n").execute() == [b"v", 1]
    async with client.pubsub() as pubsub:
        await pubsub.subscribe("a")
        assert (await pubsub.get_message(timeout=10))["type"] == "subscribe"
        await client.publish("a", "x" * 100_000)
        assert len((await pubsub.get_message(timeout=10))["data"]) == 100_000
    await client.set("large", b"x" * 10_000_000)
    assert len(await client.get("large")) == 10_000_000
    await client.flushall()
    await client.aclose()


async def test_error_replies_and_timeouts_are_redis_pys(server):
    pool = pool_of(server, socket_timeout=0.1)
    connection = await pool.get_connection()
    await connection.send_command("NONSENSE")
    with pytest.raises(redis.exceptions.ResponseError):
        await connection.read_response()
    with pytest.raises(redis.exceptions.TimeoutError):
        await connection.read_response()
    assert not connection.is_connected
    await pool.release(connection)
    await pool.aclose()


async def test_a_wrong_password_is_refused(server):
    pool = pool_of(server, password="wrong")
    with pytest.raises(redis.exceptions.AuthenticationError):
        await pool.get_connection()
    await pool.aclose()


async def test_nobody_listens():
    connection = aiecs_redis.Connection(host="127.0.0.1", port=1)
    with pytest.raises(redis.exceptions.ConnectionError, match="127.0.0.1:1"):
        await connection.connect()


async def test_a_connect_function_of_the_user(server):
    called = []

    async def connect(connection):
        called.append(connection)
        await connection.on_connect()

    pool = pool_of(server, redis_connect_func=connect)
    connection = await pool.get_connection()
    assert called == [connection]
    await pool.release(connection)
    await pool.aclose()


async def test_a_connection_that_is_dropped_says_so(server):
    connection = pool_of(server).make_connection()
    await connection.connect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del connection
        gc.collect()
    assert any(issubclass(warning.category, ResourceWarning) for warning in caught)


async def test_the_server_ends_it(server):
    pool = pool_of(server)
    connection = await pool.get_connection()
    await connection.send_command("CLIENT", "ID")
    number = await connection.read_response()
    other = await pool.get_connection()
    await other.send_command("CLIENT", "KILL", "ID", number)
    assert await other.read_response() == 1
    with pytest.raises(redis.exceptions.ConnectionError):
        await connection.read_response()
    await pool.release(connection)
    await pool.release(other)
    await pool.aclose()


async def test_watch_uses_one_connection_again_and_again(server):
    async with aiecs_redis.Redis(**server.kwargs) as client:
        for _ in range(20):
            async with client.pipeline() as pipeline:
                await pipeline.watch("counter")
                value = int(await pipeline.get("counter") or 0)
                pipeline.multi()
                assert await pipeline.set("counter", value + 1).execute() == [True]
        assert await client.get("counter") == b"20"
        assert client._native_transport.stats()["connects"] == 2


async def test_watchers_wait_for_each_other_and_count_right(server):
    async with aiecs_redis.Redis(**server.kwargs, max_connections=4) as client:
        await client.delete("counter")

        async def add(pipeline):
            value = int(await pipeline.get("counter") or 0)
            pipeline.multi()
            pipeline.set("counter", value + 1)

        await asyncio.wait_for(
            asyncio.gather(*(client.transaction(add, "counter") for _ in range(100))), 60
        )
        assert await client.get("counter") == b"100"


async def test_a_cancelled_watcher_leaves_nothing_behind(server):
    async with aiecs_redis.Redis(**server.kwargs, max_connections=2) as client:

        async def watch_for_ever():
            async with client.pipeline() as pipeline:
                await pipeline.watch("k")
                await asyncio.sleep(3600)

        for _ in range(10):
            task = asyncio.ensure_future(watch_for_ever())
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with client.pipeline() as pipeline:
            await pipeline.watch("k")
            pipeline.multi()
            assert await asyncio.wait_for(pipeline.set("k", 1).execute(), 10) == [True]


async def test_a_connection_whose_state_was_changed_is_not_lent_again(server):
    async with aiecs_redis.Redis(**server.kwargs) as client:
        async with aiecs_redis.Redis(
            connection_pool=client.connection_pool, single_connection_client=True
        ) as single:
            await single.select(5)
            await single.set("in-five", 1)
        async with client.pipeline() as pipeline:
            await pipeline.watch("in-five")
            assert await pipeline.get("in-five") is None
            await pipeline.unwatch()


async def test_a_single_connection_is_one_and_the_same(server):
    async with aiecs_redis.Redis(**server.kwargs, single_connection_client=True) as client:
        ids = await asyncio.gather(*(client.client_id() for _ in range(20)))
        assert len(set(ids)) == 1


async def test_an_error_handler_may_use_the_connection_whose_reply_it_decodes(native):
    """It gets an error, where it once ended the process."""
    found = []

    def handler(error):
        for use in (lambda: link.read(True), lambda: link.send([("PING",)]), link.close):
            try:
                use()
            except Exception as exception:
                found.append(repr(exception))
        return "?", error.end

    codecs.register_error("uses-the-connection", handler)
    link = None
    with RedisServer() as server:
        options = {"decode_responses": True, "encoding_errors": "uses-the-connection"}
        async with native(**server.kwargs, **options) as client:
            pubsub = client.pubsub()
            await pubsub.subscribe("channel")
            await pubsub.get_message(timeout=5)
            # Of all links there may be, the one that is still connected.
            links = [each for each in gc.get_objects() if type(each) is aiecs_redis._native.Link]
            (link,) = [each for each in links if each.connected]
            await client.publish("channel", b"\xff")
            message = await pubsub.get_message(timeout=5)
            await pubsub.aclose()
    assert message["data"] == "?"
    assert found == ["RuntimeError('a reply of this connection is being read')"]


async def test_a_link_connected_anew_has_nothing_of_the_connection_before():
    with RedisServer() as server:
        config = aiecs_redis._native.Config(host=server.host, port=server.port, introduce=False)
        link = aiecs_redis._native.Link(config)
        await link.connect()
        link.set_limit(1, "drop_oldest", True)  # keeps what was not published
        link.send([("ECHO", "old")])
        assert await link.wait(5)
        link.close()
        await link.connect()
        link.send([("ECHO", "new")])
        assert await link.wait(5)
        assert link.read(True) == "new"
        link.close()


async def test_what_an_overflow_keeps_is_still_known_as_a_push_or_a_reply():
    with RedisServer() as server:
        config = aiecs_redis._native.Config(host=server.host, port=server.port, protocol=3)
        link = aiecs_redis._native.Link(config)
        await link.connect()
        link.set_limit(1, "drop_oldest", True)  # keeps what was not published
        link.send([("SUBSCRIBE", "channel"), ("ECHO", "text"), ("SUBSCRIBE", "other")])
        read = []
        while len(read) < 3:
            assert await link.wait(5)
            while (reply := link.read(True)) is not aiecs_redis._native.NOT_READY:
                read.append((reply, link.pushed))
        link.close()
    assert read == [
        (["subscribe", "channel", 1], True),
        ("text", False),
        (["subscribe", "other", 2], True),
    ]
