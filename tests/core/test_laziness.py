"""A command before it starts: nothing is sent, and it looks like the coroutine it stands for."""

import asyncio
import collections.abc
import gc
import inspect
import warnings
import weakref

import pytest
from redis.exceptions import DataError, ResponseError


@pytest.fixture
def recorded():
    """The warnings of the test, also those from finalizers."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def never_awaited(recorded):
    gc.collect()
    messages = [str(w.message) for w in recorded if issubclass(w.category, RuntimeWarning)]
    return [message for message in messages if "was never awaited" in message]


def test_nothing_is_sent_before_it_is_awaited(case, count):
    async def main(client):
        await client.ping()
        command = client.incr("n")
        await asyncio.sleep(0.005)
        await client.ping()
        assert count("incrby") == 0
        assert await command == 1
        assert count("incrby") == 1

    case(main)


def test_order_is_that_of_the_awaits(case, admin):
    async def main(client):
        first, second = client.append("key", "a"), client.append("key", "b")
        assert await second == 1
        assert await first == 2
        assert await client.get("key") == b"ba"

    case(main)


def test_warning_when_dropped(case, count, recorded):
    async def main(client):
        await client.ping()
        client.incr("n")
        assert len(never_awaited(recorded)) == 1
        client.execute_command("INCR", "n")
        assert len(never_awaited(recorded)) == 2
        assert all(
            "coroutine 'Redis.execute_command'" in message for message in never_awaited(recorded)
        )
        assert await client.get("n") is None

    case(main)


def test_warning_when_dropped_without_any_loop(connect, admin, recorded):
    client = connect()
    client.get("key")
    assert len(never_awaited(recorded)) == 1


def test_no_warning_when_closed_or_used(case, count, recorded):
    async def main(client):
        await client.ping()
        command = client.incr("n")
        command.close()
        command.close()
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await command
        del command
        await client.get("n")
        await asyncio.gather(client.get("n"), client.get("n"))
        asyncio.ensure_future(client.get("n"))
        await asyncio.create_task(client.get("n"))
        assert count("incrby") == 0

    case(main)
    assert never_awaited(recorded) == []


def test_no_warning_after_throw(connect, admin, recorded):
    command = connect().get("key")
    with pytest.raises(ZeroDivisionError, match="thrown"):
        command.throw(ZeroDivisionError("thrown"))
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        command.send(None)
    del command
    assert never_awaited(recorded) == []


def test_throw_takes_a_class_as_well(connect, admin):
    command = connect().get("key")
    with pytest.raises(ZeroDivisionError):
        command.throw(ZeroDivisionError)
    command = connect().get("key")
    with pytest.raises(TypeError):
        command.throw("text")
    command.close()


def test_it_is_a_coroutine(case, admin):
    async def main(client):
        command = client.get("key")
        assert asyncio.iscoroutine(command)
        assert inspect.isawaitable(command)
        assert isinstance(command, collections.abc.Coroutine)
        assert isinstance(command, collections.abc.Awaitable)
        assert not isinstance(command, asyncio.Future)
        assert command.__name__ == "execute_command"
        assert command.__qualname__ == "Redis.execute_command"
        assert command.cr_running is False
        assert command.cr_await is None
        assert not callable(command)
        with pytest.raises(TypeError):
            iter(command)
        assert await command is None

    case(main)


def test_it_is_no_future_without_a_loop(connect, admin, recorded):
    command = connect().get("key")
    assert not asyncio.isfuture(command)
    assert asyncio.iscoroutine(command)
    command.close()
    assert never_awaited(recorded) == []


def test_asked_on_a_running_loop_it_becomes_a_future(native_case, count):
    async def main(client):
        await client.ping()
        command = client.incr("n")
        assert asyncio.isfuture(command)
        assert asyncio.isfuture(command)
        assert not asyncio.iscoroutine(command)
        assert inspect.isawaitable(command)
        assert not hasattr(command, "send")
        assert count("incrby") == 0
        assert not command.done()
        assert await command == 1
        assert count("incrby") == 1

    native_case(main)


def test_send_starts_and_yields_what_a_task_waits_for(native_case, admin):
    async def main(client):
        await client.ping()
        command = client.echo("x")
        with pytest.raises(TypeError, match="can't send non-None value"):
            command.send(1)
        yielded = command.send(None)
        assert asyncio.isfuture(yielded)
        command.close()
        yielded.cancel()

    native_case(main)


def test_weak_references(case, admin):
    async def main(client):
        command = client.get("key")
        reference = weakref.ref(command)
        assert reference() is command
        assert await command is None
        del command
        await asyncio.sleep(0)
        gc.collect()
        assert reference() is None

    case(main)


def test_awaiting_twice_sends_once(case, is_native, count):
    async def main(client):
        command = client.incr("n")
        assert await command == 1
        if is_native:  # a finished future tells its result again
            assert await command == 1
        else:
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                await command
        assert count("incrby") == 1

    case(main)


def test_awaited_by_two_tasks(native_case, count):
    async def main(client):
        command = client.incr("n")

        async def wait():
            return await command

        assert await asyncio.gather(wait(), wait(), wait()) == [1, 1, 1]
        assert count("incrby") == 1

    native_case(main)


def test_a_wrong_argument_raises_at_the_await(case, count):
    """Before a byte is sent, and the connection stays."""

    async def main(client):
        identity = await client.client_id()
        for wrong in (None, True, [], {}, object()):
            command = client.execute_command("SET", "key", wrong)
            with pytest.raises(DataError, match="Invalid input of type: '"):
                await command
        assert await client.client_id() == identity
        results = await asyncio.gather(
            client.incr("n"),
            client.execute_command("INCRBY", "n", None),
            client.incr("n"),
            return_exceptions=True,
        )
        assert sorted(results[::2]) == [1, 2]
        assert type(results[1]) is DataError
        assert count("set") == 0

    case(main)


def test_an_unencodable_argument_raises_at_the_await(case, admin):
    async def main(client):
        command = client.set("key", "\udc80")
        with pytest.raises(UnicodeEncodeError):
            await command
        assert await client.get("key") is None

    case(main)


def test_arguments_are_read_at_the_start(case, admin):
    async def main(client):
        value = bytearray(b"before")
        command = client.set("key", memoryview(value))
        value[:] = b"after!"
        await command
        assert await client.get("key") == b"after!"

    case(main)


def test_arguments_may_change_after_the_start(case, admin):
    async def main(client):
        await client.ping()
        value = bytearray(b"x" * 100_000)
        futures = [asyncio.create_task(client.set(f"key{n}", memoryview(value))) for n in range(3)]
        await asyncio.sleep(0)
        await asyncio.gather(*futures)
        value[:] = bytes(100_000)
        assert await client.get("key2") == b"x" * 100_000

    case(main)


def test_repr_of_a_command_tells_no_arguments(native_case, admin):
    async def main(client):
        command = client.set("key", "secret")
        assert "secret" not in repr(command)
        asyncio.isfuture(command)
        assert "secret" not in repr(command)
        await command
        assert "secret" not in repr(command)

    native_case(main)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("GET", "GET"),
        ("CLIENT LIST", "CLIENT LIST"),
        (b"CLIENT LIST", "CLIENT LIST"),
        ("ACL WHOAMI", "ACL WHOAMI"),
        ("AUTH secret", "AUTH"),
        ("  auth secret", "auth"),
        ("CONFIG SET requirepass secret", "CONFIG SET"),
        ("NO.SUCH secret", "NO.SUCH"),
        ("N" * 100 + " secret", "N" * 100),
        (bytearray(b"AUTH secret"), "bytearray"),
        (" ", ""),
    ],
)
def test_repr_tells_no_arguments_that_are_in_the_name(native_case, name, shown):
    async def main(client):
        command = client.execute_command(name)
        assert repr(command) == f"<Command {shown} new>"
        command.close()

    native_case(main)


def test_task_repr_and_stack(case, blocked, capsys):
    async def main(client):
        task = asyncio.create_task(client.blpop("list", 30), name="wrapping")
        for _ in range(2):
            assert "wrapping" in repr(task)
            assert "execute_command" in repr(task)
            assert isinstance(task.get_stack(), list)
            task.print_stack()
            assert asyncio.iscoroutine(task.get_coro()) or inspect.isawaitable(task.get_coro())
            await blocked(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "cancelled" in repr(task)
        assert task.get_stack() == []
        await blocked(0)

        async def body():
            await client.blpop("list", 30)

        task = asyncio.create_task(body())
        await blocked(1)
        assert "body" in repr(task)
        assert [frame.f_code.co_name for frame in task.get_stack()][:1] == ["body"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        bad = asyncio.create_task(client.execute_command("NOSUCH"))
        with pytest.raises(ResponseError):
            await bad
        assert "ResponseError" in repr(bad)
        bad.print_stack()

    case(main)
