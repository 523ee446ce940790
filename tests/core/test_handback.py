"""Blocking commands that are cancelled lose nothing, double nothing, and keep their connection."""

import asyncio
import random

import pytest
import redis
from collecting import at_each_collection

import aiecs_redis
from aiecs_redis.testing import RedisServer

PROTOCOLS = [2, 3]


@pytest.fixture(params=PROTOCOLS)
async def client(request, port, admin):
    async with aiecs_redis.Redis(
        port=port, protocol=request.param, decode_responses=True
    ) as client:
        yield client


async def settled(client):
    for _ in range(2000):
        if not client._native_transport.stats().get("handing_back"):
            return
        await asyncio.sleep(0.001)
    raise AssertionError("never handed back")


WAITS = {
    "blpop": lambda r: r.blpop("q", 0),
    "brpop": lambda r: r.brpop("q", 0),
    "blmpop": lambda r: r.blmpop(0, 1, "q", direction="LEFT", count=2),
    "bzpopmin": lambda r: r.bzpopmin("z", 0),
    "bzpopmax": lambda r: r.bzpopmax("z", 0),
    "bzmpop": lambda r: r.bzmpop(0, 1, ["z"], min=True, count=2),
    "blmove": lambda r: r.blmove("q", "processing", 0),
    "brpoplpush": lambda r: r.brpoplpush("q", "processing", 0),
    "xread": lambda r: r.xread({"s": "$"}, block=0),
}


def waits(*names):
    new = {name: pytest.mark.since("7.0", name.upper()) for name in ("blmpop", "bzmpop")}
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=new.get(name, ())) for name in names]
    )


@waits(*WAITS)
async def test_a_cancelled_wait_takes_nothing_and_keeps_its_connection(
    name, client, admin, blocked
):
    for _ in range(5):
        task = asyncio.ensure_future(WAITS[name](client))
        await blocked(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await settled(client)
        await blocked(0)
        admin.rpush("q", "item")
        admin.zadd("z", {"item": 1})
        assert await client.lrange("q", 0, -1) == ["item"]
        assert await client.zrange("z", 0, -1) == ["item"]
        admin.flushall()
    assert client._native_transport.stats()["connects"] == 2


async def test_the_connection_serves_the_next_one_once_nobody_refers_to_it(client, admin, blocked):
    first = asyncio.ensure_future(client.blpop("a", 0))
    await blocked(1)
    first.cancel()
    second = asyncio.ensure_future(client.blpop("b", 0))
    await blocked(1)
    await settled(client)
    admin.rpush("a", "1")
    admin.rpush("b", "2")
    assert list(await asyncio.wait_for(second, 10)) == ["b", "2"]
    assert admin.lrange("a", 0, -1) == ["1"]


async def popped_then_cancelled(client, admin, blocked, wait, fill):
    """The server has popped, and the reply is on its way, when the waiter is cancelled."""
    task = asyncio.ensure_future(wait(client))
    await blocked(1)
    fill(admin)  # blocks the loop: the reply waits in the socket
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settled(client)


@pytest.mark.since("7.0", "BLMPOP")
async def test_a_list_called_left_gets_back_at_its_right_end(client, admin, blocked):
    def wait(client):
        return client.blmpop(0, 2, "left", "other", direction="RIGHT", count=1)

    await popped_then_cancelled(
        client, admin, blocked, wait, lambda admin: admin.rpush("left", "1", "2", "3")
    )
    assert await client.lrange("left", 0, -1) == ["1", "2", "3"]


@waits("blpop", "brpop", "blmpop", "blmove", "brpoplpush")
async def test_what_was_popped_goes_back_to_its_place_in_a_list(name, client, admin, blocked):
    await popped_then_cancelled(
        client, admin, blocked, WAITS[name], lambda admin: admin.rpush("q", "1", "2", "3")
    )
    assert admin.lrange("q", 0, -1) == ["1", "2", "3"]
    assert admin.lrange("processing", 0, -1) == []


@waits("bzpopmin", "bzpopmax", "bzmpop")
async def test_what_was_popped_goes_back_with_its_score(name, client, admin, blocked):
    members = {"a": 0.1, "b": 2.5, "c": float("inf")}
    await popped_then_cancelled(
        client, admin, blocked, WAITS[name], lambda admin: admin.zadd("z", members)
    )
    assert dict(admin.zrange("z", 0, -1, withscores=True)) == members


async def test_binary_items_come_back_as_they_were(port, admin, blocked):
    item = bytes(range(256))
    async with aiecs_redis.Redis(port=port) as client:
        await popped_then_cancelled(
            client, admin, blocked, WAITS["blpop"], lambda admin: admin.rpush("q", item)
        )
        assert await client.lrange("q", 0, -1) == [item]


async def test_closing_waits_for_what_has_to_go_back(port, admin, blocked):
    client = aiecs_redis.Redis(port=port)
    task = asyncio.ensure_future(client.blpop("q", 0))
    await blocked(1)
    admin.rpush("q", "item")
    task.cancel()
    await client.aclose()
    assert admin.lrange("q", 0, -1) == ["item"]


async def test_a_wait_with_a_timeout_of_its_own_is_called_off_as_well(client, admin, blocked):
    for _ in range(20):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.blpop("q", 5), 0.005)
    await settled(client)
    await blocked(0)
    assert client._native_transport.stats()["connects"] <= 5  # and not one for each of them


async def test_without_the_right_to_unblock_the_connection_is_closed():
    users = {"ann": "on >secret ~* &* +@all -client +client|id"}  # Redis 6.2: no -client|unblock
    with RedisServer(users=users) as server:
        with redis.Redis(port=server.port, decode_responses=True) as admin:
            async with aiecs_redis.Redis(
                port=server.port, username="ann", password="secret"
            ) as client:
                task = asyncio.ensure_future(client.blpop("q", 0))
                while admin.info("clients")["blocked_clients"] != 1:
                    await asyncio.sleep(0.001)
                task.cancel()
                await settled(client)
                while admin.info("clients")["blocked_clients"]:
                    await asyncio.sleep(0.001)
                admin.rpush("q", "item")
                assert await client.lrange("q", 0, -1) == [b"item"]


@pytest.mark.parametrize("producers", [1, 4])
async def test_nothing_is_lost_or_doubled_under_cancellation_at_random(producers, client, admin):
    """Waits are cancelled in every phase while items come; each item arrives exactly once."""
    chance = random.Random(producers)
    items = [f"{producer}-{number}" for producer in range(producers) for number in range(250)]
    got = []

    async def produce(producer):
        for number in range(250):
            await client.lpush("q", f"{producer}-{number}")
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() / 500)

    async def consume():
        while len(got) < len(items):
            task = asyncio.ensure_future(client.brpop("q", 1))
            await asyncio.wait({task}, timeout=chance.random() / 250)
            if not task.cancel():
                reply = task.result()
            else:
                try:
                    reply = await task
                except asyncio.CancelledError:
                    continue
            if reply is not None:
                got.append(reply[1])

    await asyncio.wait_for(
        asyncio.gather(*(produce(n) for n in range(producers)), *(consume() for _ in range(8))), 60
    )
    await settled(client)
    assert sorted(got) == sorted(items)


# ---- answered, and given up before the waiter is told ----


def as_future(command):
    """A command that is on its way, as itself: before Python 3.10 ensure_future() makes a Task."""
    assert asyncio.isfuture(command)
    return command


class PythonTask(asyncio.tasks._PyTask):
    """Not asyncio's C Task: its wake-up is not called within the read."""


async def soon(turns):
    """After so many turns of the loop, counted with handles and not with tasks."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def step(left):
        if left:
            loop.call_soon(step, left - 1)
        else:
            done.set_result(None)

    step(turns)
    await done


def call_in(turns, function):
    loop = asyncio.get_running_loop()
    if turns:
        loop.call_soon(call_in, turns - 1, function)
    else:
        function()


async def awaiting(awaitable):
    return await awaitable


WAITERS = {
    "future": as_future,
    "member of a gather": lambda command: asyncio.gather(command, asyncio.sleep(60)),
    "gather": lambda command: asyncio.gather(command),
    "Python task": lambda command: PythonTask(awaiting(command), loop=asyncio.get_running_loop()),
    "Python task of the command": lambda command: PythonTask(
        command, loop=asyncio.get_running_loop()
    ),
    "wait_for": lambda command: asyncio.ensure_future(asyncio.wait_for(command, 60)),
    "C task": lambda command: asyncio.ensure_future(awaiting(command)),
}


@pytest.mark.parametrize("name", ["blpop", "blmove", "bzpopmin"])
@pytest.mark.parametrize("waiter", WAITERS)
async def test_between_the_reply_and_the_waiter_nothing_is_lost(
    waiter, name, client, admin, blocked
):
    """The cancellation comes so many turns after the reply is there to be read."""
    handed_back = 0
    for turns in range(6):
        seen = []

        outer = WAITERS[waiter](WAITS[name](client))
        if "gather" in waiter:  # what its members have told their callbacks has been handed out
            member = outer._children[0]
            member.add_done_callback(lambda m, seen=seen: m.cancelled() or seen.append(m.result()))
        await blocked(1)
        admin.rpush("q", "item")
        admin.zadd("z", {"item": 1})
        call_in(turns, outer.cancel)
        results = await asyncio.gather(outer, return_exceptions=True)
        if not isinstance(results[0], asyncio.CancelledError):
            seen.append(results[0])
        await settled(client)
        await blocked(0)
        source = admin.zrange("z", 0, -1) if name == "bzpopmin" else admin.lrange("q", 0, -1)
        handed_back += source == ["item"]
        assert bool(seen) != (source == ["item"]), (turns, seen, source)
        admin.flushall()
    assert handed_back, "the cancellation never came in time"


async def test_what_was_answered_and_not_told_is_still_pending(client, admin, blocked):
    """Nobody has asked: without callbacks it can be cancelled as if the reply had come later."""
    future = as_future(client.blpop("q", 0))
    await blocked(1)
    admin.rpush("q", "item")
    await soon(5)
    assert "pending" in repr(future)
    assert future.cancel() is True
    assert future.cancelled()
    await settled(client)
    assert admin.lrange("q", 0, -1) == ["item"]


@pytest.mark.parametrize("look", ["done", "result", "exception", "await", "wait"])
async def test_whoever_looks_has_it(look, client, admin, blocked):
    future = as_future(client.blpop("q", 0))
    await blocked(1)
    admin.rpush("q", "item")
    await soon(5)
    if look == "done":
        assert future.done()
    elif look == "result":
        assert list(future.result()) == ["q", "item"]
    elif look == "exception":
        assert future.exception() is None
    elif look == "await":
        assert list(await future) == ["q", "item"]
    else:
        assert (await asyncio.wait({future})) == ({future}, set())
    assert future.cancel() is False
    assert list(await future) == ["q", "item"]
    assert admin.lrange("q", 0, -1) == []


async def test_what_nobody_has_looked_at_goes_back_when_it_is_dropped(client, admin, blocked):
    future = as_future(client.blpop("q", 0))
    await blocked(1)
    admin.rpush("q", "1", "2")
    await soon(5)
    assert admin.lrange("q", 0, -1) == ["2"]
    del future
    await settled(client)
    assert admin.lrange("q", 0, -1) == ["1", "2"]


async def test_a_move_nobody_looks_at_stays_done(client, admin, blocked):
    asyncio.ensure_future(client.blmove("q", "processing", 0))
    await blocked(1)
    admin.rpush("q", "item")
    await soon(5)
    await settled(client)
    assert admin.lrange("processing", 0, -1) == ["item"]


async def test_a_frame_that_is_closed_takes_nothing(client, admin, blocked):
    coroutine = awaiting(client.blpop("q", 0))
    assert coroutine.send(None) is not None
    await blocked(1)
    coroutine.close()
    admin.rpush("q", "item")
    for _ in range(1000):
        await asyncio.sleep(0.001)
        if admin.info("clients")["blocked_clients"] == 0 and admin.lrange("q", 0, -1):
            break
    assert admin.lrange("q", 0, -1) == ["item"]


@pytest.mark.parametrize("how", ["close", "throw"])
@pytest.mark.parametrize("answered", [False, True])
async def test_a_command_driven_by_hand_and_given_up_takes_nothing(
    how, answered, client, admin, blocked
):
    command = client.blpop("q", 0)
    yielded = command.send(None)
    await blocked(1)
    if answered:
        admin.rpush("q", "item")
        await soon(5)
    del yielded
    if how == "close":
        command.close()
    else:
        with pytest.raises(KeyError):
            command.throw(KeyError("x"))
    await settled(client)
    await blocked(0)
    if not answered:
        admin.rpush("q", "item")
        await asyncio.sleep(0.01)
    assert admin.lrange("q", 0, -1) == ["item"]


async def test_a_response_callback_that_cancels_takes_nothing(client, admin, blocked):
    def cancelling(reply, **options):
        tasks[0].cancel()
        return reply

    tasks = []
    client.set_response_callback("BLPOP", cancelling)
    tasks.append(asyncio.ensure_future(awaiting(client.blpop("q", 0))))
    await blocked(1)
    admin.rpush("q", "item")
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    await settled(client)
    assert admin.lrange("q", 0, -1) == ["item"]


async def test_bytes_that_do_not_survive_decoding_go_back_as_they_were(port, admin, blocked):
    item = b"\xff\xfe text"
    async with aiecs_redis.Redis(
        port=port, decode_responses=True, encoding_errors="replace"
    ) as client:
        future = as_future(client.blpop("q", 0))
        await blocked(1)
        admin.rpush("q", item)
        await soon(5)
        assert future.cancel()
        await settled(client)
    with redis.Redis(port=port) as raw:
        assert raw.lrange("q", 0, -1) == [item]
    async with aiecs_redis.Redis(
        port=port, decode_responses=True, encoding_errors="replace"
    ) as client:
        assert list(await client.blpop("q", 1)) == ["q", "\ufffd\ufffd text"]


async def test_what_cannot_go_back_is_told(port, admin, blocked):
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    client = aiecs_redis.Redis(port=port)
    future = as_future(client.blpop("q", 0))
    await blocked(1)
    admin.rpush("q", "item")
    await soon(5)
    await client.aclose()
    assert future.cancel()
    assert [context["message"] for context in told] == [
        "What a cancelled blocking command had popped is lost"
    ]


async def test_a_finalizer_that_cancels_a_wait_which_is_being_cancelled(client, admin, blocked):
    for _ in range(3):
        waiting = asyncio.ensure_future(client.blpop([f"q{number}" for number in range(20)], 0))
        await blocked(1)
        with at_each_collection(waiting.cancel):
            waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await settled(client)
    admin.rpush("q3", "item")
    assert list(await client.blpop("q3", 5)) == ["q3", "item"]
