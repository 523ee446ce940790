"""The circuit breaker: fail at once while the server is away, and find back by few attempts."""

import asyncio
import time

import pytest
import redis.asyncio.retry
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import AuthenticationError, ConnectionError

import aiecs_redis
from aiecs_redis import CircuitBreaker, CircuitOpenError
from aiecs_redis.testing import FaultProxy, RedisServer


@pytest.fixture
def proxy(core_server):
    with FaultProxy(core_server.host, core_server.port) as proxy:
        yield proxy


async def gone(proxy):
    proxy.refuse()
    await asyncio.get_running_loop().run_in_executor(None, proxy.cut)


def circuit(client):
    return client._native_transport.stats()["circuit"]


def client_of(proxy, *, recovery=0.2, jitter=0.5, failures=3, **options):
    breaker = CircuitBreaker(failures=failures, recovery=recovery, jitter=jitter)
    retry = options.pop("retry", None) or {}
    return aiecs_redis.Redis(**proxy.kwargs, circuit_breaker=breaker, **retry, **options)


async def test_open_it_fails_at_once_and_says_when_the_next_attempt_is(proxy):
    async with client_of(proxy, recovery=30.0, jitter=0.0) as client:
        assert await client.ping()
        await gone(proxy)
        with pytest.raises(CircuitOpenError):
            await client.get("k")
        attempts = proxy.connections
        seconds = []
        for call in (
            lambda: client.get("k"),
            lambda: client.blpop("q", 0),
            lambda: client.pipeline().get("k").execute(),
        ):
            for _ in range(100):
                started = time.perf_counter()
                with pytest.raises(ConnectionError) as caught:
                    await call()
                seconds.append(time.perf_counter() - started)
                assert isinstance(caught.value, CircuitOpenError)
                assert 0 < caught.value.retry_after <= 30.0
                assert "Circuit open after 3 failed attempts to connect to" in str(caught.value)
        seconds.sort()
        assert seconds[len(seconds) // 2] < 0.005
        assert proxy.connections == attempts
        stats = client._native_transport.stats()
        assert (stats["circuit"], stats["circuit_opened"], stats["waiting"]) == (1, 1, 0)


async def test_it_closes_by_itself_while_commands_come(proxy):
    async with client_of(proxy) as client:
        assert await client.ping()
        await gone(proxy)
        for _ in range(30):
            with pytest.raises(CircuitOpenError):
                await client.incr("n")
            await asyncio.sleep(0.02)
        proxy.accept()
        back = time.monotonic()
        while True:
            try:
                await client.incr("n")
                break
            except CircuitOpenError:
                assert time.monotonic() - back < 5
                await asyncio.sleep(0.005)
        assert circuit(client) == 0
        assert await client.get("n") == b"1"


async def test_after_a_pause_the_next_command_finds_out(proxy):
    """Nobody asked, so nobody tried; the command that comes then waits, and is served."""
    async with client_of(proxy, recovery=0.05) as client:
        await gone(proxy)
        with pytest.raises(CircuitOpenError):
            await client.ping()
        await asyncio.sleep(0.4)  # the one attempt that the failed command asked for, and a pause
        attempts = proxy.connections
        await asyncio.sleep(0.3)
        assert proxy.connections == attempts
        assert circuit(client) == 2
        proxy.accept()
        assert await asyncio.gather(client.ping(), client.ping(), return_exceptions=True)
        assert await client.ping()


async def test_while_one_attempt_is_under_way_others_fail(proxy):
    async with client_of(proxy, recovery=0.05, socket_connect_timeout=5.0) as client:
        await gone(proxy)
        with pytest.raises(CircuitOpenError):
            await client.ping()
        await asyncio.sleep(0.4)
        proxy.to_server.stall()
        proxy.accept()
        first = asyncio.ensure_future(client.ping())
        await asyncio.sleep(0.05)
        with pytest.raises(CircuitOpenError, match="under way") as caught:
            await client.ping()
        assert caught.value.retry_after == 0.0
        proxy.to_server.resume()
        assert await first


async def test_fewer_failures_do_not_open_it(proxy):
    retry = {"retry": redis.asyncio.retry.Retry(ConstantBackoff(0.1), 20)}
    async with client_of(proxy, failures=10, retry=retry) as client:
        assert await client.ping()
        await gone(proxy)
        waiting = [asyncio.ensure_future(client.get("k")) for _ in range(5)]
        await asyncio.sleep(0.05)
        proxy.accept()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert not any(isinstance(outcome, CircuitOpenError) for outcome in outcomes)
        assert circuit(client) == 0


async def test_an_explicit_retry_does_not_wait_for_an_open_circuit(proxy):
    retry = {"retry": redis.asyncio.retry.Retry(ConstantBackoff(20.0), 5)}
    async with client_of(proxy, failures=1, recovery=30.0, retry=retry) as client:
        await gone(proxy)
        started = time.monotonic()
        for call in (lambda: client.get("k"), lambda: client.pipeline().get("k").execute()):
            with pytest.raises(CircuitOpenError):
                await call()
        assert time.monotonic() - started < 10


async def test_a_refused_password_is_no_outage():
    with RedisServer(users={"default": "on >right ~* &* +@all"}) as server:
        options = {**server.kwargs, "username": "default", "password": "wrong"}
        breaker = CircuitBreaker(failures=1)
        async with aiecs_redis.Redis(**options, circuit_breaker=breaker) as client:
            for _ in range(3):
                with pytest.raises(AuthenticationError):
                    await client.ping()
            assert circuit(client) == 0


async def test_off_by_default(proxy):
    retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
    async with aiecs_redis.Redis(**proxy.kwargs, retry=retry) as client:
        await gone(proxy)
        for _ in range(10):
            with pytest.raises(ConnectionError) as caught:
                await client.ping()
            assert not isinstance(caught.value, CircuitOpenError)
        assert circuit(client) == 0


async def test_many_clients_do_not_come_at_once(proxy):
    """The moments of their attempts differ, and each makes one a pause."""
    clients = [client_of(proxy, recovery=1.0) for _ in range(60)]
    try:
        await gone(proxy)
        errors = await asyncio.gather(
            *(client.ping() for client in clients), return_exceptions=True
        )
        assert all(isinstance(error, CircuitOpenError) for error in errors)
        pauses = sorted(error.retry_after for error in errors)
        assert pauses[0] < 0.7 and pauses[-1] > 1.3
        assert len({round(pause, 3) for pause in pauses}) > 40
    finally:
        for client in clients:
            await client.aclose()


@pytest.mark.parametrize(
    "options",
    [{"failures": 0}, {"failures": 1.5}, {"recovery": 0}, {"recovery": "1"}, {"jitter": 2}],
)
def test_senseless_numbers_are_refused(options):
    name = next(iter(options))
    with pytest.raises(ValueError, match=f"{name}="):
        CircuitBreaker(**options)


def test_something_else_is_refused():
    with pytest.raises(ValueError, match="circuit_breaker=True"):
        aiecs_redis.Redis(circuit_breaker=True)
