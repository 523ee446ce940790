"""Two connections for everybody: nobody is turned away, and the order of issue is kept."""

import asyncio
import time

import pytest
from harness.measure import run, sizes
from redis.exceptions import ConnectionError

from aiecs_redis.testing import RedisServer


@pytest.fixture(scope="module")
def server():
    with RedisServer() as server:
        yield server


@pytest.mark.parametrize("tasks", sizes(everyday=2000, long=10_000))
def test_ten_thousand_tasks_on_two_connections(impl, name, is_native, server, figure, tasks):
    """One of them blocks all the time; redis-py's pool says "Too many connections"."""

    async def main():
        errors = []
        async with impl(**server.kwargs, max_connections=2) as client:
            blocking = asyncio.ensure_future(client.blpop("never", 0))
            while admin.info("clients")["blocked_clients"] == 0:
                await asyncio.sleep(0.005)

            async def one(n):
                try:
                    await client.rpush("order", n)
                    nonce = f"nonce {n}"
                    assert await client.echo(nonce) == nonce.encode()
                except ConnectionError as error:
                    errors.append(error)

            started = time.monotonic()
            await asyncio.gather(*(one(n) for n in range(tasks)))
            took = time.monotonic() - started
            order = [int(n) for n in admin.lrange("order", 0, -1)]
            connections = admin.info("clients")["connected_clients"] - 1
            assert not blocking.done()
            await client.rpush("never", "at last")
            assert list(await blocking) == [b"never", b"at last"]
        return errors, order, connections, took

    with server.connect() as admin:
        admin.flushall()
        errors, order, connections, took = run(main())
    fifo = order == sorted(order)
    figure(
        "two-connections",
        f"{tasks:,} tasks, 2 commands each, {took:.2f} s: {len(errors):,} errors, "
        f"{'order kept' if fifo else 'order not kept'}, {connections} connections",
        name,
    )
    if is_native:
        assert errors == []
        assert order == list(range(tasks))
        assert connections <= 2


@pytest.mark.parametrize("impl", [pytest.param("aiecs_redis", id="ours")], indirect=True)
@pytest.mark.parametrize("waiters", sizes(everyday=100, long=1000))
def test_many_blocking_tasks_take_turns(impl, server, waiters):
    """They wait in line for the one connection there is; ordinary commands pass by."""

    async def main():
        async with impl(**server.kwargs, max_connections=2, pool_timeout=60) as client:
            order = []

            async def blocking(n):
                await client.blpop("list", 30)
                order.append(n)

            tasks = []
            for n in range(waiters):
                tasks.append(asyncio.create_task(blocking(n)))
            for n in range(waiters):
                await client.rpush("list", n)
                assert await client.echo(str(n)) == str(n).encode()
            await asyncio.gather(*tasks)
            return order

    assert run(main()) == list(range(waiters))
