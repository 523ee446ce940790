"""What a task may do when a reply resumes it: anything, as on any turn of the loop."""

import asyncio
import contextvars
import gc
import sys

import pytest
from redis.exceptions import ConnectionError, RedisError, TimeoutError

variable = contextvars.ContextVar("variable", default="unset")


# --- the task's surroundings ---


def test_each_task_keeps_its_context(case, admin):
    async def main(client):
        async def body(n):
            variable.set(n)
            for _ in range(5):
                await client.echo("x")
                assert variable.get() == n
            return variable.get()

        assert await asyncio.gather(*map(body, range(20))) == list(range(20))
        assert variable.get() == "unset"

    case(main)


def test_context_is_that_of_the_task_also_in_a_response_callback_of_another(case, admin):
    async def main(client):
        async def body(n):
            variable.set(n)
            await client.ping()
            before = contextvars.copy_context()[variable]
            await asyncio.sleep(0)
            return before, variable.get()

        assert await asyncio.gather(*map(body, range(10))) == [(n, n) for n in range(10)]

    case(main)


def test_current_task(case, admin):
    async def main(client):
        async def body():
            task = asyncio.current_task()
            for _ in range(5):
                await client.echo("x")
                assert asyncio.current_task() is task
            await asyncio.sleep(0)
            assert asyncio.current_task() is task

        await asyncio.gather(*(body() for _ in range(20)))

    case(main)


def test_a_resumed_task_is_inside_the_running_loop(case, admin):
    async def main(client):
        loop = asyncio.get_running_loop()
        await client.ping()
        assert asyncio.get_running_loop() is loop
        assert await asyncio.wait_for(loop.run_in_executor(None, lambda: 5), 5) == 5

    case(main)


def test_callbacks_scheduled_by_a_resumed_task_run(case, admin):
    async def main(client):
        loop = asyncio.get_running_loop()
        await client.ping()
        called = asyncio.Event()
        loop.call_soon(called.set)
        await asyncio.wait_for(called.wait(), 5)
        await client.ping()
        called.clear()
        loop.call_later(0.001, called.set)
        await asyncio.wait_for(called.wait(), 5)

    case(main)


def test_the_loop_is_not_starved(busy_case, admin):
    """Tasks that are resumed by replies without end leave turns to timers and others."""

    async def main(client):
        stop = False

        async def busy():
            while not stop:
                await client.ping()

        tasks = [asyncio.create_task(busy()) for _ in range(20)]
        for _ in range(20):
            await asyncio.wait_for(asyncio.sleep(0.001), 2)
        stop = True
        await asyncio.gather(*tasks)

    busy_case(main)


# --- re-entrancy ---


def test_a_resumed_task_issues_commands(case, admin):
    async def main(client):
        async def tree(depth):
            await client.incr("n")
            if depth:
                await asyncio.gather(tree(depth - 1), tree(depth - 1))

        await tree(5)
        assert await client.get("n") == b"63"

    case(main)


def test_a_resumed_task_starts_tasks_which_start_tasks(case, admin):
    async def main(client):
        done = asyncio.Event()

        async def chain(left):
            await client.incr("n")
            if left:
                asyncio.ensure_future(client.incr("m"))
                tasks.append(asyncio.create_task(chain(left - 1)))
            else:
                done.set()

        tasks = [asyncio.create_task(chain(50))]
        await asyncio.wait_for(done.wait(), 10)
        await asyncio.gather(*tasks)
        while await client.get("m") != b"50":
            await asyncio.sleep(0)
        assert await client.get("n") == b"51"

    case(main)


def test_a_resumed_task_cancels_other_commands(native_case, admin):
    """One that waits behind it in the same read, one in front of it that is done, and itself."""

    async def main(client):
        await client.ping()
        others = []

        async def canceller():
            await client.echo("me")
            for other in others:
                other.cancel()
            return "done"

        before = asyncio.ensure_future(client.echo("before"))
        task = asyncio.create_task(canceller())
        await asyncio.sleep(0)
        after = [asyncio.ensure_future(client.echo(f"after{n}")) for n in range(5)]
        others += [before, *after[::2]]
        assert await task == "done"
        assert await asyncio.gather(*after[1::2]) == [b"after1", b"after3"]
        assert [future.cancelled() for future in after] == [True, False, True, False, True]
        assert await before == b"before"
        assert await client.echo("next") == b"next"

    native_case(main)


def test_a_resumed_task_cancels_tasks_that_are_due_in_the_same_read(case, admin):
    async def main(client):
        await asyncio.gather(*(client.ping() for _ in range(10)))
        tasks, results = [], []

        async def body(n):
            try:
                assert await client.echo(f"e{n}") == f"e{n}".encode()
                results.append(n)
                for task in tasks[n + 1 :: 2]:
                    task.cancel()
            except asyncio.CancelledError:
                results.append(-n)
                raise

        tasks += [asyncio.create_task(body(n)) for n in range(10)]
        await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(map(abs, results)) == list(range(10))
        assert await client.echo("after") == b"after"

    case(main)


def test_a_resumed_task_cancels_itself(native_case, admin):
    """With redis-py, asyncio.wait_for swallows it before Python 3.12."""

    async def main(client):
        async def body():
            await client.ping()
            asyncio.current_task().cancel()
            await client.ping()

        task = asyncio.create_task(body())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await client.ping()

    native_case(main)


def test_a_resumed_task_closes_the_client(run, connect, admin):
    async def main():
        client = connect()
        await asyncio.gather(*(client.ping() for _ in range(5)))

        async def closer():
            await client.ping()
            await client.aclose()

        async def other(n):
            try:
                assert await client.echo(f"e{n}") == f"e{n}".encode()
            except (
                RedisError,
                OSError,
                RuntimeError,
                AttributeError,
            ):  # redis-py tells it in all these ways
                return "closed"
            return "answered"

        results = await asyncio.gather(other(0), closer(), *map(other, range(1, 5)))
        results.remove(None)
        assert set(results) <= {"answered", "closed"}
        assert await client.ping()  # redis-py's client connects again after aclose(), so does ours
        await client.aclose()

    run(main)


def test_commands_behind_a_close_fail_with_a_connection_error(run, connect_native, admin):
    async def main():
        client = connect_native()
        await client.ping()

        async def closer():
            await client.ping()
            await client.aclose()

        tasks = [
            asyncio.create_task(closer()),
            *(asyncio.create_task(wait(client.echo(f"e{n}"))) for n in range(5)),
        ]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for n, result in enumerate(results[1:]):
            assert result == f"e{n}".encode() or isinstance(result, ConnectionError)

    run(main)


async def wait(awaitable):
    return await awaitable


async def call(function):
    """Before Python 3.10, redis-py's client belongs to the loop it was made in."""
    return function()


def test_a_resumed_task_drops_the_last_reference_to_the_client(run, connect_native, admin):
    async def main():
        clients = [connect_native()]
        await clients[0].ping()

        async def dropper():
            await clients[0].ping()
            clients.clear()
            gc.collect()

        others = [asyncio.ensure_future(clients[0].echo(str(n))) for n in range(5)]
        await dropper()
        results = await asyncio.gather(*others, return_exceptions=True)
        for n, result in enumerate(results):
            assert result == str(n).encode() or isinstance(result, ConnectionError)

    run(main)


def test_collection_in_the_middle(case, admin):
    async def main(client):
        async def body(n):
            await client.set(f"k{n}", "x" * 100)
            gc.collect()
            return await client.get(f"k{n}")

        assert await asyncio.gather(*map(body, range(5))) == [b"x" * 100] * 5

    case(main)


def eager(loop, coroutine, *, name=None, context=None, **_):
    """asyncio.eager_task_factory in a form that uvloop can call as well."""
    return asyncio.Task(coroutine, loop=loop, name=name, context=context, eager_start=True)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_an_eager_task_started_by_a_resumed_task(case, admin):
    async def main(client):
        asyncio.get_running_loop().set_task_factory(eager)
        await client.ping()

        async def inner():
            task = asyncio.current_task()
            assert await client.echo("inner") == b"inner"
            assert asyncio.current_task() is task
            return 1

        async def outer():
            task = asyncio.current_task()
            await client.ping()
            assert await asyncio.create_task(inner()) == 1
            assert asyncio.current_task() is task

        await asyncio.gather(*(outer() for _ in range(5)))

    case(main)


# --- exceptions ---


def test_an_exception_of_a_resumed_task_is_the_tasks(case, admin):
    async def main(client):
        async def body(n):
            await client.ping()
            if n % 2:
                raise ZeroDivisionError(n)
            return await client.echo(str(n))

        results = await asyncio.gather(*map(body, range(6)), return_exceptions=True)
        assert results[::2] == [b"0", b"2", b"4"]
        assert [str(error) for error in results[1::2]] == ["1", "3", "5"]

    case(main)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_interrupt_leaves_the_loop_and_the_replies_behind_it_are_delivered(
    run, connect, admin, kind
):
    loop = run.new_loop()
    client = loop.run_until_complete(call(connect))
    finished = []

    async def body(n):
        await client.echo(f"e{n}")
        if n == 2:
            raise kind("stop")
        finished.append(n)
        return await client.echo(f"again{n}")

    async def warm_up():
        await asyncio.gather(*(client.ping() for _ in range(8)))

    loop.run_until_complete(warm_up())
    tasks = [loop.create_task(body(n)) for n in range(8)]
    with pytest.raises(kind, match="stop"):
        run.forever(loop)
    assert not loop.is_running()
    assert 2 not in finished
    rest = tasks[:2] + tasks[3:]
    assert run.on(loop, wait_all(rest)) == [f"again{n}".encode() for n in (0, 1, 3, 4, 5, 6, 7)]
    assert isinstance(tasks[2].exception(), kind)
    assert run.on(loop, wait(client.ping()))
    loop.run_until_complete(client.aclose())
    run.finish(loop)


async def wait_all(tasks):
    return [await task for task in tasks]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_interrupt_in_a_callback(run, connect, admin, kind):
    loop = run.new_loop()
    client = loop.run_until_complete(call(connect))
    loop.run_until_complete(client.ping())

    def stop(future):
        raise kind("stop")

    async def main():
        future = asyncio.ensure_future(client.incr("n"))
        future.add_done_callback(stop)
        await future
        await asyncio.sleep(5)

    seen = []

    async def other():
        seen.append(await client.echo("x"))

    task = loop.create_task(other())
    with pytest.raises(kind, match="stop"):
        loop.run_until_complete(main())
    run.on(loop, wait_all([task]))
    assert seen == [b"x"]
    assert run.on(loop, wait(client.get("n"))) == b"1"
    loop.run_until_complete(client.aclose())
    run.finish(loop)


def test_interrupts_in_a_row(run, connect_native, admin):
    """Two tasks that raise in the same read: two runs of the loop end, the rest is delivered.

    uvloop ends its turn before it raises, and keeps only the last of the turn's interrupts.
    """
    loop = run.new_loop()
    client = connect_native()
    loop.run_until_complete(client.ping())

    async def body(n):
        await client.echo(f"e{n}")
        if n in (1, 2):
            raise KeyboardInterrupt(n)
        return n

    tasks = [loop.create_task(body(n)) for n in range(5)]
    raised = 0
    while not (tasks[1].done() and tasks[2].done()):
        with pytest.raises(KeyboardInterrupt):
            run.forever(loop)
        raised += 1
    assert raised == 2 or run.uvloop
    assert run.on(loop, wait_all([tasks[0], *tasks[3:]])) == [0, 3, 4]
    assert [str(task.exception()) for task in tasks[1:3]] == ["1", "2"]
    loop.run_until_complete(client.aclose())
    run.finish(loop)


def test_a_connection_begun_before_an_interrupt_is_made(run, connect_native, admin):
    """Its socket is libev's from the next turn on, which the interrupt ends early."""
    loop = run.new_loop()
    options = {"host": "127.0.0.1", "socket_timeout": None, "socket_connect_timeout": None}
    client, other = (connect_native(**options) for _ in range(2))

    def stop(future):
        raise KeyboardInterrupt

    async def main():
        done = asyncio.ensure_future(client.ping())
        await done
        command = other.echo("x")
        next(command.__await__())  # it connects
        done.add_done_callback(stop)
        started.append(command)

    started = []
    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        run.forever(loop)
    assert run.on(loop, wait(started[0])) == b"x"
    assert task.done()
    for each in (client, other):
        loop.run_until_complete(each.aclose())
    run.finish(loop)


def test_a_timer_behind_an_interrupt_fires(run, connect_native, core_server, admin):
    loop = run.new_loop()
    first, second = (connect_native(socket_timeout=seconds) for seconds in (0.2, 0.4))

    async def raise_in_the_end():
        try:
            await first.ping()
        except TimeoutError:
            raise KeyboardInterrupt from None

    async def main():
        await asyncio.gather(first.ping(), second.ping())

    loop.run_until_complete(main())
    core_server.pause()
    try:
        interrupting = loop.create_task(raise_in_the_end())
        waiting = loop.create_task(wait(second.ping()))
        with pytest.raises(KeyboardInterrupt):
            run.forever(loop)
        with pytest.raises(TimeoutError, match="Timeout reading"):
            run.on(loop, wait(waiting))
    finally:
        core_server.resume()
    assert isinstance(interrupting.exception(), KeyboardInterrupt)
    for client in (first, second):
        loop.run_until_complete(client.aclose())
    run.finish(loop)


def test_stopping_the_loop_from_a_resumed_task(run, connect, admin):
    loop = run.new_loop()
    client = loop.run_until_complete(call(connect))

    async def stopper():
        await client.ping()
        loop.stop()
        return await client.echo("after")

    task = loop.create_task(stopper())
    run.forever(loop)
    assert run.on(loop, wait(task)) == b"after"
    loop.run_until_complete(client.aclose())
    run.finish(loop)


def test_pending_commands_survive_a_pause_of_the_loop(run, connect, admin):
    loop = run.new_loop()
    client = loop.run_until_complete(call(connect))

    async def start():
        await client.ping()
        tasks = [asyncio.create_task(wait(client.incr("n"))) for _ in range(5)]
        await asyncio.sleep(0)
        return tasks

    tasks = run.on(loop, start())
    assert sorted(run.on(loop, wait_all(tasks))) == [1, 2, 3, 4, 5]
    loop.run_until_complete(client.aclose())
    run.finish(loop)


def test_a_loop_inside_a_response_callback_is_refused_not_a_crash(case, admin):
    async def main(client):
        loop = asyncio.get_running_loop()

        def nested(reply, **options):
            try:
                loop.run_until_complete(loop.create_future())
            except RuntimeError as error:
                return str(error)

        client.set_response_callback("ECHO", nested)
        assert "already running" in await client.echo("x")
        assert await client.ping()

    case(main)
