"""Polling for replies instead of sleeping: it happens, it stops when it is in vain, and nothing
else of the event loop has to wait for it."""

import asyncio
import os
import selectors
import threading
import time

import pytest
from subprocesses import run_python

from aiecs_redis import _native
from aiecs_redis.testing import FaultProxy

DEFAULT, LONGEST = 40e-6, 1e-3
COMMANDS = 1000
ROUND = 50  # commands, where the best of several rounds counts
PATIENCE = 30  # seconds


@pytest.fixture
def polling():
    """`polling(seconds)`: what loops poll that are made from now on, at most."""
    yield _native.set_busy_poll
    _native.set_busy_poll(DEFAULT)


class Counted(asyncio.SelectorEventLoop):
    """Counts how often asyncio asks the kernel what there is, sleeping or not."""

    def __init__(self, selector=None):
        super().__init__(selector)
        self.asked = 0
        self._select = self._selector.select
        self._selector.select = self._count

    def _count(self, timeout=None):
        self.asked += 1
        return self._select(timeout)


def run(loop, main):
    """What the coroutine function returns, of the loop and a client of its own."""
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


async def one_after_the_other(client, commands=COMMANDS):
    for _ in range(commands):
        assert await client.get("k") == b"v"


def asked_meanwhile(loop, native, port, commands):
    """How often the loop asks the kernel while a new client of it sends commands."""

    async def main():
        async with native(port=port) as client:
            await client.ping()
            before = loop.asked
            await one_after_the_other(client, commands)
            return loop.asked - before

    return run(loop, main)


def in_one_round(measure, limit):
    """Asserts that a figure is below the limit in one round of several.

    On a busy machine the server has its turn long after anybody polls, for many rounds.
    """
    figures = []
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        figures.append(measure())
        if figures[-1] < limit:
            return
    pytest.fail(f"never below {limit}: {figures}")


@pytest.mark.parametrize(("seconds", "sleeps"), [(0, True), (LONGEST, False)])
def test_replies_come_without_asyncio(native, port, admin, polling, seconds, sleeps):
    polling(seconds)
    admin.set("k", "v")

    if sleeps:
        # Now and then a turn that was due writes, and a reader of the same pass has the reply.
        assert asked_meanwhile(Counted(), native, port, COMMANDS) >= COMMANDS - 10
    else:
        in_one_round(lambda: asked_meanwhile(Counted(), native, port, ROUND), ROUND / 2)


def test_the_first_command_of_a_handler(native, port, admin, polling):
    """A command that follows something else of asyncio's, as in a web service."""
    polling(LONGEST)
    admin.set("k", "v")

    def asked():
        loop = Counted()

        async def main():
            async with native(port=port) as client:
                await client.ping()
                before = loop.asked
                for _ in range(ROUND):
                    await asyncio.sleep(0)
                    await client.get("k")
                return loop.asked - before

        return run(loop, main)

    # Asleep: for sleep(0), for the turn, and once more until the reply is there.
    in_one_round(asked, ROUND * 2.5)


def test_callbacks_that_are_due_come_first(native, port, admin, polling):
    polling(LONGEST)
    admin.set("k", "v")
    turns = 0

    async def tick():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def main():
        async with native(port=port) as client:
            ticking = asyncio.ensure_future(tick())
            await one_after_the_other(client)
            ticking.cancel()

    run(Counted(), main)
    assert turns >= COMMANDS  # at least a turn for each reply


def test_asyncio_is_never_away_for_long(native, port, admin, polling):
    """A drain that always finds replies ends nevertheless; counted in CPU time, not the clock's."""
    polling(LONGEST)
    loop = Counted()
    admin.set("k", "v")

    async def main():
        async with native(port=port) as client:
            await client.ping()
            asked, time_before = loop.asked, time.thread_time()
            await one_after_the_other(client, 10 * COMMANDS)
            return (time.thread_time() - time_before) / (loop.asked - asked)

    assert run(loop, main) < 5e-3


def test_timers_threads_and_other_descriptors_have_their_turn(native, port, admin, polling):
    polling(LONGEST)
    admin.set("k", "v")
    loop = Counted()

    def from_a_thread(seen):
        for _ in range(20):
            called = threading.Event()
            loop.call_soon_threadsafe(called.set)
            seen.append(called.wait(5))

    async def main():
        mine, theirs = os.pipe()
        arrived = asyncio.Event()
        loop.add_reader(mine, lambda: (os.read(mine, 1), arrived.set()))
        async with native(port=port) as client:
            busy = asyncio.ensure_future(one_after_the_other(client, 10**9))
            seen = []
            thread = threading.Thread(target=from_a_thread, args=(seen,))
            thread.start()
            for _ in range(20):
                os.write(theirs, b"x")
                await asyncio.wait_for(arrived.wait(), 5)
                arrived.clear()
                await asyncio.sleep(0.001)
            await asyncio.to_thread(thread.join)
            assert not busy.done()
            busy.cancel()
        loop.remove_reader(mine)
        os.close(mine)
        os.close(theirs)
        return seen

    assert run(loop, main) == [True] * 20


def test_polling_in_vain_stops(native, core_server, admin, polling):
    """The replies take longer than anybody polls: of 200 waits only a few are polled."""
    polling(LONGEST)
    admin.set("k", "v")

    async def main():
        with FaultProxy(core_server.host, core_server.port) as proxy:
            proxy.to_client.latency = 3 * LONGEST
            async with native(port=proxy.port) as client:
                await client.ping()
                before = time.thread_time()
                await one_after_the_other(client, 200)
                return time.thread_time() - before

    assert run(Counted(), main) < 200 * LONGEST / 2


@pytest.mark.parametrize(
    "make", [selectors.SelectSelector, selectors.PollSelector], ids=["select", "poll"]
)
def test_a_loop_that_cannot_be_polled(native, port, admin, polling, make):
    """Its selector has no descriptor of its own."""
    polling(LONGEST)
    loop = Counted(make())
    admin.set("k", "v")

    assert asked_meanwhile(loop, native, port, 100) >= 90


def test_a_loop_with_private_attributes_of_another_kind(native, port, admin, polling):
    polling(LONGEST)
    loop = Counted()
    admin.set("k", "v")

    class Selector:
        def __getattr__(self, name):
            return getattr(selector, name)

        def fileno(self):
            return "none"

    selector, loop._selector = loop._selector, Selector()

    assert asked_meanwhile(loop, native, port, 100) >= 90


def test_a_selector_that_is_gone(native, port, admin, polling):
    """The descriptor polled is closed: no endless loop, and asyncio's own selector serves."""
    polling(LONGEST)
    loop = Counted()
    admin.set("k", "v")
    descriptor = os.open(os.devnull, os.O_RDONLY)
    own = loop._selector.fileno
    loop._selector.fileno = lambda: descriptor

    async def main():
        async with native(port=port) as client:
            await client.ping()
            os.close(descriptor)
            loop._selector.fileno = own
            before = loop.asked
            await one_after_the_other(client, 100)
            return loop.asked - before

    assert run(loop, main) >= 90


@pytest.mark.parametrize("seconds", [-1e-9, 0.00101, float("nan"), float("inf")])
def test_seconds_out_of_range(seconds):
    with pytest.raises(ValueError, match=r"seconds of polling are 0 to 0\.001, not "):
        _native.set_busy_poll(seconds)


def imported_with(value):
    done = run_python("-c", "import aiecs_redis", AIECS_REDIS_BUSY_POLL=value)
    return done.stderr.strip().rpartition("\n")[2]


@pytest.mark.parametrize("value", ["", "0", "40", " 12.5 ", "1000"])
def test_the_environment(value):
    assert imported_with(value) == ""


@pytest.mark.parametrize("value", ["-1", "1001", "nan", "forty", "40us"])
def test_a_wrong_environment(value):
    assert imported_with(value) == (
        f"ValueError: AIECS_REDIS_BUSY_POLL={value!r} is not a number of microseconds "
        "from 0 (never poll) to 1000"
    )
