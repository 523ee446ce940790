"""One client, several event loops: one after the other, in threads, and on both sides of a fork."""

import asyncio
import contextlib
import gc
import os
import sys
import threading
import warnings

import pytest
from redis.exceptions import ConnectionError, RedisError
from subprocesses import run_isolated


def test_a_second_asyncio_run(native, port, admin):
    client = native(port=port)
    for n in range(1, 6):
        assert asyncio.run(client.incr("n")) == n


def test_a_second_asyncio_run_without_warnings(native, port, admin):
    client = native(port=port)

    async def use():
        await asyncio.gather(*(client.incr("n") for _ in range(10)))
        asyncio.ensure_future(client.blpop("list", 30))
        await client.ping()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            asyncio.run(use())
            gc.collect()
    assert admin.get("n") == "30"


def test_loops_by_turns(run, connect_native, admin):
    """Two loops of one thread, neither closed: each keeps its connection."""
    client = connect_native()
    loops = [run.new_loop(), run.new_loop()]
    identities = [loop.run_until_complete(client.client_id()) for loop in loops]
    assert identities[0] != identities[1]
    for _ in range(3):
        for loop, identity in zip(loops, identities):
            assert loop.run_until_complete(client.client_id()) == identity
    for loop in loops:
        loop.run_until_complete(client.aclose())
    for loop in loops:
        run.finish(loop)


def test_a_loop_closed_with_commands_pending(run, connect_native, blocked, admin):
    client = connect_native()

    async def leave():
        await client.ping()
        asyncio.ensure_future(client.blpop("list", 30))
        asyncio.create_task(client.blpop("list", 30))
        await blocked(2)

    loop = run.new_loop()
    run.on(loop, leave())
    run.finish(loop)
    gc.collect()

    async def again():
        assert await client.ping()
        await blocked(0)
        await client.aclose()

    run(again)


def test_a_loop_closed_while_connecting(run, connect_native, core_server, admin):
    client = connect_native()

    async def leave():
        asyncio.ensure_future(client.ping())
        await asyncio.sleep(0.005)

    loop = run.new_loop()
    core_server.pause()
    try:
        run.on(loop, leave())
        run.finish(loop)
    finally:
        core_server.resume()

    async def again():
        assert await client.ping()
        await client.aclose()

    run(again)


@pytest.mark.skipif(sys.version_info < (3, 10), reason="its future is a Task of asyncio's own")
def test_a_command_of_one_loop_in_another(run, connect_native, admin):
    """A future belongs to its loop, as asyncio's own do."""
    client = connect_native()
    loop, other = run.new_loop(), run.new_loop()

    async def start():
        return asyncio.ensure_future(client.incr("n"))

    async def use(future):
        return await future

    future = loop.run_until_complete(start())
    with pytest.raises((RuntimeError, ValueError)):
        run.on(other, use(future))
    assert run.on(loop, use(future)) == 1
    loop.run_until_complete(client.aclose())
    run.finish(loop)
    run.finish(other)


def test_a_closed_loop_fails_as_asyncio_does(run, connect_native, admin):
    client = connect_native()
    loop = run.new_loop()
    assert loop.run_until_complete(client.ping())
    run.finish(loop)
    command = client.ping()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_until_complete(command)
    command.close()


def test_two_loops_in_two_threads(run_plain, native, port, admin):
    client = native(port=port)
    failures = []

    async def use(name):
        for n in range(200):
            texts = [f"{name}-{n}-{m}" for m in range(5)]
            values = await asyncio.gather(*map(client.echo, texts))
            assert values == [text.encode() for text in texts]
            await client.incr("n")

    def thread(name):
        loop = run_plain.new_loop()
        try:
            loop.run_until_complete(use(name))
        except BaseException as error:
            failures.append(error)
        finally:
            loop.close()

    threads = [threading.Thread(target=thread, args=(name,)) for name in "ab"]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # as many changes of thread as can be had
    try:
        for each in threads:
            each.start()
        for each in threads:
            each.join(30)
    finally:
        sys.setswitchinterval(interval)
    assert not failures
    assert admin.get("n") == "400"


def test_closing_in_one_thread_reaches_the_others(run_plain, native, port, blocked, admin):
    """Their pending commands fail at once, though their loops sleep; then they connect again."""
    client = native(port=port)
    results = []

    async def other():
        try:
            await asyncio.wait_for(client.blpop("list", 30), 10)
        except ConnectionError:
            results.append("told")
        results.append(await client.echo("again"))
        await client.aclose()

    worker = threading.Thread(target=lambda: run_plain.new_loop().run_until_complete(other()))

    async def here():
        await client.ping()
        worker.start()
        await blocked(1)
        await client.aclose()

    run_plain(here)
    worker.join(15)
    assert results == ["told", b"again"]


def test_a_thread_that_ends_without_closing(native, port, admin):
    client = native(port=port)
    for n in range(1, 6):
        worker = threading.Thread(target=lambda: asyncio.run(client.incr("n")))
        worker.start()
        worker.join(10)
        assert asyncio.run(client.get("n")) == str(n).encode()
    gc.collect()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
def test_fork_in_the_middle(native, port, admin):
    done = run_isolated("fork.py", port, options=["-W", "ignore::DeprecationWarning"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "child fine\nparent fine\n", "")


# --- closing ---


def test_use_after_close_connects_again(case, admin):
    async def main(client):
        await client.ping()
        await client.aclose()
        assert await client.ping()
        await client.aclose()
        await client.aclose()

    case(main)


def test_close_before_use(run, connect, admin):
    async def main():
        client = connect()
        await client.aclose()
        async with connect():
            pass

    run(main)


def test_close_disconnects(native_case, admin):
    async def main(client):
        await client.ping()
        assert admin.info("clients")["connected_clients"] == 2
        await client.aclose()
        for _ in range(1000):
            if admin.info("clients")["connected_clients"] == 1:
                break
            await asyncio.sleep(0.001)
        assert admin.info("clients")["connected_clients"] == 1

    native_case(main)


def test_close_fails_what_is_pending(native_case, blocked, admin):
    async def main(client):
        pending = [asyncio.ensure_future(client.blpop("list", 30)) for _ in range(2)]
        await blocked(2)
        pending.append(asyncio.ensure_future(client.echo("x")))
        await asyncio.sleep(0)
        await client.aclose()
        results = await asyncio.gather(*pending, return_exceptions=True)
        assert all(isinstance(result, ConnectionError) for result in results[:2])
        assert isinstance(results[2], ConnectionError) or results[2] == b"x"

    native_case(main)


def test_concurrent_closes(case, admin):
    async def main(client):
        await client.ping()
        await asyncio.gather(*(client.aclose() for _ in range(5)), return_exceptions=False)
        assert await client.ping()

    case(main)


def test_dropping_the_client_disconnects(run, connect_native, admin):
    async def main():
        client = connect_native()
        await client.ping()
        del client
        await asyncio.sleep(0)
        gc.collect()
        for _ in range(1000):
            if admin.info("clients")["connected_clients"] == 1:
                break
            await asyncio.sleep(0.001)
        assert admin.info("clients")["connected_clients"] == 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        run(main)


def test_a_dropped_client_answers_what_it_was_asked(run, connect_native, admin):
    """Or fails it: but a caller never waits for ever."""

    async def main():
        future = asyncio.ensure_future(connect_native().echo("x"))
        gc.collect()
        with contextlib.suppress(RedisError):
            assert await asyncio.wait_for(future, 5) == b"x"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        run(main)


class Meddling(asyncio.SelectorEventLoop):
    """Its call_soon() does something else first, once."""

    meddle = None

    def call_soon(self, callback, *args, context=None):
        if self.meddle is not None:
            meddle, self.meddle = self.meddle, None
            meddle(callback)
        return super().call_soon(callback, *args, context=context)


@pytest.fixture
def meddling(native, port):
    """Runs use(loop, client) in such a loop."""
    loop = Meddling()

    async def enter(use):
        client = native(port=port)
        assert await client.ping()
        await asyncio.sleep(0.01)  # no turn is due any more
        await asyncio.wait_for(use(loop, client), 5)
        await client.aclose()

    yield lambda use: loop.run_until_complete(enter(use))
    loop.close()


def refusing(meddle=lambda _: None, exception=RuntimeError):
    def run(turn):
        meddle(turn)
        raise exception("refused")

    return run


async def finished(client):
    """A command with its reply, and no turn due any more."""
    command = client.ping()
    assert asyncio.isfuture(command)
    await command
    await asyncio.sleep(0.01)
    return command


def test_a_callback_that_the_loop_refuses_while_another_one_is_added(meddling):
    called = []

    async def use(loop, client):
        command = await finished(client)
        loop.meddle = refusing(
            lambda _: command.add_done_callback(lambda _: called.append("meanwhile"))
        )
        with pytest.raises(RuntimeError, match="refused"):
            command.add_done_callback(lambda _: called.append("refused"))
        await asyncio.sleep(0.01)

    meddling(use)
    assert called == ["meanwhile"]


def test_a_callback_that_the_loop_calls_and_then_refuses(meddling):
    called = []

    async def use(loop, client):
        command = await finished(client)
        loop.meddle = refusing(lambda turn: turn())
        command.add_done_callback(called.append)
        await asyncio.sleep(0.01)
        assert called == [command]

    meddling(use)


def test_an_interrupt_of_a_loop_that_has_called_the_callback_already(meddling):
    called = []

    async def use(loop, client):
        command = await finished(client)
        loop.meddle = refusing(lambda turn: turn(), KeyboardInterrupt)
        command.add_done_callback(called.append)
        await client.ping()

    with pytest.raises(KeyboardInterrupt, match="refused"):
        meddling(use)
    assert len(called) == 1


@pytest.mark.parametrize("ends", [lambda turn: turn(), refusing(lambda turn: turn())])
def test_a_command_whose_turn_is_run_while_it_is_asked_for(ends, meddling):
    async def use(loop, client):
        command = client.ping()
        loop.meddle = ends
        assert asyncio.isfuture(command)  # which begins it
        assert await command

    meddling(use)


def test_a_command_that_the_loop_refuses_is_as_before(meddling):
    async def use(loop, client):
        command = client.ping()
        loop.meddle = refusing()
        asyncio.isfuture(command)
        assert await command

    meddling(use)


def test_a_client_that_is_closed_while_its_loop_is_asked_whether_it_is(native, port):
    class Asked(asyncio.SelectorEventLoop):
        act = None

        def is_closed(self):
            act, self.act = self.act, None
            if act is not None:
                act()
            return super().is_closed()

    async def ping(client):
        assert await client.ping()

    old = Asked()
    client = native(port=port)
    old.run_until_complete(ping(client))
    transport = client._native_transport
    old.close()
    old.act = transport.close
    new = asyncio.new_event_loop()
    another = native(port=port)
    try:
        new.run_until_complete(ping(another))
        assert old.act is None
        new.run_until_complete(ping(client))
        new.run_until_complete(another.aclose())
        new.run_until_complete(client.aclose())
    finally:
        new.close()
