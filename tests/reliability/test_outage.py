"""The server is away for everybody: calls come to an end, the way back is found, no stampede."""

import asyncio
import resource
import time

import pytest
from harness.measure import in_thread, percentile, run, sizes
from redis.exceptions import ConnectionError, TimeoutError

import aiecs_redis
from aiecs_redis.testing import FaultProxy, RedisServer


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 < hard < 5000:
        pytest.skip("may not open 5,000 files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (5000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Caller:
    """A client with one task, which calls again and again."""

    def __init__(self, client):
        self.client = client
        self.failures = []  # seconds each took
        self.last_success = 0.0

    async def run(self, stop):
        while not stop.is_set():
            started = time.monotonic()
            try:
                await self.client.ping()
            except (ConnectionError, TimeoutError):
                self.failures.append(time.monotonic() - started)
            else:
                self.last_success = time.monotonic()
            await asyncio.sleep(0.2)


async def recoveries(callers, back):
    """Seconds from `back` to each caller's first success, as far as 10 ms tell."""
    found = {}
    while len(found) < len(callers):
        await asyncio.sleep(0.01)
        assert time.monotonic() - back < 40, "not everybody found the way back"
        for caller in callers:
            if caller.last_success > back:
                found.setdefault(caller, caller.last_success - back)
    return list(found.values())


@pytest.mark.parametrize("size", sizes(everyday=(100, 1.0), long=(1000, 6.0)))
def test_outage(impl, name, figure, many_descriptors, size):
    clients, away = size

    async def main():
        stop = asyncio.Event()
        callers = [Caller(impl(**proxy.kwargs)) for _ in range(clients)]
        tasks = [asyncio.create_task(caller.run(stop)) for caller in callers]
        while not all(caller.last_success for caller in callers):
            await asyncio.sleep(0.05)
        proxy.refuse()
        await asyncio.get_running_loop().run_in_executor(None, proxy.cut)
        before, attempts, began = proxy.connections, [], time.monotonic()
        while time.monotonic() - began < away:
            await asyncio.sleep(0.1)
            attempts.append(proxy.connections)
        proxy.accept()
        back = time.monotonic()
        recovery = await recoveries(callers, back)
        connections = proxy.connections - attempts[-1]
        stop.set()
        await asyncio.gather(*tasks)
        for caller in callers:
            await caller.client.aclose()
        failures = [seconds for caller in callers for seconds in caller.failures]
        return failures, attempts[-1] - before, recovery, connections

    with RedisServer(config={"maxclients": 4000}) as server:
        with FaultProxy(server.host, server.port) as proxy:
            failures, attempts, recovery, connections = run(main(), 120)
    failed = "no call failed"
    if failures:
        failed = f"a call fails after {percentile(failures, 0.5):.1f} s (median)"
    figure(
        "outage",
        f"{clients:,} clients, {away:.0f} s away: {attempts / clients / away:.1f} attempts to "
        f"connect per client and second; {failed}; back again: half of the "
        f"clients after {percentile(recovery, 0.5):.1f} s, all after {max(recovery):.1f} s, with "
        f"{connections / clients:.2f} connections each",
        name,
    )
    assert attempts / clients / away < 20
    assert max(recovery) < 20


@pytest.mark.parametrize("size", sizes(everyday=(100, 2.0), long=(1000, 6.0)))
def test_outage_with_a_circuit_breaker(figure, many_descriptors, size):
    """Calls fail at once, attempts are spread evenly, and everybody is back within two seconds."""
    clients, away = size

    async def main():
        stop = asyncio.Event()
        breaker = aiecs_redis.CircuitBreaker()
        make = aiecs_redis.Redis
        callers = [Caller(make(**proxy.kwargs, circuit_breaker=breaker)) for _ in range(clients)]
        tasks = [asyncio.create_task(caller.run(stop)) for caller in callers]
        while not all(caller.last_success for caller in callers):
            await asyncio.sleep(0.05)
        proxy.refuse()
        await asyncio.get_running_loop().run_in_executor(None, proxy.cut)
        began = time.monotonic()
        while not all(is_open(caller) for caller in callers):
            await asyncio.sleep(0.01)
            assert time.monotonic() - began < 40, "some circuits did not open"
        opened = time.monotonic()
        for caller in callers:
            caller.failures.clear()
        before, tenths = proxy.connections, []
        while time.monotonic() - opened < away:
            await asyncio.sleep(0.1)
            tenths.append(proxy.connections - before - sum(tenths))
        failures = [seconds for caller in callers for seconds in caller.failures]
        proxy.accept()
        back = time.monotonic()
        recovery = await recoveries(callers, back)
        stop.set()
        await asyncio.gather(*tasks)
        for caller in callers:
            await caller.client.aclose()
        return failures, tenths, recovery, opened - began

    with RedisServer(config={"maxclients": 4000}) as server:
        with FaultProxy(server.host, server.port) as proxy:
            failures, tenths, recovery, opening = run(main(), 120)
    attempts = sum(tenths)
    figure(
        "outage-breaker",
        f"{clients:,} clients, {away:.0f} s away; all circuits open after {opening:.1f} s. "
        f"From then: {attempts / clients / away:.1f} attempts to connect per client and second, "
        f"at most {max(tenths):,} in a tenth of a second; {len(failures):,} calls failed, "
        f"half of them within {percentile(failures, 0.5) * 1000:.2f} ms, 99 % within "
        f"{percentile(failures, 0.99) * 1000:.2f} ms; back again: half of the clients after "
        f"{percentile(recovery, 0.5):.1f} s, all after {max(recovery):.1f} s",
    )
    assert percentile(failures, 0.5) < 0.005
    assert attempts / clients / away < 2.0
    assert max(tenths[5:]) < 0.5 * clients
    assert max(recovery) < 4.0


def longest_pause(retry):
    """Seconds between two attempts to connect: up to 1 with redis-py 8's policy, 8 with 7's."""
    backoff = retry._backoff
    return min(backoff._cap, backoff._base * 2 ** retry.get_retries())


@pytest.mark.parametrize("breaker", [False, True], ids=["default", "circuit-breaker"])
@pytest.mark.parametrize("size", sizes(everyday=(100, 1.0), long=(1000, 6.0)))
def test_recovery(breaker, figure, many_descriptors, size):
    """A real server dies and is started again: no proxy between that has to keep up with all."""
    clients, away = size
    options = {"circuit_breaker": aiecs_redis.CircuitBreaker()} if breaker else {}

    async def main():
        stop = asyncio.Event()
        make = aiecs_redis.Redis
        callers = [Caller(make(**server.kwargs, **options)) for _ in range(clients)]
        tasks = [asyncio.create_task(caller.run(stop)) for caller in callers]
        while not all(caller.last_success for caller in callers):
            await asyncio.sleep(0.05)
        await in_thread(server.kill)
        await asyncio.sleep(away)
        await in_thread(server.start)
        back = time.monotonic()  # start() returns when it has answered a PING
        recovery = await recoveries(callers, back - 0.05)
        with server.connect() as admin:
            connections = admin.info("stats")["total_connections_received"]
        stop.set()
        await asyncio.gather(*tasks)
        for caller in callers:
            await caller.client.aclose()
        return recovery, connections, longest_pause(callers[0].client.get_retry())

    with RedisServer(config={"maxclients": 4000}) as server:
        recovery, connections, pause = run(main(), 120)
    figure(
        "recovery-breaker" if breaker else "recovery",
        f"{clients:,} clients, {away:.0f} s away: half of them back after "
        f"{percentile(recovery, 0.5):.1f} s, all after {max(recovery):.1f} s, with "
        f"{connections / clients:.2f} connections each",
    )
    assert max(recovery) < pause + 2.0  # of which 1 s for a machine that does something else
    assert connections < clients * 1.2 + 20


def is_open(caller):
    return caller.client._native_transport.stats()["circuit"] > 0


@pytest.mark.parametrize("tasks", sizes(everyday=200, long=5000))
@pytest.mark.parametrize("impl", [pytest.param("aiecs_redis", id="ours")], indirect=True)
def test_tasks_of_one_client_share_its_attempts(impl, tasks):
    """However many tasks wait, one connection is tried at a time, with growing pauses."""

    async def main():
        async with impl(**proxy.kwargs) as client:
            proxy.refuse()
            futures = [asyncio.ensure_future(client.get(f"key{n}")) for n in range(tasks)]
            await asyncio.sleep(1.0)
            attempts = proxy.connections
            proxy.accept()
            assert await asyncio.gather(*futures) == [None] * tasks
            return attempts, proxy.connections

    with RedisServer() as server, FaultProxy(server.host, server.port) as proxy:
        attempts, connections = run(main())
    assert 1 <= attempts <= 30
    assert connections <= attempts + 2
