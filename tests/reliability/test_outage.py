"""The server is away for everybody: calls come to an end, the way back is found, no stampede."""

import asyncio
import resource
import time

import pytest
from harness.measure import percentile, run, sizes
from redis.exceptions import ConnectionError, TimeoutError

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
        while not all(caller.last_success > back for caller in callers):
            await asyncio.sleep(0.01)
            assert time.monotonic() - back < 40, "not everybody found the way back"
        recovery = [caller.last_success - back for caller in callers]
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
    failed = f"{percentile(failures, 0.5):.1f} s (median)" if failures else "none failed yet"
    figure(
        "outage",
        f"{clients:,} clients, {away:.0f} s away: {attempts / clients / away:.1f} attempts to "
        f"connect per client and second; a call fails after {failed}; back again: half of the "
        f"clients after {percentile(recovery, 0.5):.1f} s, all after {max(recovery):.1f} s, with "
        f"{connections / clients:.2f} connections each",
        name,
    )
    assert attempts / clients / away < 20
    assert max(recovery) < 20


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
