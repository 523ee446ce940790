"""Pipelines: the queue, its list form, transactions, errors, reuse; as redis-py's."""

import asyncio
import gc
import weakref

import pytest
from redis.client import EMPTY_RESPONSE
from redis.exceptions import DataError, ExecAbortError, ResponseError, WatchError

BOTH = pytest.mark.parametrize("transaction", [False, True], ids=["plain", "transaction"])


@BOTH
def test_results_come_in_order(busy_case, admin, transaction):
    async def main(client):
        pipe = client.pipeline(transaction=transaction)
        for n in range(150):
            pipe.set(f"k{n}", n).get(f"k{n}")
        pipe.set("k0", "other", nx=True).hset("h", mapping={"a": 1}).hgetall("h").ping()
        expected = [reply for n in range(150) for reply in (True, str(n).encode())]
        assert await pipe.execute() == [*expected, None, 1, {b"a": b"1"}, True]
        assert await pipe.execute() == []
        assert await pipe.get("k1").execute() == [b"1"]

    busy_case(main)


@BOTH
def test_length_and_truth(busy_case, admin, transaction):
    async def main(client):
        pipe = client.pipeline(transaction=transaction)
        assert len(pipe) == 0
        assert pipe
        assert pipe.get("a").lrange("b", 0, 1).execute_command("PING") is pipe
        assert len(pipe) == 3
        await pipe.execute()
        assert len(pipe) == 0
        await pipe.get("a").reset()
        assert len(pipe) == 0

    busy_case(main)


@BOTH
def test_command_stack(busy_case, admin, transaction):
    """A list of (arguments, options) that may be read, changed, replaced, and queued on."""

    async def main(client):
        pipe = client.pipeline(transaction=transaction)
        pipe.set("a", 1, ex=10).execute_command("GET", "a", option=[1])
        stack = pipe.command_stack
        assert stack == [
            (("SET", "a", 1, "EX", 10), {}),
            (("GET", "a"), {"option": [1]}),
        ]
        assert pipe.command_stack is stack
        del stack[1]
        pipe.get("a").incrby("n", 2)
        assert [args for args, _ in stack][1:] == [("GET", "a"), ("INCRBY", "n", 2)]
        assert len(pipe) == len(stack) == 3
        stack.append((("INCRBY", "n", 3), {}))
        assert await pipe.execute() == [True, b"1", 2, 5]
        assert len(stack) == 4  # the pipeline has a new one
        assert pipe.command_stack == []
        pipe.command_stack = [(("ECHO", "x"), {})]
        assert await pipe.ping().execute() == [b"x", True]

    busy_case(main)


def test_a_command_stack_of_another_type(busy_case, admin):
    class Stack(list):
        pass

    async def main(client):
        pipe = client.pipeline(transaction=False)
        stack = pipe.command_stack = Stack()
        pipe.set("a", 1).get("a")
        assert len(stack) == len(pipe) == 2
        assert await pipe.execute() == [True, b"1"]

    busy_case(main)


@BOTH
def test_raise_on_error(busy_case, admin, transaction):
    async def main(client):
        await client.set("c", "text")
        pipe = client.pipeline(transaction=transaction)
        pipe.set("a", 1).set("b", 2).lpush("c", 3).set("d", 4).lpop("c")
        wrong = r"^Command # 3 \(LPUSH c 3\) of pipeline caused error: "
        with pytest.raises(ResponseError, match=wrong):
            await pipe.execute()
        assert len(pipe) == 0
        assert await client.get("d") == b"4"
        pipe.set("a", 5).lpush("c", 3).get("a")
        results = await pipe.execute(raise_on_error=False)
        assert results[0] is True
        assert isinstance(results[1], ResponseError)
        assert "Command #" not in str(results[1])
        assert results[2] == b"5"

    busy_case(main)


def test_refused_while_queueing(busy_case, admin):
    async def main(client):
        pipe = client.pipeline().set("a", 1).execute_command("NOSUCH", "x").set("b", 2)
        with pytest.raises(ResponseError, match=r"Command # 2 \(NOSUCH x\) of pipeline") as caught:
            await pipe.execute()
        assert isinstance(caught.value.__cause__, ExecAbortError)
        assert await client.exists("a", "b") == 0
        assert await pipe.set("a", 1).execute() == [True]

    busy_case(main)


@BOTH
@pytest.mark.parametrize("bad", [None, object(), [1], True])
def test_a_bad_argument_sends_nothing(busy_case, admin, count, transaction, bad):
    async def main(client):
        pipe = client.pipeline(transaction=transaction).set("a", 1).set("b", bad)
        with pytest.raises(DataError):
            await pipe.execute()
        assert len(pipe) == 0
        assert await pipe.ping().execute() == [True]

    busy_case(main)
    assert count("set") == 0


@BOTH
def test_response_callbacks(busy_case, admin, transaction):
    async def main(client):
        pipe = client.pipeline(transaction=transaction)
        client.set_response_callback("GET", lambda reply, **options: (reply, options))
        pipe.set("a", 1).get("a").execute_command("get", "a", keys=["a"], option=1).get("a")
        found, other = (b"1", {}), (b"1", {"option": 1})
        assert await pipe.execute() == [True, found, other, found]

    busy_case(main)


@BOTH
def test_a_callback_that_changes_the_callbacks(busy_case, admin, transaction):
    async def main(client):
        def once(reply):
            client.set_response_callback("ECHO", lambda reply: "second")
            client.set_response_callback("PING", lambda reply: "changed")
            return "first"

        client.set_response_callback("ECHO", once)
        pipe = client.pipeline(transaction=transaction).ping().echo("x").echo("x").ping()
        assert await pipe.execute() == [True, "first", "second", "changed"]

    busy_case(main)


@BOTH
def test_awaitable_callbacks(busy_case, admin, transaction):
    async def main(client):
        async def later(reply):
            await asyncio.sleep(0)
            return reply + b"!"

        client.set_response_callback("ECHO", later)
        pipe = client.pipeline(transaction=transaction).echo("a").set("k", 1).echo("b")
        assert await pipe.execute() == [b"a!", True, b"b!"]

    busy_case(main)


def test_a_failing_callback_ends_a_transaction(busy_case, admin):
    async def main(client):
        def fail(reply):
            raise ZeroDivisionError(reply)

        client.set_response_callback("ECHO", fail)
        for raise_on_error in (True, False):
            pipe = client.pipeline().set("a", 1).echo("x")
            with pytest.raises(ZeroDivisionError):
                await pipe.execute(raise_on_error)
            assert len(pipe) == 0
        assert await client.get("a") == b"1"

    busy_case(main)


def test_a_pipeline_decodes_what_it_should(busy_case, admin):
    """DUMP's reply is bytes also for clients that decode."""

    async def main(client):
        pipe = client.pipeline(transaction=False)
        pipe.set("a", "é" * 100).dump("a").get("a").dump("a")
        done, dump, text, again = await pipe.execute()
        assert done is True
        assert isinstance(dump, bytes)
        assert dump == again
        assert text == "é" * 100

    busy_case(main, decode_responses=True)


@BOTH
def test_commands_answered_without_the_server(busy_case, admin, count, transaction):
    async def main(client):
        pipe = client.pipeline(transaction=transaction)
        pipe.set("a", 1).execute_command("MGET", **{EMPTY_RESPONSE: []}).get("a")
        assert await pipe.execute(raise_on_error=False) == [True, [], b"1"]

    busy_case(main)


def test_watch(busy_case, admin):
    async def main(client):
        await client.set("n", 1)
        async with client.pipeline() as pipe:
            await pipe.watch("n")
            value = int(await pipe.get("n"))
            pipe.multi()
            pipe.set("n", value + 1).execute_command("GET", "n")
            assert len(pipe) == 2
            assert await pipe.execute() == [True, b"2"]
            assert await pipe.get("n").execute() == [b"2"]
            await pipe.watch("n")
            await client.set("n", 10)
            pipe.multi()
            pipe.set("n", 3)
            with pytest.raises(WatchError):
                await pipe.execute()
            assert await pipe.get("n").execute() == [b"10"]

    busy_case(main)


def test_explicit_transaction(busy_case, admin, count):
    async def main(client):
        pipe = client.pipeline(transaction=False)
        pipe.multi()
        assert await pipe.set("a", 1).execute() == [True]
        assert await pipe.set("a", 2).execute() == [True]

    busy_case(main)
    assert count("exec") == 1


def test_commands_queued_while_it_executes(native_case, admin):
    """They belong to no execution: what is queued is dropped when one ends."""

    async def main(client):
        pipe = client.pipeline(transaction=False).set("a", 1).get("a")
        running = asyncio.ensure_future(pipe.execute())
        await asyncio.sleep(0)
        pipe.incrby("n", 1)
        assert len(pipe) == 3
        assert await running == [True, b"1"]
        assert len(pipe) == 0
        assert await client.get("n") is None

    native_case(main)


def test_two_executions_at_a_time(native_case, admin):
    async def main(client):
        pipe = client.pipeline(transaction=False).incrby("n", 1).lpush("n", 1)
        first, second = pipe.execute(), pipe.execute()
        results = await asyncio.gather(first, second, return_exceptions=True)
        assert all("Command # 2 (LPUSH n 1) of" in str(result) for result in results)
        assert await client.get("n") == b"2"
        await client.delete("n")

    native_case(main)


@BOTH
def test_a_command_that_changes_its_connection(busy_case, admin, transaction):
    async def main(client):
        await client.set("a", "zero")
        pipe = client.pipeline(transaction=transaction)
        assert await pipe.execute_command("SELECT", 3).set("a", "three").execute() == [True, True]
        if is_ours(client):  # redis-py's connection stays in the other database
            assert await asyncio.gather(*(client.get("a") for _ in range(5))) == [b"zero"] * 5

    busy_case(main)
    admin.execute_command("SELECT", 3)
    assert admin.get("a") == "three"


def is_ours(client):
    return type(client).__module__.startswith("aiecs_redis")


def test_a_pipeline_that_blocks_keeps_nobody_waiting(native_case, admin, blocked):
    async def main(client):
        pipe = client.pipeline(transaction=False).blpop("list", 0).get("a")
        waiting = asyncio.ensure_future(pipe.execute())
        await blocked(1)
        assert await client.set("a", 1) is True
        await client.rpush("list", "x")
        popped, value = await waiting
        assert list(popped) == [b"list", b"x"]
        assert value == b"1"

    native_case(main)


def test_names_that_are_alike(busy_case, admin):
    """Conversions are found by name, also of strings that are not interned, and of bytes."""

    async def main(client):
        pipe = client.pipeline(transaction=False)
        names = ["".join(("P", "ING")), "ping", b"PING", "PING"] * 5
        for name in names:
            pipe.execute_command(name)
        for n in range(12):
            pipe.execute_command(f"{'get' if n % 2 else 'GET'}", "a")
        results = await pipe.execute()
        assert results[: len(names)] == [True, True, b"PONG", True] * 5
        assert results[len(names) :] == [None] * 12

    busy_case(main)


def test_a_pipeline_is_collected(native_case, admin):
    """It may be part of a cycle by what was queued."""

    async def main(client):
        class Key(str):
            pass

        key = Key("a")
        pipe = client.pipeline().set(key, 1)
        key.pipe = pipe
        gone = weakref.ref(key)
        del key, pipe
        gc.collect()
        assert gone() is None

    native_case(main)
