"""Whoever gives up loses only his own reply: nobody gets another's, the connection stays."""

import asyncio
import random
import time

import pytest
from redis.exceptions import ResponseError, TimeoutError

from aiecs_redis.testing import FaultProxy


async def wait(awaitable):
    return await awaitable


class Storm:
    """Workers that ask for what only they can know, and give up at random."""

    def __init__(self, client, seed):
        self.client = client
        self.rng = random.Random(seed)
        self.answers = self.cancels = self.timeouts = 0

    async def run(self, workers, rounds):
        await asyncio.gather(*(self.worker(number, rounds) for number in range(workers)))

    async def worker(self, number, rounds):
        for turn in range(rounds):
            command, check = self.question(f"{number}:{turn}:{self.rng.random()}")
            way = self.rng.choice(self.WAYS)
            try:
                value = await way(self, command)
            except ResponseError as error:
                value = error
            except asyncio.CancelledError:
                self.cancels += 1
                continue
            except asyncio.TimeoutError:
                self.timeouts += 1
                continue
            self.answers += 1
            assert check(value), value

    def question(self, nonce):
        """A command, and the check that a reply is its own."""
        kind = self.rng.randrange(7)
        expected = nonce.encode()
        if kind == 0:
            return self.client.echo(nonce), lambda value: value == expected
        if kind == 1:
            value = expected * self.rng.randrange(1, 200)
            return self.client.echo(value), lambda reply: reply == value
        if kind == 2:
            script = "return {ARGV[1], {ARGV[1]}, 1}"
            return (
                self.client.eval(script, 0, nonce),
                lambda value: value == [expected, [expected], 1],
            )
        if kind == 3:
            script = "return redis.error_reply('NONCE ' .. ARGV[1])"
            return (
                self.client.eval(script, 0, nonce),
                lambda value: isinstance(value, ResponseError) and nonce in str(value),
            )
        if kind == 4:
            number = self.rng.randrange(1 << 60)
            return (
                self.client.eval("return ARGV[1] + 0", 0, number % (1 << 50)),
                lambda value: value == number % (1 << 50),
            )
        if kind == 5:
            pipeline = self.client.pipeline(transaction=self.rng.random() < 0.5)
            pipeline.echo(nonce).get("missing").echo(nonce[::-1])
            return pipeline.execute(), lambda value: value == [expected, None, expected[::-1]]
        return self.client.set(nonce, nonce, get=True), lambda value: value is None

    async def patient(self, command):
        return await command

    async def as_task(self, command):
        return await asyncio.create_task(command)

    async def hasty(self, command):
        return await asyncio.wait_for(command, self.rng.choice((0, 1e-6, 1e-4, 5e-4, 2e-3)))

    async def cancelled_future(self, command):
        return await self.cancelled_soon(asyncio.ensure_future(command))

    async def cancelled_task(self, command):
        return await self.cancelled_soon(asyncio.create_task(command))

    async def cancelled_waiter(self, command):
        task = asyncio.create_task(wait(command))
        await asyncio.sleep(0)  # a task cancelled before its first step would drop the command
        return await self.cancelled_soon(task)

    async def cancelled_soon(self, future):
        for _ in range(self.rng.randrange(6)):
            await asyncio.sleep(0)
        future.cancel()
        return await future

    WAYS = (
        *[patient] * 5,
        *[as_task] * 2,
        hasty,
        cancelled_future,
        cancelled_task,
        cancelled_waiter,
    )


async def storm(client, workers, rounds, seed):
    made = Storm(client, seed)
    await made.run(workers, rounds)
    assert made.answers and made.cancels + made.timeouts
    return made


def test_no_reply_reaches_another_caller_redis_py_scale(busy_case, admin):
    """The oracle itself, on both: small, since redis-py reconnects after each cancel."""

    async def main(client):
        await storm(client, workers=10, rounds=30, seed=1)
        assert await client.echo("after") == b"after"

    busy_case(main)


@pytest.mark.parametrize("workers", [1, 40, 400])
def test_no_reply_reaches_another_caller(run_plain, connect_native, admin, workers):
    async def main():
        async with connect_native() as client:
            identity = await client.client_id()
            made = await storm(client, workers, 4000 // workers, seed=workers)
            assert made.cancels > 200
            assert await client.client_id() == identity

    run_plain(main)


@pytest.mark.long
def test_no_reply_reaches_another_caller_in_a_million(run_plain, connect_native, admin):
    async def main():
        async with connect_native() as client:
            identity = await client.client_id()
            await storm(client, workers=100, rounds=10_000, seed=7)
            assert await client.client_id() == identity

    run_plain.hang = 600
    run_plain(main)


def test_no_reply_reaches_another_caller_on_a_chopped_line(run_plain, native, core_server, admin):
    async def main():
        async with native(**proxy.kwargs) as client:
            identity = await client.client_id()
            await storm(client, workers=20, rounds=25, seed=3)
            assert await client.client_id() == identity

    with FaultProxy(core_server.host, core_server.port) as proxy:
        proxy.to_client.chop = 50
        proxy.to_server.chop = 70
        run_plain(main)


# --- the phases of a command's life ---


@pytest.fixture
def paused(core_server):
    """A server that stands still inside `with paused():`."""

    class Paused:
        def __enter__(self):
            core_server.pause()

        def __exit__(self, *exc_info):
            core_server.resume()

    return Paused


def test_given_up_while_connecting(run, connect_native, paused, admin):
    async def main():
        async with connect_native() as client:
            with paused():
                futures = [asyncio.ensure_future(client.echo(str(n))) for n in range(4)]
                task = asyncio.create_task(client.echo("task"))
                await asyncio.sleep(0.02)
                futures[0].cancel()
                futures[2].cancel()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await asyncio.gather(*futures[1::2]) == [b"1", b"3"]
            assert [future.cancelled() for future in futures] == [True, False, True, False]
            assert admin.info("clients")["connected_clients"] == 2

    run(main)


def test_all_given_up_while_connecting(run, connect_native, paused, admin):
    async def main():
        async with connect_native() as client:
            with paused():
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(client.incr("n"), 0.02)
            assert await client.echo("x") == b"x"
            assert await client.get("n") is None  # its bytes had not left

    run(main)


def test_given_up_after_it_was_sent(run, connect_native, paused, count):
    async def main():
        async with connect_native() as client:
            identity = await client.client_id()
            with paused():
                given_up = [asyncio.ensure_future(client.incr("n")) for _ in range(5)]
                kept = asyncio.ensure_future(client.echo("kept"))
                await asyncio.sleep(0.01)
                for future in given_up[:4]:
                    future.cancel()
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(client.incr("n"), 0.01)
            assert await kept == b"kept"
            assert await given_up[4] == 5
            assert await client.get("n") == b"6"  # sent is sent
            assert await client.client_id() == identity
            assert count("incrby") == 6

    run(main)


@pytest.mark.parametrize("how", ["future", "task", "timeout"])
def test_given_up_while_the_reply_arrives(run, native, core_server, admin, how):
    value = random.Random(5).getrandbits(8 * 300_000).to_bytes(300_000, "big")
    admin.execute_command("SET", "big", value)

    async def main():
        async with native(**proxy.kwargs) as client:
            identity = await client.client_id()
            proxy.to_client.chop, proxy.to_client.gap = 20_000, 0.002
            if how == "timeout":
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(client.get("big"), 0.01)
            else:
                make = asyncio.ensure_future if how == "future" else asyncio.create_task
                future = make(client.get("big"))
                before = proxy.to_client.bytes
                while proxy.to_client.bytes < before + 50_000:
                    await asyncio.sleep(0.001)
                future.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await future
            assert proxy.to_client.bytes < 290_000
            proxy.to_client.chop = 0
            assert await client.echo("after") == b"after"
            assert await client.get("big") == value
            assert await client.client_id() == identity

    with FaultProxy(core_server.host, core_server.port) as proxy:
        run(main)


def test_given_up_while_it_is_written(run, connect_native, paused, admin):
    """Half a command on the wire would swallow the next ones: the rest must follow."""
    value = b"v" * (30 << 20)

    async def main():
        async with connect_native() as client:
            identity = await client.client_id()
            with paused():
                big = asyncio.ensure_future(client.set("big", value))
                await asyncio.sleep(0.02)
                behind = asyncio.ensure_future(client.echo("behind"))
                await asyncio.sleep(0)
                big.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await big
            assert await behind == b"behind"
            assert await client.echo("after") == b"after"
            while await client.strlen("big") != len(value):
                await asyncio.sleep(0.001)
            assert await client.client_id() == identity

    run(main)


def test_given_up_while_it_waits_for_room(run, connect_native, paused, count):
    async def main():
        async with connect_native(max_pending_bytes=100_000) as client:
            await client.ping()
            with paused():
                futures = [
                    asyncio.ensure_future(client.set(f"key{n}", b"x" * 60_000)) for n in range(200)
                ]
                await asyncio.sleep(0.02)
                assert not any(future.done() for future in futures)
                for future in futures[10:]:
                    future.cancel()
                await asyncio.wait(futures[10:])
            assert await asyncio.gather(*futures[:10]) == [True] * 10
            assert count("set") < 200  # most had not left

    run(main)


def test_given_up_pipeline(run, connect_native, paused, admin):
    async def main():
        async with connect_native() as client:
            await client.ping()
            for transaction in (False, True):
                with paused():
                    pipeline = client.pipeline(transaction=transaction)
                    for n in range(10):
                        pipeline.echo(f"p{n}").incr("n")
                    with pytest.raises(asyncio.TimeoutError):
                        await asyncio.wait_for(pipeline.execute(), 0.02)
                    behind = asyncio.ensure_future(client.echo("behind"))
                    await asyncio.sleep(0)
                assert await behind == b"behind"
                assert await client.echo("after") == b"after"
            assert await client.get("n") == b"20"

    run(main)


def test_given_up_blpop_takes_nothing(case, blocked):
    """What is pushed after the cancel is not lost to a command that nobody waits for."""

    async def main(client):
        for way in ("future", "task", "timeout"):
            if way == "timeout":
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(client.blpop("list", 30), 0.05)
            else:
                future = (asyncio.ensure_future if way == "future" else asyncio.create_task)(
                    client.blpop("list", 30)
                )
                await blocked(1)
                future.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await future
            await blocked(0)
            await client.rpush("list", "item")
            assert await client.lpop("list") == b"item"

    async def main_warm(client):
        await client.ping()
        await main(client)

    case(main_warm)


# --- socket_timeout ---


def test_socket_timeout_leaves_the_connection(run, connect_native, paused, admin):
    async def main():
        async with connect_native(socket_timeout=0.3, retry=None) as client:
            identity = await client.client_id()
            with paused():
                started = time.monotonic()
                results = await asyncio.gather(
                    *(client.echo(str(n)) for n in range(5)), return_exceptions=True
                )
                assert 0.25 < time.monotonic() - started < 5
                assert all(isinstance(result, TimeoutError) for result in results), results
            assert await client.echo("after") == b"after"
            assert await client.client_id() == identity

    run(main)


def test_socket_timeout_counts_from_the_start_of_each_command(run, connect_native, paused, admin):
    async def main():
        async with connect_native(socket_timeout=0.15, retry=None) as client:
            await client.ping()
            with paused():
                first = asyncio.ensure_future(client.echo("first"))
                await asyncio.sleep(0.1)
                second = asyncio.ensure_future(client.echo("second"))
                with pytest.raises(TimeoutError):
                    await first
                assert not second.done()
            assert await second == b"second"

    run(main)


def test_blocking_command_outlasts_socket_timeout(run, connect_native, admin):
    """Its deadline is its own timeout and a grace, also for `0`, which means without end."""

    async def main():
        async with connect_native(socket_timeout=0.05) as client:
            assert await client.blpop("list", 0.2) is None
            forever = asyncio.ensure_future(client.blpop("list", 0))
            await asyncio.sleep(0.2)
            assert not forever.done()
            await client.rpush("list", "item")
            assert list(await forever) == [b"list", b"item"]

    run(main)
