"""A started command is a future: its methods answer as those of redis-py's, which is a Task, do."""

import asyncio
import contextvars
import gc
import sys
import traceback
import weakref

import pytest
from redis.exceptions import ResponseError

variable = contextvars.ContextVar("variable", default="unset")


PY311 = sys.version_info >= (3, 11)
needs_messages = pytest.mark.skipif(not PY311, reason="before Python 3.11, Tasks lose the message")


def started(command):
    return asyncio.ensure_future(command)


def test_pending_then_done(case, admin):
    async def main(client):
        future = started(client.incr("n"))
        assert (future.done(), future.cancelled()) == (False, False)
        for question in (future.result, future.exception):
            with pytest.raises(asyncio.InvalidStateError, match="is not set"):
                question()
        assert await future == 1
        assert (future.done(), future.cancelled()) == (True, False)
        assert future.result() == 1
        assert future.exception() is None
        assert future.cancel() is False
        assert future.result() == 1
        assert future.get_loop() is asyncio.get_running_loop()

    case(main)


def test_failed(case, admin):
    async def main(client):
        future = started(client.execute_command("NOSUCH"))
        with pytest.raises(ResponseError, match="unknown command"):
            await future
        assert (future.done(), future.cancelled()) == (True, False)
        assert type(future.exception()) is ResponseError
        assert future.exception() is future.exception()
        with pytest.raises(ResponseError) as caught:
            future.result()
        assert caught.value is future.exception()

    case(main)


def test_cancelled(case, blocked):
    async def main(client):
        future = started(client.blpop("list", 30))
        await blocked(1)
        assert future.cancel() is True
        with pytest.raises(asyncio.CancelledError):
            await future
        assert (future.done(), future.cancelled()) == (True, True)
        assert future.cancel() is False
        for question in (future.result, future.exception):
            with pytest.raises(asyncio.CancelledError):
                question()
        with pytest.raises(asyncio.CancelledError):
            await future

    case(main)


@needs_messages
@pytest.mark.parametrize("message", [(), (None,), ("why",), ("",), (5,)], ids=repr)
def test_cancel_message(case, blocked, message):
    """Compared with a bare asyncio.Future: the ways of a Task's message differ between Pythons."""

    async def main(client):
        plain = asyncio.get_running_loop().create_future()
        future = started(client.blpop("list", 30))
        await blocked(1)
        errors = []
        for each in (plain, future):
            each.cancel(*message)
            with pytest.raises(asyncio.CancelledError) as caught:
                await each
            errors.append(caught.value)
        assert errors[0].args == errors[1].args

    case(main)


def test_gather_collects_a_cancelled_child(case, blocked):
    async def main(client):
        waiting = asyncio.ensure_future(client.blpop("nothing", 30))
        gathered = asyncio.gather(waiting, client.ping(), return_exceptions=True)
        await blocked(1)
        waiting.cancel()
        cancelled, ping = await asyncio.wait_for(gathered, 10)
        assert type(cancelled) is asyncio.CancelledError
        assert ping is True

    case(main)


@needs_messages
def test_cancel_message_by_keyword(case, blocked):
    async def main(client):
        future = started(client.blpop("list", 30))
        await blocked(1)
        assert future.cancel(msg="why")
        with pytest.raises(asyncio.CancelledError, match="why"):
            await future
        with pytest.raises(TypeError):
            future.cancel(reason="why")

    case(main)


def test_cancel_before_the_start(case, count):
    async def main(client):
        await client.ping()
        future = started(client.incr("n"))
        assert future.cancel() is True
        with pytest.raises(asyncio.CancelledError):
            await future
        await client.ping()
        assert count("incrby") == 0

    case(main)


def test_a_callback_for_a_command_cancelled_before_it_was_ever_on_a_loop(native_case, admin):
    async def main(client):
        seen = []
        future = client.get("key").__await__()
        assert future.cancel() is True
        future.add_done_callback(seen.append)
        await asyncio.sleep(0)
        assert seen == [future]

    native_case(main)


def test_a_callback_for_a_command_cancelled_where_no_loop_runs(native):
    future = native().get("key").__await__()
    assert future.cancel() is True
    with pytest.raises(RuntimeError, match="no running event loop"):
        future.add_done_callback(print)


def test_cancel_of_the_waiting_task_cancels_the_command(case, blocked):
    async def main(client):
        future = started(client.blpop("list", 30))

        async def wait():
            await future

        task = asyncio.create_task(wait())
        await blocked(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert future.cancelled()

    case(main)


# --- callbacks ---


def test_callback_gets_the_future(case, admin):
    async def main(client):
        seen = []
        future = started(client.incr("n"))
        future.add_done_callback(seen.append)
        assert seen == []
        await future
        await asyncio.sleep(0)
        assert seen == [future]
        assert seen[0] is future

    case(main)


def test_callback_added_afterwards_runs_on_a_later_turn(case, admin):
    async def main(client):
        seen = []
        future = started(client.incr("n"))
        await future
        future.add_done_callback(seen.append)
        assert seen == []
        await asyncio.sleep(0)
        assert seen == [future]

    case(main)


def test_callbacks_run_in_order(case, admin):
    async def main(client):
        seen = []
        future = started(client.incr("n"))
        for n in range(5):
            future.add_done_callback(lambda _, n=n: seen.append(n))
        await future
        await asyncio.sleep(0)
        assert seen == [0, 1, 2, 3, 4]

    case(main)


def test_callbacks_of_several_commands_run_in_the_order_of_the_replies(native_case, admin):
    async def main(client):
        await client.ping()
        seen = []
        futures = [started(client.incr("n")) for _ in range(20)]
        for future in futures:
            future.add_done_callback(lambda future: seen.append(future.result()))
        await futures[-1]
        await asyncio.sleep(0)
        assert seen == list(range(1, 21))

    native_case(main)


def test_remove_done_callback(case, admin):
    async def main(client):
        seen = []

        def first(future):
            seen.append("first")

        def second(future):
            seen.append("second")

        future = started(client.incr("n"))
        assert future.remove_done_callback(first) == 0
        for callback in (first, second, first, second, first):
            future.add_done_callback(callback)
        assert future.remove_done_callback(first) == 3
        assert future.remove_done_callback(first) == 0
        await future
        await asyncio.sleep(0)
        assert seen == ["second", "second"]
        assert future.remove_done_callback(second) == 0

    case(main)


def test_remove_done_callback_compares_by_equality(case, admin):
    class Equal:
        def __call__(self, future):
            raise AssertionError("was removed")

        def __eq__(self, other):
            return isinstance(other, Equal)

        __hash__ = None

    class Broken(Equal):
        def __eq__(self, other):
            raise ZeroDivisionError

    async def main(client):
        future = started(client.incr("n"))
        future.add_done_callback(Equal())
        future.add_done_callback(Equal())
        with pytest.raises(ZeroDivisionError):
            future.remove_done_callback(Broken())
        assert future.remove_done_callback(Equal()) == 2
        assert await future == 1

    case(main)


def test_callback_that_removes_while_compared(case, admin):
    async def main(client):
        future = started(client.incr("n"))
        calls = []

        class Meddling:
            def __call__(self, future):
                calls.append(self)

            def __eq__(self, other):
                future.add_done_callback(calls.append)
                return False

            __hash__ = None

        future.add_done_callback(Meddling())
        future.add_done_callback(Meddling())
        assert future.remove_done_callback(print) == 0
        assert await future == 1

    case(main)


def test_each_callback_runs_in_its_context(case, admin):
    async def main(client):
        seen = []
        other = contextvars.copy_context()
        other.run(variable.set, "other")
        variable.set("first")
        future = started(client.incr("n"))
        future.add_done_callback(lambda _: seen.append(variable.get()))
        variable.set("second")
        future.add_done_callback(lambda _: seen.append(variable.get()))
        future.add_done_callback(lambda _: seen.append(variable.get()), context=other)
        variable.set("third")
        await future
        await asyncio.sleep(0)
        assert seen == ["first", "second", "other"]

    case(main)


@pytest.mark.skipif(
    sys.version_info < (3, 10), reason="before Python 3.10, ensure_future() makes a Task"
)
@pytest.mark.parametrize(
    "arguments",
    [((), {}), ((print,), {"context": 5}), ((print, None), {}), ((print,), {"kontext": None})],
)
def test_wrong_arguments_of_add_done_callback(native_case, admin, arguments):
    async def main(client):
        future = started(client.incr("n"))
        args, kwargs = arguments
        with pytest.raises(TypeError):
            future.add_done_callback(*args, **kwargs)
        assert await future == 1

    native_case(main)


def test_exception_in_a_callback_goes_to_the_loop(case, run, admin):
    async def main(client):
        seen = []

        def broken(future):
            raise ZeroDivisionError("from callback")

        future = started(client.incr("n"))
        for callback in (broken, seen.append, broken, seen.append):
            future.add_done_callback(callback)
        assert await future == 1
        await asyncio.sleep(0)
        assert seen == [future, future]

    case(main)
    contexts = run.taken()
    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError] * 2
    assert all(context["message"] for context in contexts)


def test_callbacks_of_a_cancelled_command(case, blocked):
    async def main(client):
        seen = []
        future = started(client.blpop("list", 30))
        future.add_done_callback(lambda future: seen.append(future.cancelled()))
        await blocked(1)
        future.cancel()
        assert seen == []
        with pytest.raises(asyncio.CancelledError):
            await future
        await asyncio.sleep(0)
        assert seen == [True]

    case(main)


def test_waiters_of_both_kinds(case, admin):
    async def main(client):
        seen = []
        future = started(client.incr("n"))
        future.add_done_callback(lambda _: seen.append("callback"))

        async def wait(name):
            assert await future == 1
            seen.append(name)

        await asyncio.gather(wait("a"), wait("b"), asyncio.shield(future), wait("c"))
        await asyncio.sleep(0)
        assert seen == ["callback", "a", "b", "c"]

    case(main)


# --- exceptions ---


def test_traceback_shows_the_await_and_does_not_grow(case, admin):
    async def main(client):
        future = started(client.execute_command("NOSUCH"))
        lengths = []
        for _ in range(4):
            try:
                await future
            except ResponseError as error:
                frames = traceback.extract_tb(error.__traceback__)
                assert frames[0].name == "main"
                lengths.append(len(frames))
        assert lengths[1:] == lengths[1:2] * 3 or not PY311  # before, that of any future grows
        try:
            await client.execute_command("NOSUCH")
        except ResponseError as error:
            assert traceback.extract_tb(error.__traceback__)[0].name == "main"
            assert error.__cause__ is None
            assert error.__context__ is None

    case(main)


def test_context_of_an_error_is_what_was_being_handled(case, admin):
    async def main(client):
        try:
            raise ZeroDivisionError
        except ZeroDivisionError as handled:
            with pytest.raises(ResponseError) as caught:
                await client.execute_command("NOSUCH")
            context = caught.value.__context__
            while context is not None and context is not handled:
                context = context.__context__
            assert context is handled

    case(main)


def test_errors_of_two_commands_are_two_objects(case, admin):
    async def main(client):
        first, second = await asyncio.gather(
            client.execute_command("NOSUCH"),
            client.execute_command("NOSUCH"),
            return_exceptions=True,
        )
        assert first is not second

    case(main)


def is_pending(reference):
    future = reference()
    return future is not None and not future.done()


def test_unretrieved_exception_is_reported(case, run, admin):
    async def main(client):
        forgotten = weakref.ref(started(client.execute_command("NOSUCH")))
        retrieved = started(client.execute_command("NOSUCH"))
        asked = started(client.execute_command("NOSUCH"))
        await asyncio.wait([retrieved, asked])
        with pytest.raises(ResponseError):
            await retrieved
        asked.exception()
        while is_pending(forgotten):
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        del retrieved, asked
        gc.collect()

    case(main)
    (context,) = run.taken()
    assert "exception was never retrieved" in context["message"]
    assert type(context["exception"]) is ResponseError
    assert context.get("task") or context.get("future")


def test_nothing_is_reported_of_the_cancelled(case, blocked):
    async def main(client):
        future = started(client.blpop("list", 30))
        await blocked(1)
        future.cancel()
        del future
        await blocked(0)
        gc.collect()

    case(main)


# --- memory ---


def test_a_dropped_pending_command_is_still_executed(case, count):
    async def main(client):
        reference = weakref.ref(started(client.incr("n")))
        while count("incrby") == 0:
            gc.collect()
            await asyncio.sleep(0)
        for _ in range(1000):
            if reference() is None:
                break
            await client.ping()
            gc.collect()
        assert reference() is None

    case(main)


def test_a_cycle_through_a_callback_is_collected(case, admin):
    async def main(client):
        class Holder:
            pass

        async def part():
            holder = Holder()
            holder.future = started(client.incr("n"))
            holder.future.add_done_callback(lambda _: holder)
            await holder.future
            return weakref.ref(holder)

        reference = await part()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
        assert reference() is None

    case(main)
