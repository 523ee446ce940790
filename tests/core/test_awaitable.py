"""A command under every consumer asyncio and anyio have, as redis-py's coroutine behaves there."""

import asyncio
import contextvars
import gc
import inspect
import sys
import threading

import pytest
from redis.exceptions import ResponseError

try:
    import anyio
except ImportError:
    anyio = None

PY311 = sys.version_info >= (3, 11)
PY312 = sys.version_info >= (3, 12)


def test_await(case, admin):
    async def main(client):
        assert await client.set("key", "value") is True
        assert await client.get("key") == b"value"
        assert await client.get("missing") is None
        assert await client.incrby("n", 5) == 5
        return "result"

    assert case(main) == "result"
    assert admin.get("key") == "value"


def test_await_many_in_turn(case, admin):
    async def main(client):
        for n in range(1, 101):
            assert await client.incr("n") == n

    case(main)


def test_await_raises(case, admin):
    async def main(client):
        await client.set("text", "value")
        with pytest.raises(ResponseError, match="WRONGTYPE|wrong kind"):
            await client.lpush("text", 1)
        assert await client.get("text") == b"value"

    case(main)


def test_gather(case, admin):
    async def main(client):
        await client.mset({f"k{n}": n for n in range(50)})
        values = await asyncio.gather(*(client.get(f"k{n}") for n in range(50)))
        assert values == [b"%d" % n for n in range(50)]

    case(main)


def test_gather_of_commands_tasks_and_futures(case, admin):
    async def main(client):
        async def double(n):
            return 2 * await client.incrby("d", n)

        future = asyncio.get_running_loop().create_future()
        future.set_result("future")
        values = await asyncio.gather(
            client.incr("n"), double(2), future, asyncio.create_task(double(0)), client.ping()
        )
        assert values[0] == 1
        assert {values[1], values[3]} <= {0, 4}
        assert values[2::2] == ["future", True]

    case(main)


def test_gather_same_command_twice(case, admin):
    async def main(client):
        command = client.incr("n")
        assert await asyncio.gather(command, command) == [1, 1]
        assert await client.get("n") == b"1"

    case(main)


def test_gather_first_error_wins_and_the_rest_goes_on(case, admin):
    async def main(client):
        bad, good = client.execute_command("NOSUCH"), client.incr("n")
        with pytest.raises(ResponseError, match="unknown command"):
            await asyncio.gather(bad, good)
        while await client.get("n") != b"1":
            await asyncio.sleep(0)

    case(main)


def test_gather_return_exceptions(case, admin):
    async def main(client):
        values = await asyncio.gather(
            client.incr("n"),
            client.execute_command("NOSUCH"),
            client.incr("n"),
            return_exceptions=True,
        )
        assert sorted(values[::2]) == [1, 2]
        assert type(values[1]) is ResponseError

    case(main)


def test_gather_cancelled(case, blocked):
    async def main(client):
        both = asyncio.gather(client.blpop("list", 30), client.blpop("list", 30))
        await blocked(2)
        both.cancel()
        with pytest.raises(asyncio.CancelledError):
            await both
        assert await client.ping()

    case(main)


def test_nested_gather(busy_case, admin):
    async def main(client):
        async def row(n):
            return await asyncio.gather(*(client.echo(f"{n}-{m}") for m in range(10)))

        rows = await asyncio.gather(*map(row, range(10)))
        assert rows == [[f"{n}-{m}".encode() for m in range(10)] for n in range(10)]

    busy_case(main)


def test_wait(case, admin):
    async def main(client):
        futures = [asyncio.ensure_future(client.incr("n")) for _ in range(5)]
        done, pending = await asyncio.wait(futures)
        assert done == set(futures)
        assert not pending
        assert sorted(future.result() for future in futures) == [1, 2, 3, 4, 5]

    case(main)


@pytest.mark.skipif(PY311, reason="from Python 3.11 on, asyncio.wait refuses coroutines")
def test_wait_takes_bare_commands(case, admin):
    async def main(client):
        done, pending = await asyncio.wait([client.incr("n"), client.incr("n")])
        assert sorted(future.result() for future in done) == [1, 2]
        assert not pending

    case(main)


@pytest.mark.skipif(not PY311, reason="before Python 3.11, asyncio.wait takes coroutines")
def test_wait_refuses_bare_commands(case, admin):
    async def main(client):
        commands = [client.incr("n"), client.incr("n")]
        with pytest.raises(TypeError, match="forbidden"):
            await asyncio.wait(commands)
        for command in commands:
            command.close()
        assert await client.get("n") is None

    case(main)


def test_wait_first_completed(case, admin):
    async def main(client):
        slow = asyncio.ensure_future(client.blpop("list", 30))
        quick = asyncio.ensure_future(client.echo("quick"))
        done, pending = await asyncio.wait([slow, quick], return_when=asyncio.FIRST_COMPLETED)
        assert (done, pending) == ({quick}, {slow})
        assert quick.result() == b"quick"
        await client.rpush("list", "item")
        assert await slow == (b"list", b"item") or slow.result() == [b"list", b"item"]

    case(main)


def test_wait_first_exception(case, admin):
    async def main(client):
        slow = asyncio.ensure_future(client.blpop("list", 30))
        bad = asyncio.ensure_future(client.execute_command("NOSUCH"))
        done, pending = await asyncio.wait([slow, bad], return_when=asyncio.FIRST_EXCEPTION)
        assert (done, pending) == ({bad}, {slow})
        assert isinstance(bad.exception(), ResponseError)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow

    case(main)


def test_wait_timeout(case, admin):
    async def main(client):
        await client.ping()
        slow = asyncio.ensure_future(client.blpop("list", 30))
        done, pending = await asyncio.wait([slow], timeout=0.05)
        assert (done, pending) == (set(), {slow})
        assert not slow.done()
        slow.cancel()
        await asyncio.wait([slow])
        assert slow.cancelled()

    case(main)


def test_wait_for_in_time(case, admin):
    async def main(client):
        assert await asyncio.wait_for(client.echo("x"), 5) == b"x"
        assert await asyncio.wait_for(client.echo("x"), None) == b"x"
        with pytest.raises(ResponseError):
            await asyncio.wait_for(client.execute_command("NOSUCH"), 5)

    case(main)


def test_wait_for_too_late(case, admin):
    async def main(client):
        await client.ping()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.blpop("list", 30), 0.05)
        assert await client.ping()

    case(main)


def test_wait_for_no_time_at_all(case, admin):
    async def main(client):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.incr("n"), 0)
        assert await client.ping()

    case(main)


def test_wait_for_cancelled_from_outside(case, blocked):
    async def main(client):
        task = asyncio.ensure_future(asyncio.wait_for(client.blpop("list", 30), 30))
        await blocked(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await client.ping()

    case(main)


@pytest.mark.skipif(not PY311, reason="asyncio.timeout came with Python 3.11")
def test_timeout(case, admin):
    async def main(client):
        await client.ping()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.blpop("list", 30)
        async with asyncio.timeout(5):
            assert await client.ping()

    case(main)


def test_shield(case, admin):
    async def main(client):
        assert await asyncio.shield(client.incr("n")) == 1
        outer = asyncio.shield(client.incr("n"))
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        while await client.get("n") != b"2":
            await asyncio.sleep(0)

    case(main)


def test_shield_in_cancelled_task(case, blocked):
    async def main(client):
        inner = asyncio.ensure_future(client.blpop("list", 30))

        async def outer():
            await asyncio.shield(inner)

        task = asyncio.create_task(outer())
        await blocked(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not inner.done()
        await client.rpush("list", "item")
        assert list(await inner) == [b"list", b"item"]

    case(main)


def test_ensure_future(case, admin):
    async def main(client):
        future = asyncio.ensure_future(client.incr("n"))
        assert asyncio.isfuture(future)
        assert not future.done()
        assert asyncio.ensure_future(future) is future
        assert await future == 1
        assert future.done()
        assert await future == 1
        assert future.result() == 1

    case(main)


def test_ensure_future_never_awaited(case, count):
    async def main(client):
        asyncio.ensure_future(client.incr("n"))
        asyncio.ensure_future(client.incr("n"))
        gc.collect()
        while count("incrby") < 2:
            await asyncio.sleep(0.001)
        assert await client.get("n") == b"2"

    case(main)


def test_ensure_future_starts_on_the_next_turn_only(case, count):
    async def main(client):
        await client.ping()
        future = asyncio.ensure_future(client.incr("n"))
        assert count("incrby") == 0
        assert await future == 1

    case(main)


def test_create_task(case, admin):
    context = contextvars.copy_context()

    async def main(client):
        task = asyncio.create_task(client.incr("n"), name="named")
        assert isinstance(task, asyncio.Task)
        assert task.get_name() == "named"
        assert task in asyncio.all_tasks()
        assert await task == 1
        assert task.result() == 1
        bad = asyncio.create_task(client.execute_command("NOSUCH"))
        with pytest.raises(ResponseError):
            await bad
        assert isinstance(bad.exception(), ResponseError)
        if PY311:
            assert await asyncio.create_task(client.incr("n"), context=context) == 2

    case(main)


def test_create_task_cancelled(case, blocked):
    async def main(client):
        task = asyncio.create_task(client.blpop("list", 30))
        await blocked(1)
        task.cancel("why")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert await client.ping()

    case(main)


def test_create_task_cancelled_before_it_starts(case, count):
    async def main(client):
        await client.ping()
        task = asyncio.create_task(client.incr("n"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await client.ping()
        assert count("incrby") == 0

    case(main)


@pytest.mark.skipif(not PY311, reason="asyncio.TaskGroup came with Python 3.11")
def test_task_group(case, admin):
    async def main(client):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(client.incr("n")) for _ in range(10)]
        assert sorted(task.result() for task in tasks) == list(range(1, 11))

        with pytest.raises(BaseExceptionGroup) as caught:  # noqa: F821
            async with asyncio.TaskGroup() as group:
                group.create_task(client.blpop("list", 30))
                group.create_task(client.execute_command("NOSUCH"))
        assert [type(error) for error in caught.value.exceptions] == [ResponseError]
        assert await client.ping()

    case(main)


def test_as_completed(case, admin):
    async def main(client):
        commands = [client.echo(str(n)) for n in range(20)]
        values = [await future for future in asyncio.as_completed(commands)]
        assert sorted(values, key=int) == [b"%d" % n for n in range(20)]

        slow, quick = client.blpop("list", 30), client.echo("quick")
        order = asyncio.as_completed([slow, quick])
        assert await next(order) == b"quick"
        await client.rpush("list", "item")
        assert list(await next(order)) == [b"list", b"item"]

    case(main)


def test_as_completed_timeout(case, admin):
    async def main(client):
        await client.ping()
        slow = asyncio.ensure_future(client.blpop("list", 30))
        with pytest.raises(asyncio.TimeoutError):
            for future in asyncio.as_completed([slow], timeout=0.05):
                await future
        slow.cancel()

    case(main)


def test_asyncio_run_of_a_bare_command(impl, port, admin):
    admin.set("key", "value")
    clients = [impl(port=port) for _ in range(4)]  # redis-py's stays with its first loop
    for debug in (False, True):
        assert asyncio.run(clients.pop().get("key"), debug=debug) == b"value"
        with pytest.raises(ResponseError):
            asyncio.run(clients.pop().execute_command("NOSUCH"), debug=debug)


def test_run_until_complete_with_no_loop_running(run, connect, admin):
    admin.set("key", "value")
    loop = run.new_loop()
    client = loop.run_until_complete(call(connect))
    assert loop.run_until_complete(client.get("key")) == b"value"
    assert loop.run_until_complete(client.incr("n")) == 1
    assert loop.run_until_complete(asyncio.gather(*on(loop, client.incr("n")))) == [2]
    loop.run_until_complete(client.aclose())
    run.finish(loop)


def on(loop, *commands):
    return [loop.create_task(command) for command in commands]


def test_create_task_on_a_loop_not_running(run, connect, admin):
    loop = run.new_loop()
    client = loop.run_until_complete(call(connect))
    task = loop.create_task(client.incr("n"))
    other = asyncio.ensure_future(client.incr("n"), loop=loop)
    assert sorted(loop.run_until_complete(asyncio.wait_for(wait_all(task, other), 5))) == [1, 2]
    loop.run_until_complete(client.aclose())
    run.finish(loop)


async def call(function):
    """Before Python 3.10, redis-py's client belongs to the loop it was made in."""
    return function()


async def wait_all(*futures):
    return [await future for future in futures]


def test_run_coroutine_threadsafe(run, connect, admin):
    async def main():
        loop = asyncio.get_running_loop()
        async with connect() as client:
            await client.set("key", "value")
            results = []

            def ask():
                future = asyncio.run_coroutine_threadsafe(client.get("key"), loop)
                results.append(future.result(5))
                future = asyncio.run_coroutine_threadsafe(client.execute_command("NOSUCH"), loop)
                results.append(type(future.exception(5)))
                future = asyncio.run_coroutine_threadsafe(client.blpop("list", 30), loop)
                future.cancel()
                results.append(future.cancelled())

            thread = threading.Thread(target=ask)
            thread.start()
            while thread.is_alive():
                await asyncio.sleep(0.001)
            assert results == [b"value", ResponseError, True]
            assert await client.ping()

    run(main)


def eager(loop, coroutine, *, name=None, context=None, **_):
    """asyncio.eager_task_factory in a form that uvloop can call as well."""
    return asyncio.Task(coroutine, loop=loop, name=name, context=context, eager_start=True)


@pytest.mark.skipif(not PY312, reason="eager tasks came with Python 3.12")
def test_eager_tasks(case, admin):
    async def main(client):
        asyncio.get_running_loop().set_task_factory(eager)
        await client.set("key", "value")
        task = asyncio.create_task(client.get("key"))
        assert await task == b"value"

        async def body():
            return await client.get("key"), asyncio.current_task()

        task = asyncio.create_task(body())
        assert await task == (b"value", task)
        assert await asyncio.gather(client.get("key"), body(), client.incr("n")) != []
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(client.incr("m")) for _ in range(5)]
        assert sorted(task.result() for task in tasks) == [1, 2, 3, 4, 5]
        with pytest.raises(ResponseError):
            await asyncio.create_task(client.execute_command("NOSUCH"))
        task = asyncio.create_task(client.blpop("list", 30))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    case(main)


def of_anyio(function, *args):
    """What start_soon() takes: anyio knew no coroutines but Python's own, until it did."""
    from anyio._backends import _asyncio

    if getattr(_asyncio, "iscoroutine", None) is not inspect.iscoroutine:
        return function, *args

    async def wrapped():
        return await function(*args)

    return (wrapped,)


@pytest.mark.skipif(anyio is None, reason="anyio is not installed")
def test_anyio(case, admin):
    async def main(client):
        await client.ping()
        async with anyio.create_task_group() as group:
            group.start_soon(*of_anyio(client.set, "key", "value"))
            group.start_soon(*of_anyio(client.incr, "n"))
            group.start_soon(*of_anyio(client.incr, "n"))
        assert await client.mget("key", "n") == [b"value", b"2"]
        with anyio.move_on_after(0.05) as scope:
            await client.blpop("list", 30)
        assert scope.cancelled_caught if hasattr(scope, "cancelled_caught") else scope.cancel_called
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.05):
                await client.blpop("list", 30)
        with anyio.fail_after(5):
            assert await client.get("key") == b"value"
        with anyio.CancelScope(shield=True):
            assert await client.get("key") == b"value"

    case(main)


@pytest.mark.skipif(anyio is None, reason="anyio is not installed")
def test_anyio_cancel_scope_ends_pending_commands(case, blocked):
    async def main(client):
        async with anyio.create_task_group() as group:
            group.start_soon(*of_anyio(client.blpop, "list", 30))
            group.start_soon(*of_anyio(client.blpop, "list", 30))
            await blocked(2)
            group.cancel_scope.cancel()
        assert await client.ping()

    case(main)


def test_async_for_and_comprehensions(case, admin):
    async def main(client):
        assert [await client.incr("n") for _ in range(3)] == [1, 2, 3]
        assert {key: await client.echo(key) for key in "ab"} == {"a": b"a", "b": b"b"}
        await client.sadd("set", *range(100))
        assert len([member async for member in client.sscan_iter("set")]) == 100

    case(main)


def test_a_thousand_tasks(busy_case, admin):
    async def main(client):
        async def one(n):
            assert await client.echo(f"a{n}") == f"a{n}".encode()
            return await client.incr("n")

        limit = asyncio.Semaphore(50)  # redis-py opens a connection for each

        async def limited(n):
            async with limit:
                return await one(n)

        assert sorted(await asyncio.gather(*map(limited, range(1000)))) == list(range(1, 1001))

    busy_case(main)
