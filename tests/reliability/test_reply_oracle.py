"""Every reply carries a nonce that only its own caller knows; callers give up at random.

In every phase of a command's life: before its first step, queued, waiting for room, written,
answered in part, answered and not yet resumed.
"""

import asyncio
import random

import pytest
from harness.measure import hung, run, sizes
from redis.exceptions import TimeoutError

from aiecs_redis.testing import FaultProxy, RedisServer


@pytest.fixture(scope="module")
def server():
    with RedisServer() as server:
        yield server


class Oracle:
    """Asks until there have been enough cancels and timeouts; counts what came of it."""

    def __init__(self, client, seed, cancels, timeouts, delay):
        self.client = client
        self.rng = random.Random(seed)
        self.cancels_wanted, self.timeouts_wanted = cancels, timeouts
        self.delay = delay  # seconds within which a caller gives up
        self.answers = self.cancels = self.timeouts = self.misdelivered = self.serial = 0

    async def run(self, workers):
        tasks = [asyncio.create_task(self.worker()) for _ in range(workers)]
        self.hung = await hung(tasks, 1800)
        for task in tasks:
            task.result()
        return self

    async def worker(self):
        while self.cancels < self.cancels_wanted or self.timeouts < self.timeouts_wanted:
            command, expected = self.question()
            try:
                value = await self.rng.choice(self.WAYS)(self, command)
            except asyncio.CancelledError:
                self.cancels += 1
            except asyncio.TimeoutError:
                self.timeouts += 1
            else:
                self.answers += 1
                self.misdelivered += value != expected

    def question(self):
        self.serial += 1
        nonce = f"{self.serial}:{self.rng.random()}"
        kind = self.rng.randrange(6)
        expected = nonce.encode()
        if kind == 0:
            return self.client.echo(nonce), expected
        if kind == 1:
            value = expected * self.rng.randrange(1, 100)
            return self.client.echo(value), value
        if kind == 2:
            script = "return {ARGV[1], {ARGV[1], 7}}"
            return self.client.eval(script, 0, nonce), [expected, [expected, 7]]
        if kind == 3:
            number = self.rng.randrange(1 << 50)
            return self.client.eval("return ARGV[1] + 0", 0, number), number
        pipeline = self.client.pipeline(transaction=kind == 4)
        pipeline.echo(nonce).get("missing").echo(nonce[::-1])
        return pipeline.execute(), [expected, None, expected[::-1]]

    async def patient(self, command):
        return await command

    async def cancelled_by_turns(self, command):
        future = asyncio.ensure_future(command)
        for _ in range(self.rng.randrange(6)):
            await asyncio.sleep(0)
        future.cancel()
        return await future

    async def cancelled_by_time(self, command):
        future = asyncio.ensure_future(command)
        await asyncio.sleep(self.rng.random() * self.delay)
        future.cancel()
        return await future

    async def cancelled_task(self, command):
        task = asyncio.create_task(self.patient(command))
        await asyncio.sleep(self.rng.choice((0, self.rng.random() * self.delay)))
        task.cancel()
        return await task

    async def hasty(self, command):
        return await asyncio.wait_for(command, self.rng.random() * self.delay)

    WAYS = (patient, patient, cancelled_by_turns, cancelled_by_time, cancelled_task, hasty)


def connections_made(client, admin, before, is_native):
    """How often a connection was replaced by another one."""
    made = admin.info("stats")["total_connections_received"] - before
    if is_native:
        return made - 1
    pool = client.connection_pool
    return made - len(pool._available_connections) - len(pool._in_use_connections)


def oracle(impl, is_native, server, target, cancels, timeouts, delay=0.003, workers=50, **options):
    async def main():
        with server.connect() as admin:
            before = admin.info("stats")["total_connections_received"]
            async with impl(**target, **options) as client:
                await client.ping()
                found = Oracle(client, cancels, cancels, timeouts, delay)
                await found.run(workers)
                assert await client.echo("after") == b"after"
                found.reconnects = connections_made(client, admin, before, is_native)
        return found

    return run(main(), 2000)


def told(found):
    return (
        f"{found.cancels:,} cancels, {found.timeouts:,} timeouts, {found.answers:,} answers: "
        f"{found.misdelivered} misdelivered, {found.hung} hung, {found.reconnects:,} reconnects"
    )


@pytest.mark.parametrize("size", sizes(everyday=(2000, 200), long=(100_000, 10_000)))
def test_replies_reach_their_callers_only(impl, name, is_native, server, figure, size):
    cancels, timeouts = size if is_native else (size[0] // 20, size[1] // 20)
    options = {} if is_native else {"max_connections": 100}
    found = oracle(impl, is_native, server, server.kwargs, cancels, timeouts, **options)
    figure("oracle", told(found), name)
    assert (found.misdelivered, found.hung) == (0, 0)
    if is_native:
        assert found.reconnects == 0


@pytest.mark.parametrize("impl", [pytest.param("aiecs_redis", id="ours")], indirect=True)
@pytest.mark.parametrize("size", sizes(everyday=300, long=5000))
@pytest.mark.parametrize("pending", [64 << 20, 2000], ids=["room", "backpressure"])
def test_on_a_line_that_delivers_in_pieces(impl, is_native, server, size, pending):
    """Callers give up while their command is half sent, their reply half there."""
    with FaultProxy(server.host, server.port) as proxy:
        proxy.to_client.chop, proxy.to_server.chop = 60, 90
        found = oracle(
            impl,
            is_native,
            server,
            proxy.kwargs,
            size,
            size // 10,
            delay=0.03,
            workers=20,
            max_pending_bytes=pending,
        )
    assert (found.misdelivered, found.hung, found.reconnects) == (0, 0, 0)


@pytest.mark.parametrize("impl", [pytest.param("aiecs_redis", id="ours")], indirect=True)
@pytest.mark.parametrize("size", sizes(everyday=300, long=10_000))
def test_late_replies_are_discarded(impl, server, figure, size):
    """The server stands still for longer than socket_timeout, then answers all the same."""
    timeout, pause, workers = 1.0, 1.2, 400  # given up after 2 s of silence

    async def worker(client, number, counts):
        turn = 0
        while counts["timeouts"] < size:
            turn += 1
            try:
                value = await client.echo(f"{number}:{turn}")
            except TimeoutError:
                counts["timeouts"] += 1
            else:
                counts["misdelivered"] += value != f"{number}:{turn}".encode()
                await asyncio.sleep(0.001)

    async def main():
        counts = {"timeouts": 0, "misdelivered": 0}
        with server.connect() as admin:
            before = admin.info("stats")["total_connections_received"]
            async with impl(**server.kwargs, socket_timeout=timeout) as client:
                await client.ping()
                tasks = [asyncio.create_task(worker(client, n, counts)) for n in range(workers)]
                while counts["timeouts"] < size:
                    await asyncio.sleep(0.05)
                    server.pause()
                    await asyncio.sleep(pause)
                    server.resume()
                still = await hung(tasks, 10)
                for task in tasks:
                    task.result()
                reconnects = connections_made(client, admin, before, True)
        return counts, still, reconnects

    counts, still, reconnects = run(main(), 900)
    figure(
        "oracle-late",
        f"{counts['timeouts']:,} timeouts: {counts['misdelivered']} misdelivered, {still} hung, "
        f"{reconnects} reconnects",
    )
    assert (counts["misdelivered"], still, reconnects) == (0, 0, 0)
