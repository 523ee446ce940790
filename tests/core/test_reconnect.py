"""A lost connection: who notices, what is sent again, what is told."""

import asyncio
import contextlib
import os
import stat
import time
import warnings

import pytest
import redis.asyncio.retry
from asking import protocol_of
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import ConnectionError
from waiting import until

from aiecs_redis.exceptions import OutcomeUnknownError
from aiecs_redis.testing import FaultProxy, RedisServer


def retries(number, backoff=None):
    return redis.asyncio.retry.Retry(backoff or NoBackoff(), number)


@pytest.fixture
def proxy(core_server):
    with FaultProxy(core_server.host, core_server.port) as proxy:
        yield proxy


def test_after_client_kill(native_case, admin):
    async def main(client):
        for _ in range(3):
            assert await client.incr("n")
            admin.client_kill_filter(_type="normal", skipme=True)
            await asyncio.sleep(0.005)
        assert await client.get("n") == b"3"

    native_case(main)


@contextlib.contextmanager
def forked():
    """A child that does nothing, and has what this process has open, its sockets too."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    try:
        yield
    finally:
        os.close(writing)
        os.close(reading)
        os.waitpid(child, 0)


def test_connecting_anew_while_a_child_has_the_old_socket(run_plain, native, port, admin):
    """The kernel goes on telling of it, and libev replaces what asyncio watches."""

    async def main():
        async with native(port=port, socket_timeout=120) as client:
            for number in range(1, 4):
                await client.ping()
                with forked():
                    admin.client_kill_filter(_type="normal", skipme=True)
                    await asyncio.sleep(0.02)
                    assert await asyncio.wait_for(client.incr("n"), 10) == 2 * number - 1
                    before = time.process_time()
                    await asyncio.sleep(0.2)
                    assert time.process_time() - before < 0.1  # it is not told again and again
                assert await asyncio.wait_for(client.incr("n"), 10) == 2 * number

    run_plain(main)


def test_sockets_are_closed_on_exec(run_plain, native, port):
    def sockets():
        return {fd for fd in map(int, os.listdir("/dev/fd")) if is_socket(fd)}

    def is_socket(fd):
        try:
            return stat.S_ISSOCK(os.fstat(fd).st_mode)
        except OSError:  # that of listing
            return False

    async def main():
        before = sockets()
        async with native(port=port) as client:
            await client.ping()
            made = sockets() - before
            assert made
            assert not any(map(os.get_inheritable, made))

    run_plain(main)


def test_after_client_kill_that_was_not_noticed_yet(native_case, admin):
    """The write goes into a connection the server has closed: reads are sent again."""

    async def main(client):
        await client.set("key", "value")
        for _ in range(3):
            admin.client_kill_filter(_type="normal", skipme=True)
            values = await asyncio.gather(*(client.get("key") for _ in range(10)))
            assert values == [b"value"] * 10

    native_case(main)


def test_after_a_restart(run_plain, impl):
    async def main():
        async with impl(port=server.port) as client:
            for _ in range(2):
                assert await client.ping()
                server.restart()
                assert await client.ping()

    with RedisServer() as server:
        run_plain(main)


def test_every_connection_is_made_anew(run_plain, connect_native, blocked, admin):
    async def main():
        async with connect_native() as client:
            for _ in range(2):
                waiting = [asyncio.ensure_future(client.blpop("list", 30)) for _ in range(2)]
                await client.ping()
                await blocked(2)
                admin.client_kill_filter(_type="normal", skipme=True)
                results = await asyncio.gather(*waiting, return_exceptions=True)
                assert all(isinstance(result, ConnectionError) for result in results)
            assert await client.ping()

    run_plain(main)


def test_state_is_restored(run_plain, connect_native, admin):
    async def main():
        async with connect_native(db=3, client_name="phoenix", protocol=3) as client:
            before = await client.client_info()
            admin.client_kill_filter(_type="normal", skipme=True)
            after = await client.client_info()
            assert after["id"] != before["id"]
            assert (after["db"], after["name"]) == (3, "phoenix")
            assert await protocol_of(client) == 3

    run_plain(main)


# --- what was on its way ---


@pytest.fixture
def cut_short(run_plain, native, proxy, admin):
    """`cut_short(make)`: the outcomes of `make(client)` when the line is cut before the replies."""

    def cut_short(make, **options):
        async def main():
            async with native(**proxy.kwargs, **options) as client:
                await client.ping()
                proxy.to_client.stall()
                futures = [asyncio.ensure_future(command) for command in make(client)]
                last = asyncio.ensure_future(client.incr("last-of-all"))
                while admin.getdel("last-of-all") is None:
                    await asyncio.sleep(0.001)
                await asyncio.get_running_loop().run_in_executor(None, proxy.cut)
                proxy.to_client.resume()
                with pytest.raises(ConnectionError):
                    await last
                return await asyncio.gather(*futures, return_exceptions=True)

        return run_plain(main)

    return cut_short


def test_reads_and_repeatable_writes_are_sent_again(cut_short, admin):
    admin.set("key", "value")
    results = cut_short(
        lambda client: [
            client.get("key"),
            client.set("other", "x", ex=100),
            client.hset("hash", "field", "value"),
            client.expire("key", 100),
            client.mget("key", "other"),
            client.echo("x"),
            client.delete("gone"),
        ]
    )
    # HSET tells the number of new fields, and the field had been there since the first time.
    assert results == [b"value", True, 0, True, [b"value", b"x"], b"x", 0]


def test_what_must_not_be_repeated_is_told(cut_short, admin):
    admin.set("key", "value")
    results = cut_short(
        lambda client: [
            client.incr("n"),
            client.rpush("list", "item"),
            client.set("new", "value", nx=True),
            client.set("key", "other", get=True),
            client.eval("return redis.call('incr', 'evals')", 0),
            client.append("text", "x"),
            client.publish("channel", "message"),
            client.lpop("list"),
            client.hincrby("hash", "field", 1),
            client.ltrim("list", 1, -1),
            client.expire("n", 100, nx=True),
            client.getdel("key"),
            client.execute_command("NOBODY-KNOWS"),
        ]
    )
    assert [type(result) for result in results] == [OutcomeUnknownError] * 13
    assert issubclass(OutcomeUnknownError, ConnectionError)
    assert results[0].__cause__ is not None
    assert admin.mget("n", "evals") == ["1", "1"]
    assert admin.strlen("text") == 1


def test_order_is_kept_over_a_reconnect(cut_short, admin):
    commands = 50
    results = cut_short(
        lambda client: [client.set("last", n) for n in range(commands)] + [client.get("last")]
    )
    assert results == [True] * commands + [b"%d" % (commands - 1)]
    assert admin.get("last") == str(commands - 1)


def test_a_pipeline_on_its_way_is_not_repeated(cut_short, admin):
    for transaction in (False, True):
        (result,) = cut_short(
            lambda client, transaction=transaction: [
                client.pipeline(transaction=transaction).incr("n").execute()
            ]
        )
        assert isinstance(result, OutcomeUnknownError)
    assert admin.get("n") == "2"


def test_an_unknown_outcome_tells_no_arguments(cut_short, admin):
    (result,) = cut_short(lambda client: [client.execute_command("INCR n")])
    assert isinstance(result, OutcomeUnknownError)
    assert str(result).startswith("Connection lost while INCR was in flight:")
    assert admin.get("n") == "1"


def test_an_explicit_retry_has_the_meaning_of_redis_py(run_plain, impl, proxy, admin):
    """It repeats whatever it was asked to, as often as it was asked to."""

    async def main():
        async with impl(**proxy.kwargs, retry=retries(3)) as client:
            await client.ping()
            proxy.to_client.stall()
            future = asyncio.ensure_future(client.incr("n"))
            while admin.get("n") != "1":
                await asyncio.sleep(0.001)
            await asyncio.get_running_loop().run_in_executor(None, proxy.cut)
            proxy.to_client.resume()
            assert await future == 2

    run_plain(main)


def test_no_retry_at_all(run_plain, impl, proxy, admin):
    async def main():
        async with impl(**proxy.kwargs, retry=retries(0)) as client:
            await client.ping()
            proxy.to_client.stall()
            future = asyncio.ensure_future(client.get("key"))
            while admin.info("commandstats").get("cmdstat_get") is None:
                await asyncio.sleep(0.001)
            await asyncio.get_running_loop().run_in_executor(None, proxy.cut)
            proxy.to_client.resume()
            with pytest.raises(ConnectionError):
                await future
            assert await client.get("key") is None

    run_plain(main)


def test_cut_inside_a_reply(run_plain, native, proxy, admin):
    admin.set("big", "x" * 300_000)

    async def main():
        async with native(**proxy.kwargs) as client:
            await client.ping()
            for _ in range(3):
                proxy.to_client.cut_after = 100_000
                assert await client.get("big") == b"x" * 300_000
            assert await client.echo("after") == b"after"

    run_plain(main)


def test_cut_inside_a_command(run_plain, native, proxy, admin):
    value = b"x" * 3_000_000

    async def main():
        async with native(**proxy.kwargs) as client:
            await client.ping()
            proxy.to_server.cut_after = 1_000_000
            assert await client.set("big", value) is True
            assert await client.strlen("big") == len(value)

    run_plain(main)


@pytest.mark.parametrize("protocol", [2, 3])
def test_cut_at_every_byte_of_the_handshake(run_plain, native, proxy, admin, protocol):
    """However far it came, the next attempt starts from the beginning."""

    async def main():
        for cut in range(1, 60, 3):
            options = {"db": 1, "client_name": "x", "protocol": protocol, "retry": retries(5)}
            async with native(**proxy.kwargs, **options) as client:
                flow = proxy.to_server if cut % 2 else proxy.to_client
                flow.cut_after = cut
                assert await client.echo("x") == b"x"
            flow.cut_after = None

    run_plain(main)


# --- a server that is away ---


def test_commands_wait_while_the_server_is_away(run_plain, native):
    """For as long as the attempts of the default policy last."""

    async def main():
        loop = asyncio.get_running_loop()
        async with native(port=server.port) as client:
            await client.set("key", "value")
            server.kill()
            futures = [asyncio.ensure_future(client.set(f"k{n}", n)) for n in range(10)]
            await asyncio.sleep(0.1)
            assert not any(future.done() for future in futures)
            await loop.run_in_executor(None, server.start)
            assert await asyncio.gather(*futures) == [True] * 10
            assert await client.get("k9") == b"9"

    with RedisServer() as server:
        run_plain(main)


def test_attempts_come_to_an_end(run_plain, native, proxy):
    async def main():
        client = native(**proxy.kwargs, retry=retries(2, ConstantBackoff(0.02)))
        proxy.refuse()
        started = time.monotonic()
        with pytest.raises(ConnectionError):
            await client.get("key")
        assert 0.03 < time.monotonic() - started < 2
        proxy.accept()
        assert await client.get("key") is None
        await client.aclose()

    run_plain(main)


def test_attempts_are_spaced(run_plain, native, proxy):
    """A server that refuses is not hammered, however many tasks wait for it."""

    async def main():
        client = native(**proxy.kwargs)
        proxy.refuse()
        before = proxy.connections
        tasks = [asyncio.ensure_future(client.get("key")) for _ in range(100)]
        await asyncio.sleep(0.3)
        attempts = proxy.connections - before
        assert 1 <= attempts <= 15
        proxy.accept()
        assert await asyncio.gather(*tasks) == [None] * 100
        assert proxy.connections - before <= attempts + 3
        await client.aclose()

    run_plain(main)


def test_waiting_for_the_server_can_be_given_up(run_plain, native, proxy):
    async def main():
        client = native(**proxy.kwargs)
        proxy.refuse()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.incr("n"), 0.05)
        proxy.accept()
        assert await client.get("n") is None
        await client.aclose()

    run_plain(main)


def test_closing_while_the_server_is_away(run_plain, native, proxy):
    async def main():
        client = native(**proxy.kwargs)
        proxy.refuse()
        futures = [asyncio.ensure_future(client.get("key")) for _ in range(3)]
        await asyncio.sleep(0.02)
        await client.aclose()
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert all(isinstance(result, ConnectionError) for result in results)

    run_plain(main)


@pytest.mark.parametrize("tasks", [1, 50])
def test_cuts_in_the_middle_of_everything(run_plain, native, proxy, admin, tasks):
    """Reads are right or fail with a ConnectionError; nothing hangs, nothing is another's."""

    async def main():
        stop = False
        answered = failed = 0

        async def worker(number):
            nonlocal answered, failed
            turn = 0
            while not stop:
                turn += 1
                text = f"{number}:{turn}"
                try:
                    assert await client.echo(text) == text.encode()
                    answered += 1
                    await client.incr(f"counter{number}")
                except ConnectionError:
                    failed += 1

        async with native(**proxy.kwargs) as client:
            workers = [asyncio.create_task(worker(number)) for number in range(tasks)]
            for cut in range(6):
                await until(lambda enough=4 * (cut + 1): answered >= enough, 20)
                await asyncio.sleep(0.03)
                await asyncio.get_running_loop().run_in_executor(None, proxy.cut)
            stop = True
            await asyncio.gather(*workers)
            assert answered > 20
            assert await client.echo("after") == b"after"

    run_plain(main)
