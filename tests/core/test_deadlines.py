"""operation_timeout and timeout(): one deadline for all of an operation, and what it tells."""

import asyncio
import pickle
import socket
import time

import pytest
import redis.asyncio.retry
import redis.exceptions
from redis.backoff import ConstantBackoff, NoBackoff

import aiecs_redis
from aiecs_redis import CommandTimeoutError
from aiecs_redis.testing import FaultProxy, RedisServer

SHORT = 0.15  # seconds; what it is compared with takes LONG
LONG = 8.0


@pytest.fixture
def proxy(core_server):
    with FaultProxy(core_server.host, core_server.port) as proxy:
        yield proxy


@pytest.fixture
def silent():
    """A server that accepts nobody: the kernel does, and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture(params=["constructor", "with", "async with"])
def bounded(request):
    """`await bounded(client, call)`: the call with a deadline of SHORT."""

    async def bounded(make, call):
        if request.param == "constructor":
            async with make(operation_timeout=SHORT) as client:
                return await call(client)
        async with make() as client:
            if request.param == "with":
                with aiecs_redis.timeout(SHORT):
                    return await call(client)
            async with aiecs_redis.timeout(SHORT):
                return await call(client)

    return bounded


async def timed_out(awaitable):
    """The TimeoutError, which came in time."""
    started = time.monotonic()
    with pytest.raises(redis.exceptions.TimeoutError) as caught:
        await awaitable
    assert time.monotonic() - started < LONG / 2
    assert isinstance(caught.value, CommandTimeoutError)
    return caught.value


CALLS = {
    "command": lambda client: client.get("k"),
    "by name": lambda client: client.execute_command("GET", "k"),
    "blocking": lambda client: client.blpop("q", 0),
    "transaction": lambda client: client.pipeline().get("k").execute(),
    "pipeline": lambda client: client.pipeline(transaction=False).get("k").execute(),
    "pub/sub": lambda client: client.pubsub().subscribe("c"),
}
NATIVE = [name for name in CALLS if name != "pub/sub"]


@pytest.mark.parametrize("call", NATIVE)
async def test_connecting(bounded, silent, call):
    def make(**options):
        return aiecs_redis.Redis(port=silent, socket_connect_timeout=LONG, **options)

    error = await timed_out(bounded(make, CALLS[call]))
    assert error.phase == "waiting for a connection"
    assert str(error).startswith(f"Timeout connecting to server (localhost:{silent})")
    assert error.in_flight == 0


@pytest.mark.parametrize("call", NATIVE)
async def test_being_sent_again(bounded, call):
    """Nobody listens; the attempts of the retry policy would take much longer."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    policy = redis.asyncio.retry.Retry(ConstantBackoff(LONG), 3)

    def make(**options):
        return aiecs_redis.Redis(port=port, retry=policy, **options)

    await timed_out(bounded(make, CALLS[call]))


@pytest.mark.parametrize("retry", [None, redis.asyncio.retry.Retry(NoBackoff(), 3)])
@pytest.mark.parametrize("call", NATIVE)
async def test_the_reply(bounded, proxy, call, retry):
    def make(**options):
        more = {} if retry is None else {"retry": retry}
        return aiecs_redis.Redis(**proxy.kwargs, socket_timeout=LONG, **more, **options)

    async def stalled(client):
        return await CALLS[call](client)

    async def connected_first(client):
        with aiecs_redis.timeout(None):
            proxy.to_server.stall()
            return await stalled(client)

    error = await timed_out(bounded(make, connected_first))
    assert "the time for the whole operation is over" in str(error)


async def test_room(proxy):
    options = {"max_pending_bytes": 100_000, "socket_timeout": LONG}
    async with aiecs_redis.Redis(**proxy.kwargs, **options) as client:
        assert await client.ping()
        proxy.to_server.stall()
        big = asyncio.ensure_future(client.set("big", b"x" * 30_000_000))
        await asyncio.sleep(0.05)
        with aiecs_redis.timeout(SHORT):
            error = await timed_out(client.set("k", b"x"))
        assert error.phase == "queued"
        assert error.unsent_bytes > 100_000
        assert error.in_flight == 1
        big.cancel()


@pytest.mark.filterwarnings("ignore:.*retry_on_timeout:DeprecationWarning")
async def test_one_more_chance_that_waits_for_room_is_one(proxy):
    options = {"max_pending_bytes": 100_000, "socket_timeout": SHORT, "retry_on_timeout": True}
    async with aiecs_redis.Redis(**proxy.kwargs, **options, max_connections=1) as client:
        assert await client.ping()
        proxy.to_server.stall()
        read = asyncio.ensure_future(client.get("k"))
        await asyncio.sleep(0)
        write = asyncio.ensure_future(client.set("big", b"x" * 30_000_000))
        with pytest.raises(redis.exceptions.TimeoutError):
            await asyncio.wait_for(read, LONG / 2)
        write.cancel()


async def test_a_connection_of_its_own(port):
    async with aiecs_redis.Redis(port=port, max_connections=2) as client:
        first = asyncio.ensure_future(client.blpop("q", 0))
        await asyncio.sleep(0.02)
        with aiecs_redis.timeout(SHORT):
            error = await timed_out(client.blpop("q", 0))
        assert error.phase == "waiting for a connection"
        first.cancel()


async def test_the_smaller_bound_wins(port):
    async with aiecs_redis.Redis(port=port, operation_timeout=LONG) as client:
        with aiecs_redis.timeout(SHORT), aiecs_redis.timeout(LONG) as inner:
            assert inner.left <= SHORT
            await timed_out(client.blpop("q", 0))
        assert await client.blpop("q", 0.05) is None  # its own is smaller: no error


async def test_what_a_blocking_command_pops_is_not_lost(port, admin, blocked):
    """Items come while waits end: each is handed out, or still there, once."""
    taken, items = [], 300
    async with aiecs_redis.Redis(port=port, operation_timeout=0.01) as client:

        async def consume():
            while not done.is_set() or admin.llen("q"):
                try:
                    taken.append(int((await client.blpop("q", 0))[1]))
                except redis.exceptions.TimeoutError:
                    timeouts.append(1)

        done, timeouts = asyncio.Event(), []
        consumers = [asyncio.create_task(consume()) for _ in range(4)]
        for item in range(items):
            admin.rpush("q", item)
            await asyncio.sleep(0.004)
        done.set()
        await asyncio.wait_for(asyncio.gather(*consumers), 20)
        while client._native_transport.stats()["handing_back"]:
            await asyncio.sleep(0.001)
    rest = [int(item) for item in admin.lrange("q", 0, -1)]
    assert timeouts
    assert sorted(taken + rest) == list(range(items))


async def test_the_connection_stays(port, admin):
    async with aiecs_redis.Redis(port=port) as client:
        assert await client.ping()
        admin.client_pause(int(3 * SHORT * 1000))
        with aiecs_redis.timeout(SHORT):
            await timed_out(client.set("k", "late"))
        assert await client.get("k") == b"late"
        stats = client._native_transport.stats()
        assert (stats["connects"], stats["reconnects"]) == (1, 0)


async def test_gathered_commands_and_tasks_are_bound_while_the_block_is_open(port):
    async with aiecs_redis.Redis(port=port) as client:
        with aiecs_redis.timeout(SHORT):
            outcomes = await asyncio.gather(
                client.blpop("q", 0),
                asyncio.create_task(client.blpop("q", 0)),
                return_exceptions=True,
            )
        assert [type(outcome) for outcome in outcomes] == [CommandTimeoutError] * 2

        async def later():
            await left.wait()
            return await client.blpop("q", 3 * SHORT)

        left = asyncio.Event()
        with aiecs_redis.timeout(SHORT):
            task = asyncio.create_task(later())
            await asyncio.sleep(0)
        left.set()
        assert await task is None
        assert aiecs_redis.timeout(1).left is None


async def test_nothing_is_sent_once_it_is_over(port, count):
    async with aiecs_redis.Redis(port=port) as client:
        assert await client.ping()
        with aiecs_redis.timeout(0.001) as block:
            time.sleep(0.01)
            assert block.left == 0.0
            await timed_out(client.incr("n"))
    assert count("incr") == 0


async def test_a_subscription_in_a_block(silent):
    async with aiecs_redis.Redis(port=silent, socket_connect_timeout=LONG) as client:
        with aiecs_redis.timeout(SHORT):
            await timed_out(CALLS["pub/sub"](client))


async def test_what_a_timeout_tells(port, admin):
    async with aiecs_redis.Redis(port=port, socket_timeout=2 * SHORT) as client:
        assert await client.ping()
        admin.client_pause(int(4 * SHORT * 1000))
        outcomes = await asyncio.gather(
            *(client.get(f"k{n}") for n in range(12)), return_exceptions=True
        )
        for error in outcomes:
            assert isinstance(error, CommandTimeoutError)
            assert str(error).startswith(f"Timeout reading from localhost:{port} (written; ")
            assert "12 commands in flight, 0 bytes unsent)" in str(error)
            assert (error.phase, error.in_flight, error.unsent_bytes) == ("written", 12, 0)
            assert SHORT < error.silent_for < LONG
            assert pickle.loads(pickle.dumps(error)).in_flight == 12


async def test_a_half_answered_command():
    introduced = []

    async def serve(reader, writer):
        received = b""
        while b"secret-key" not in received:
            received += await reader.read(1000)
            while received.count(b"CLIENT") > len(introduced):  # SETINFO, said twice
                introduced.append(b"+OK\r\n")
                writer.write(introduced[-1])
        writer.write(b"$10\r\nhalf")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with aiecs_redis.Redis(port=port, protocol=2) as client:
        with aiecs_redis.timeout(4 * SHORT):
            error = await timed_out(client.get("secret-key"))
    assert error.phase == "being answered"
    assert "secret-key" not in str(error)
    server.close()


@pytest.mark.parametrize("seconds", [0, -1, True, "1", float("nan")])
def test_senseless_bounds_are_refused(seconds):
    with pytest.raises(ValueError, match="greater than 0"):
        aiecs_redis.timeout(seconds)
    with pytest.raises(ValueError, match="operation_timeout"):
        aiecs_redis.Redis(operation_timeout=seconds)


def test_a_block_is_not_entered_twice_at_once():
    block = aiecs_redis.timeout(1)
    with block, pytest.raises(RuntimeError, match="in use"):
        block.__enter__()
    with block:
        assert block.left > 0


async def test_a_url_takes_it_too(core_server):
    url = f"redis://127.0.0.1:{core_server.port}"
    async with aiecs_redis.Redis.from_url(url, operation_timeout=SHORT) as client:
        await timed_out(client.blpop("q", 0))


def test_over_while_the_server_restarts():
    async def main():
        async with aiecs_redis.Redis(port=server.port, operation_timeout=SHORT) as client:
            assert await client.ping()
            server.kill()
            await timed_out(client.get("k"))
            server.start()
            with aiecs_redis.timeout(None):
                for _ in range(200):
                    try:
                        assert await client.ping()
                        return
                    except redis.exceptions.TimeoutError:
                        continue
            raise AssertionError("never back")

    with RedisServer() as server:
        asyncio.run(main())
