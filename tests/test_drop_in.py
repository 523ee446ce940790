"""What redis-py's own users see, asked of redis-py and of ours alike."""

import asyncio
import copy
import inspect

import pytest
import redis
import redis.asyncio

import aiecs_redis

CLIENTS = {"redis-py": redis.asyncio.Redis, "aiecs-redis": aiecs_redis.Redis}


@pytest.fixture(params=CLIENTS)
def implementation(request):
    return CLIENTS[request.param]


@pytest.fixture
def kwargs(redis_server):
    return redis_server.kwargs


@pytest.fixture
def names(redis_server):
    """`names()`: the client names of the connections that the server has."""

    def ask():
        with redis_server.connect(decode_responses=True) as client:
            return {found["name"] for found in client.client_list()}

    return ask


async def close_client(client, pool):
    await client.aclose()


async def close_pool(client, pool):
    await pool.aclose()


async def disconnect_pool(client, pool):
    await pool.disconnect()


@pytest.mark.both_loops
@pytest.mark.parametrize("close", [close_pool, disconnect_pool])
async def test_a_pool_takes_the_connections_with_it(implementation, kwargs, names, close):
    pool = redis.asyncio.ConnectionPool(**kwargs, client_name="of-the-pool")
    client = implementation(connection_pool=pool)
    await client.ping()
    assert "of-the-pool" in names()
    await close(client, pool)
    assert "of-the-pool" not in names()
    assert await client.ping()  # usable again
    await client.aclose()
    await pool.aclose()


@pytest.mark.both_loops
@pytest.mark.parametrize("close", [close_client, close_pool, disconnect_pool])
async def test_nothing_remains_once_closing_is_awaited(implementation, kwargs, names, close):
    client = implementation(**kwargs, client_name="to-be-closed")
    await client.ping()
    await close(client, client.connection_pool)
    assert "to-be-closed" not in names()  # asked at once: without a turn of the loop
    await client.aclose()


async def test_one_pool_for_two_clients(kwargs, names):
    pool = redis.asyncio.ConnectionPool(**kwargs, client_name="shared")
    one = aiecs_redis.Redis(connection_pool=pool)
    other = aiecs_redis.Redis(connection_pool=pool)
    await asyncio.gather(one.ping(), other.ping())
    await one.aclose()
    assert "shared" in names()
    await pool.aclose()
    assert "shared" not in names()


async def test_disconnecting_what_is_idle_spares_the_rest(kwargs):
    async with aiecs_redis.Redis(**kwargs) as client:
        waiting = asyncio.ensure_future(client.blpop("nothing here", timeout=0.2))
        await client.ping()
        await client.connection_pool.disconnect(inuse_connections=False)
        assert await waiting is None


async def test_stream_reads_are_coroutines(implementation, kwargs):
    """redis-py records the lag of a stream only behind a coroutine."""
    async with implementation(**kwargs) as client:
        await client.xadd("stream", {"field": "value"}, id="1-1")
        await client.xgroup_create("stream", "group", id="0")
        for read in (
            client.xread({"stream": "0"}),
            client.xreadgroup("group", "consumer", {"stream": ">"}),
        ):
            assert inspect.iscoroutine(read)
            assert await read == [[b"stream", [(b"1-1", {b"field": b"value"})]]]
        await client.delete("stream")


async def test_from_url_warns_of_its_deprecated_argument(implementation):
    with pytest.deprecated_call():
        client = implementation.from_url("redis://", auto_close_connection_pool=False)
    assert client.auto_close_connection_pool is False


async def test_own_options_may_be_none():
    aiecs_redis.Redis(max_pending_bytes=None, pool_timeout=None)
    aiecs_redis.Redis.from_url("redis://", max_pending_bytes=None)


@pytest.mark.parametrize("raise_on_error", [True, False])
@pytest.mark.parametrize("transaction", [True, False])
async def test_a_pipeline_raises_what_is_no_answer(
    implementation, kwargs, transaction, raise_on_error
):
    client = implementation.from_pool(redis.asyncio.ConnectionPool(**kwargs))  # no retries
    async with client, client.pipeline(transaction=transaction) as pipe:
        pipe.eval("return redis.error_reply('LOADING for a test')", 0)
        with pytest.raises(redis.BusyLoadingError):
            await pipe.execute(raise_on_error=raise_on_error)


async def test_a_later_connection_error_of_a_transaction(kwargs):
    """redis-py leaves it among the results, even if it was asked to raise; ours raises then."""
    async with aiecs_redis.Redis(**kwargs) as client:
        pipe = client.pipeline()
        pipe.echo("x").eval("return redis.error_reply('LOADING for a test')", 0)
        with pytest.raises(redis.BusyLoadingError):
            await pipe.execute()
        pipe.echo("x").eval("return redis.error_reply('LOADING for a test')", 0)
        result, error = await pipe.execute(raise_on_error=False)
        assert result == b"x"
        assert isinstance(error, redis.BusyLoadingError)


async def test_timeouts_to_retry_do_not_pile_up(kwargs):
    """redis-py's connections add to the list that their pool has."""
    pool = redis.asyncio.ConnectionPool(**kwargs, retry_on_timeout=True, retry_on_error=[])
    for _ in range(2):
        client = aiecs_redis.Redis(connection_pool=pool)
        assert not client._native_retrying
    assert pool.connection_kwargs["retry_on_error"] == []
    pool.make_connection()
    assert not aiecs_redis.Redis(connection_pool=pool)._native_retrying
    pool = redis.asyncio.ConnectionPool(**kwargs, retry_on_error=[redis.BusyLoadingError])
    assert aiecs_redis.Redis(connection_pool=pool)._native_retrying


async def test_a_copy_is_a_client_of_the_same_pool(implementation, kwargs):
    class Kind(implementation):
        mine = 0

    async with Kind(**kwargs) as client:
        client.mine = 7
        copied = copy.copy(client)
        assert type(copied) is Kind and copied.mine == 7
        assert copied.connection_pool is client.connection_pool
        assert copied.response_callbacks is client.response_callbacks
        assert await copied.client_id() == await client.client_id()
        assert await copied.pipeline().set("a", 1).get("a").execute() == [True, b"1"]

        async def execute_command(*args, **options):
            return args

        client.execute_command = execute_command
        assert await copy.copy(client).get("a") == ("GET", "a")
        with pytest.raises(TypeError, match="cannot pickle"):
            copy.deepcopy(copied)


@pytest.mark.parametrize("transaction", [False, True])
async def test_a_copy_of_a_pipeline(implementation, kwargs, transaction):
    """It shares what is queued until either is executed, and nothing from then on."""
    async with implementation(**kwargs) as client:

        class Kind(type(client.pipeline())):
            mine = 0

        pipe = Kind(client.connection_pool, client.response_callbacks, transaction, None)
        pipe.mine = 7
        pipe.set("a", 1)
        echo = client.register_script("return ARGV[1]")
        await echo(args=["later"], client=pipe)
        copied = copy.copy(pipe)
        assert type(copied) is Kind and copied.mine == 7
        assert copied.incr("a") is copied and len(pipe) == len(copied) == 3
        assert await pipe.execute() == [True, b"later", 2]
        assert (len(pipe), len(copied)) == (0, 3)
        await client.script_flush()  # the copy still knows which scripts it needs
        assert await copied.execute() == [True, b"later", 2]
        copied.get("a")
        assert await pipe.ping().execute() == [True]
        assert await copied.execute() == [b"2"]
        with pytest.raises(TypeError, match="cannot pickle"):
            copy.deepcopy(copied)


async def test_a_copy_of_a_pipeline_that_watches(kwargs):
    """It works on the same connection; redis-py's pool has it given back twice, and fails."""
    async with aiecs_redis.Redis(**kwargs) as client, client.pipeline() as pipe:
        await pipe.watch("watched")
        copied = copy.copy(pipe)
        assert await copied.echo("at once") == b"at once"
        copied.multi()
        copied.get("watched")
        await client.set("watched", 2)
        with pytest.raises(redis.WatchError):
            await copied.execute()
        assert await pipe.reset() is None
        assert await client.ping()


async def test_what_a_copy_does_is_counted_for_itself(kwargs):
    from aiecs_redis.metrics import ClientMetrics

    async with aiecs_redis.Redis(**kwargs) as client:
        metrics = ClientMetrics.of(client)
        with metrics.counting():
            copied = copy.copy(client)
            assert ClientMetrics.of(copied) is not metrics
            await copied.ping()
            assert not metrics.commands()
