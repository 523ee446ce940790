"""Which connection a command takes, how many there are, and how much may wait."""

import asyncio
import contextlib
import time

import pytest
import redis.asyncio.retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, DataError, ResponseError, TimeoutError

from aiecs_redis.testing import FaultProxy


def connections(admin):
    return admin.info("clients")["connected_clients"] - 1  # without the observer's own


def test_commands_share_one_connection(run_plain, connect_native, admin):
    async def main():
        async with connect_native() as client:
            await asyncio.gather(*(client.echo(str(n)) for n in range(1000)))
            assert connections(admin) == 1

    run_plain(main)


def test_two_connections_serve_everybody(run_plain, connect_native, admin):
    """With redis-py this is "Too many connections"."""

    async def main():
        async with connect_native(max_connections=2) as client:

            async def blocking(n):
                assert await client.blpop(f"empty{n}", 0.02) is None
                await client.rpush(f"full{n}", "item")
                assert list(await client.blpop(f"full{n}", 5)) == [f"full{n}".encode(), b"item"]

            async def ordinary(n):
                for turn in range(10):
                    assert await client.echo(f"{n}-{turn}") == f"{n}-{turn}".encode()

            await asyncio.gather(*map(blocking, range(4)), *map(ordinary, range(200)))
            assert connections(admin) <= 2

    run_plain(main)


def test_a_blocking_command_does_not_hold_the_others(run_plain, connect_native, blocked, admin):
    async def main():
        async with connect_native() as client:
            waiting = [asyncio.ensure_future(client.blpop("list", 30)) for _ in range(3)]
            await client.ping()
            await blocked(3)
            for n in range(100):
                assert await client.incr("n") == n + 1
            await client.rpush("list", 0, 1, 2)
            assert sorted(item for _, item in await asyncio.gather(*waiting)) == [b"0", b"1", b"2"]

    run_plain(main)


@pytest.mark.parametrize(
    "command",
    [
        lambda c: c.blpop("x", 30),
        lambda c: c.brpop("x", 30),
        lambda c: c.blmove("x", "y", 30),
        lambda c: c.brpoplpush("x", "y", 30),
        pytest.param(
            lambda c: c.blmpop(30, 1, "x", direction="LEFT"),
            marks=pytest.mark.since("7.0", "BLMPOP"),
        ),
        lambda c: c.bzpopmin("x", 30),
        lambda c: c.bzpopmax("x", 30),
        pytest.param(
            lambda c: c.bzmpop(30, 1, ["x"], min=True), marks=pytest.mark.since("7.0", "BZMPOP")
        ),
        lambda c: c.xread({"x": "$"}, block=30_000),
        lambda c: c.execute_command("blpop", "x", "30"),
        lambda c: c.execute_command(b"BLPOP", b"x", b"30"),
        lambda c: c.execute_command("XREAD", "BLOCK", 30_000, "STREAMS", "x", "$"),
        lambda c: c.wait(1, 30_000),
    ],
)
def test_every_blocking_command_has_a_connection_of_its_own(
    run_plain, connect_native, blocked, admin, command
):
    async def main():
        async with connect_native() as client:
            await client.ping()
            future = asyncio.ensure_future(command(client))
            await blocked(1)
            started = time.monotonic()
            assert await client.ping()
            assert time.monotonic() - started < 1
            future.cancel()
            with pytest.raises(asyncio.CancelledError):
                await future

    run_plain(main)


@pytest.mark.parametrize("word", ["streams", "block"])
def test_a_group_may_be_called_like_an_option(run_plain, connect_native, blocked, admin, word):
    async def main():
        async with connect_native() as client:
            await client.xgroup_create("stream", word, mkstream=True)
            reading = asyncio.ensure_future(client.xreadgroup(word, word, {"stream": ">"}, block=0))
            await blocked(1)
            assert await asyncio.wait_for(client.echo("not held"), 5) == b"not held"
            await client.xadd("stream", {"field": "value"})
            assert len(await asyncio.wait_for(reading, 5)) == 1
            assert await client.xreadgroup(word, word, {"stream": ">"}) in ([], {})

    run_plain(main)


def test_leases_are_used_again(run_plain, connect_native, admin):
    async def main():
        async with connect_native() as client:
            await client.rpush("list", *range(20))
            for _ in range(20):
                await client.blpop("list", 5)
            assert connections(admin) == 2

    run_plain(main)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(["CLIENT NO-EVICT", "on"], marks=pytest.mark.since("7.0", "CLIENT NO-EVICT")),
        ["CLIENT TRACKING", "on"],
    ],
)
def test_commands_that_change_their_connection_do_not_share_it(
    run_plain, connect_native, admin, change
):
    async def main():
        async with connect_native() as client:
            await client.set("key", "in 0")
            await client.execute_command("SELECT", 5)
            await client.execute_command(*change)
            await client.execute_command("CLIENT", "REPLY", "ON")
            assert await client.get("key") == b"in 0"
            info = await client.client_info()
            assert (info["db"], info["flags"]) == (0, "N")  # "e": NO-EVICT, "t": TRACKING
            await client.rpush("list", "item")
            assert list(await client.blpop("list", 1)) == [b"list", b"item"]

    run_plain(main)


def test_scripts_are_not_debugged_behind_a_script_debug(run_plain, connect_native):
    """A debugged script is answered with the debugger's lines, and its connection is closed."""

    async def main():
        async with connect_native() as client:
            assert await client.execute_command("SCRIPT DEBUG", "SYNC")
            assert await client.eval("return 'done'", 0) == b"done"
            assert await client.execute_command("SCRIPT", "DEBUG", "YES")
            assert await client.eval("return 'done'", 0) == b"done"
            assert await client.echo("text") == b"text"

    run_plain(main)


@pytest.mark.parametrize(
    "change",
    [
        "SELECT 5",
        " select\t5 ",
        b"SELECT 5",
        bytearray(b"SELECT 5"),
        memoryview(b"SELECT"),
        "SELECT",
        "CLIENT TRACKING on",
        "client  no-touch on",
        ("CLIENT", bytearray(b"tracking"), "on"),
        (b" client ", memoryview(b"TRACKING"), "on"),
        ("CLIENT", bytearray(b"NO-EVICT"), "on"),
    ],
)
def test_arguments_given_with_the_name_are_seen(run_plain, connect_native, admin, change):
    async def main():
        async with connect_native() as client:
            await client.set("key", "in 0")
            words = change if isinstance(change, tuple) else (change,)
            rest = [5] if change in ("SELECT", b"SELECT") else []
            with contextlib.suppress(ResponseError):  # NO-TOUCH came with 7.2
                await client.execute_command(*words, *rest)
            info = await client.client_info()
            assert (info["db"], info["flags"]) == (0, "N")
            assert await client.get("key") == b"in 0"

    run_plain(main)


@pytest.mark.parametrize(
    "command",
    ["BLPOP nothing 0", "brpop\tnothing 0", "XREAD BLOCK 0 STREAMS nothing $", b"BLPOP nothing 0"],
)
def test_a_blocking_command_in_one_piece_has_a_connection_of_its_own(
    run_plain, connect_native, blocked, admin, command
):
    async def main():
        async with connect_native() as client:
            future = asyncio.ensure_future(client.execute_command(command))
            await blocked(1)
            assert await asyncio.wait_for(client.echo("not held"), 5) == b"not held"
            future.cancel()
            with pytest.raises(asyncio.CancelledError):
                await future

    run_plain(main)


@pytest.mark.parametrize(
    "command",
    [
        ["REPLCONF", "ACK", 0],
        ["REPLCONF ACK 0"],
        ["CLIENT", "REPLY", "SKIP"],
        ["CLIENT REPLY SKIP"],
    ],
)
def test_the_reply_that_never_comes_is_no_other_commands(run_plain, connect_native, admin, command):
    async def main():
        async with connect_native() as client:
            await client.mset({"a": 1, "b": 2, "c": 3})
            unanswered = asyncio.ensure_future(client.execute_command(*command))
            assert await asyncio.gather(*map(client.get, "abc")) == [b"1", b"2", b"3"]
            pipe = client.pipeline(transaction=False).get("a")
            unanswered_too = asyncio.ensure_future(pipe.execute_command(*command).execute())
            assert await asyncio.gather(*map(client.get, "abc")) == [b"1", b"2", b"3"]
            for future in (unanswered, unanswered_too):
                assert not future.done()
                future.cancel()

    run_plain(main)


@pytest.mark.parametrize("name", ["", " ", "\t\n", b" "])
def test_a_name_without_a_word_is_refused(run_plain, connect_native, admin, name):
    """Sent, it would be an empty command, to which there is no reply."""

    async def main():
        async with connect_native() as client:
            await client.mset({"a": 1, "b": 2, "c": 3})
            pipe = client.pipeline(transaction=False).get("a").execute_command(name)
            answers = await asyncio.gather(
                client.get("a"),
                client.execute_command(name),
                client.get("b"),
                pipe.execute(),
                client.get("c"),
                return_exceptions=True,
            )
            assert answers[::2] == [b"1", b"2", b"3"]
            for error in answers[1::2]:
                assert isinstance(error, DataError)
                assert str(error) == f"Invalid command name {name!r}: give at least a word."

    run_plain(main)


def test_client_setname_is_answered_by_client_getname(case, admin):
    async def main(client):
        await client.client_setname("chosen")
        assert await client.client_getname() == "chosen"

    case(main)


def test_leases_are_given_in_order(run_plain, connect_native, admin):
    async def main():
        async with connect_native(max_connections=2) as client:
            order = []

            async def one(n):
                await client.blpop(f"empty{n}", 0.01)
                order.append(n)

            tasks = [asyncio.create_task(one(n)) for n in range(4)]
            await asyncio.gather(*tasks)
            assert order == list(range(4))

    run_plain(main)


def test_waiting_for_a_lease_ends(run_plain, connect_native, blocked, admin):
    async def main():
        async with connect_native(max_connections=2, pool_timeout=0.05) as client:
            holder = asyncio.ensure_future(client.blpop("list", 30))
            await blocked(1)
            started = time.monotonic()
            with pytest.raises(ConnectionError):
                await client.blpop("other", 30)
            assert 0.04 < time.monotonic() - started < 1
            assert await client.ping()
            await client.rpush("list", "item")
            assert list(await holder) == [b"list", b"item"]

    run_plain(main)


def test_waiting_for_a_lease_without_limit(run_plain, connect_native, blocked, admin, monkeypatch):
    monkeypatch.setattr("aiecs_redis._options.POOL_TIMEOUT", 0.05)

    async def main():
        async with connect_native(max_connections=2, pool_timeout=None) as client:
            holder = asyncio.ensure_future(client.blpop("list", 30))
            await blocked(1)
            last = asyncio.ensure_future(client.blpop("list", 30))
            await asyncio.sleep(0.3)
            assert not last.done()
            await client.rpush("list", "first", "second")
            assert list(await holder) == [b"list", b"first"]
            assert list(await last) == [b"list", b"second"]

    run_plain(main)


def test_waiting_for_a_lease_can_be_given_up(run_plain, connect_native, blocked, admin):
    async def main():
        async with connect_native(max_connections=2) as client:
            holder = asyncio.ensure_future(client.blpop("list", 30))
            await blocked(1)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.blpop("list", 30), 0.02)
            last = asyncio.ensure_future(client.blpop("list", 30))
            await client.rpush("list", "first", "second")
            assert list(await holder) == [b"list", b"first"]
            assert list(await last) == [b"list", b"second"]

    run_plain(main)


def test_a_large_reply_does_not_hold_a_small_one(run_plain, native, core_server, admin):
    admin.set("big", "x" * 4_000_000)

    async def main():
        async with native(**proxy.kwargs) as client:
            await client.ping()
            proxy.to_client.chop, proxy.to_client.gap = 100_000, 0.01  # 0.4 s for the large one
            big = asyncio.ensure_future(client.get("big"))
            while proxy.to_client.bytes < 1_500_000:
                await asyncio.sleep(0.001)
            assert await client.echo("small") == b"small"
            assert not big.done()
            assert await big == b"x" * 4_000_000

    with FaultProxy(core_server.host, core_server.port) as proxy:
        run_plain(main)


# --- how much may wait ---


def test_backpressure_lets_everything_through(run_plain, connect_native, admin):
    async def main():
        async with connect_native(max_pending_bytes=100_000) as client:
            value = b"x" * 200_000
            results = await asyncio.gather(*(client.set(f"k{n}", value) for n in range(100)))
            assert results == [True] * 100
            assert await client.dbsize() == 100
            assert await client.strlen("k99") == 200_000

    run_plain(main)


def test_backpressure_keeps_the_order(run_plain, connect_native, admin):
    async def main():
        async with connect_native(max_pending_bytes=1000) as client:
            await asyncio.gather(*(client.rpush("list", f"{n:0500}") for n in range(200)))
            assert [int(item) for item in await client.lrange("list", 0, -1)] == list(range(200))

    run_plain(main)


def test_backpressure_bounds_what_is_buffered(run_plain, connect_native, core_server, admin):
    """While the server stands still: the values themselves are the callers'."""
    import resource

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    async def main():
        value = b"x" * 1_000_000
        async with connect_native(max_pending_bytes=1_000_000) as client:
            await client.ping()
            core_server.pause()
            before = resident()
            futures = [asyncio.ensure_future(client.set("key", value)) for _ in range(200)]
            await asyncio.sleep(0.05)
            grown = resident() - before
            core_server.resume()
            assert await asyncio.gather(*futures) == [True] * 200
            assert grown < 40_000_000

    try:
        run_plain(main)
    finally:
        core_server.resume()


def test_waiting_commands_time_out(run_plain, connect_native, core_server, admin):
    """A stalled server does not leave them waiting for ever."""

    async def main():
        async with connect_native(
            max_pending_bytes=100_000,
            socket_timeout=0.1,
            socket_connect_timeout=0.1,
            retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
        ) as client:
            await client.ping()
            core_server.pause()
            try:
                results = await asyncio.wait_for(
                    asyncio.gather(
                        *(client.set(f"k{n}", b"x" * 1_000_000) for n in range(30)),
                        return_exceptions=True,
                    ),
                    15,
                )
            finally:
                core_server.resume()
            assert all(isinstance(r, (TimeoutError, ConnectionError)) for r in results), results
            assert await client.ping()

    run_plain(main)


@pytest.mark.parametrize("without_limit", [2**64, float("inf")])
async def test_max_pending_bytes_beyond_what_counts(connect_native, without_limit):
    async with connect_native(max_pending_bytes=without_limit) as client:
        assert await client.ping()


@pytest.mark.parametrize("option", ["max_pending_bytes", "pool_timeout"])
@pytest.mark.parametrize("value", [0, -1, "many", True])
def test_wrong_options(native, option, value):
    with pytest.raises(ValueError, match=option):
        native(**{option: value})
