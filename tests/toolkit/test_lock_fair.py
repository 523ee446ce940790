"""DistributedLock(fair=True): one queue for the waiters of all processes."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from aiecs_redis._lock_fair import PLACE
from aiecs_redis._lock_scripts import place_keys
from aiecs_redis.lock import DistributedLock, LockNotAcquiredError

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).parent / "isolated" / "lock_waiters.py"
QUEUE, ALIVE = place_keys("lock:fair")


class Process:
    """A process whose waiters stand in the queue."""

    def __init__(self, process):
        self.process = process

    def wait(self, number, hold=0.0):
        self.process.stdin.write(f"{number} {hold}\n".encode())

    def send(self, number):
        self.process.send_signal(number)


@pytest_asyncio.fixture
async def start(own):
    """`await start()`: a process."""
    started = []

    async def start():
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SCRIPT),
            own.url,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        assert await process.stdout.readline() == b"ready\n"
        return Process(process)

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


def fair(client, **options):
    return DistributedLock(client, "fair", **{"wait": 30, "fair": True, **options})


def order(admin):
    return [int(number) for number in admin.lrange("order", 0, -1)]


def asked(admin):
    return admin.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)


# ---------------------------------------------------------------- between processes


async def test_processes_get_it_in_the_order_in_which_they_asked(client, admin, start, until):
    processes = [await start() for _ in range(3)]
    holder = fair(client)
    assert await holder.acquire()
    numbers = [0, 1, 2, 2, 1, 0, 0, 0, 2, 1, 1, 2]
    for place, number in enumerate(numbers):
        processes[number].wait(place)
        await until(lambda expected=place + 1: admin.zcard(QUEUE) == expected)
    await holder.release()
    await until(lambda: len(order(admin)) == len(numbers))
    assert order(admin) == list(range(len(numbers)))
    await until(lambda: not admin.exists(QUEUE, ALIVE, "lock:fair"))


async def test_the_dead_do_not_block_the_queue(client, admin, start, until):
    dying, living = await start(), await start()
    holder = fair(client)
    await holder.acquire()
    for place, process in enumerate([dying, dying, living, dying, living]):
        process.wait(place)
        await until(lambda expected=place + 1: admin.zcard(QUEUE) == expected)
    dying.send(signal.SIGKILL)
    await holder.release()
    await until(lambda: len(order(admin)) == 2, PLACE + 10)
    assert order(admin) == [2, 4]
    await until(lambda: not admin.exists(QUEUE, ALIVE))


async def test_who_stands_still_loses_the_place_only(client, admin, start, until):
    still, living = await start(), await start()
    holder = fair(client)
    await holder.acquire()
    for place, process in enumerate([still, living, living]):
        process.wait(place)
        await until(lambda expected=place + 1: admin.zcard(QUEUE) == expected)
    still.send(signal.SIGSTOP)
    try:
        await holder.release()
        await until(lambda: len(order(admin)) == 2, PLACE + 10)
    finally:
        still.send(signal.SIGCONT)
    await until(lambda: len(order(admin)) == 3)
    assert order(admin) == [1, 2, 0]


async def test_a_holder_that_died_is_followed_by_the_first(client, admin, start, until):
    dying, second, third = [await start() for _ in range(3)]
    dying.wait(0, 60)
    await until(lambda: order(admin) == [0])
    for place, process in enumerate([second, third, second]):
        process.wait(place + 1)
        await until(lambda expected=place + 1: admin.zcard(QUEUE) == expected)
    dying.send(signal.SIGKILL)
    await until(lambda: len(order(admin)) == 4, 15)
    assert order(admin) == [0, 1, 2, 3]


# ------------------------------------------------------------------- in one process


async def test_with_every_client(any_client, kind, make_client, until, admin):
    clients = [any_client, await make_client(kind=kind)]
    holder = fair(any_client)
    await holder.acquire()
    got = []

    async def work(number):
        async with fair(clients[number % 2]):
            got.append(number)

    tasks = []
    for number in range(10):
        tasks.append(asyncio.ensure_future(work(number)))
        await until(lambda expected=number + 1: admin.zcard(QUEUE) == expected)
    await holder.release()
    await asyncio.wait_for(asyncio.gather(*tasks), 20)
    assert got == list(range(10))
    assert not admin.exists(QUEUE, ALIVE)


async def test_waiting_does_not_poll(client, admin, until):
    holder = fair(client, timeout=60)
    await holder.acquire()
    waiters = [asyncio.ensure_future(fair(client).acquire()) for _ in range(50)]
    await until(lambda: admin.zcard(QUEUE) == 50 and admin.pubsub_channels("lock:fair"))
    await asyncio.sleep(0.2)
    before = asked(admin)
    await asyncio.sleep(2 * PLACE / 3)
    assert asked(admin) - before <= 3  # their places, all with one command
    before = asked(admin)
    await holder.release()
    await until(lambda: sum(waiter.done() for waiter in waiters) == 1)
    assert asked(admin) - before <= 4  # the release, the first one's question
    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)


async def test_who_gives_up_leaves_the_queue(client, admin, until):
    holder = fair(client)
    await holder.acquire()

    async def enter():
        async with fair(client, wait=0.2):
            pytest.fail("inside")

    with pytest.raises(LockNotAcquiredError, match=r"within 0\.2 s"):
        await asyncio.ensure_future(enter())
    assert not admin.exists(QUEUE, ALIVE)
    cancelled = asyncio.ensure_future(fair(client).acquire())
    await until(lambda: admin.zcard(QUEUE) == 1)
    after = asyncio.ensure_future(fair(client).acquire())
    await until(lambda: admin.zcard(QUEUE) == 2)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert admin.zcard(QUEUE) == 1
    await holder.release()
    assert await asyncio.wait_for(after, 1)


async def test_the_first_who_gives_up_while_it_is_free_calls_the_next(client, admin, until):
    """It was called, and ends before it asks."""
    holder = fair(client)
    await holder.acquire()
    first = asyncio.ensure_future(fair(client).acquire())
    await until(lambda: admin.zcard(QUEUE) == 1)
    second = asyncio.ensure_future(fair(client).acquire())
    await until(lambda: admin.zcard(QUEUE) == 2)
    await holder.release()
    first.cancel()
    assert await asyncio.wait_for(second, 1)


async def test_trying_once_does_not_overtake(client, admin, until):
    admin.set("lock:fair", "someone", px=60_000)
    waiter = fair(client)
    waiting = asyncio.ensure_future(waiter.acquire())
    await until(lambda: admin.zcard(QUEUE) == 1)
    admin.delete("lock:fair")  # free, and nobody was told
    assert not await fair(client).acquire(wait=0)
    assert await asyncio.wait_for(waiting, PLACE)
    await waiter.release()
    assert await fair(client).acquire(wait=0)


async def test_a_release_that_is_missed_is_noticed(make_client, proxy, admin, client, until):
    """The message was lost with the connection."""
    behind = await make_client(proxy)
    holder = fair(client, timeout=60)
    await holder.acquire()
    waiting = asyncio.ensure_future(fair(behind).acquire())
    await until(lambda: admin.zcard(QUEUE) == 1 and admin.pubsub_channels("lock:fair"))
    proxy.to_client.stall()
    await holder.release()
    await asyncio.sleep(0.1)
    proxy.cut()
    proxy.to_client.resume()
    assert await asyncio.wait_for(waiting, PLACE + 5)


async def test_one_who_does_not_stand_in_the_queue_may_come_first(client, admin, until):
    """An owner of the documented class, say: those who wait are told, and go on waiting."""
    admin.set("lock:fair", "someone", px=60_000)
    waiting = asyncio.ensure_future(fair(client).acquire())
    await until(lambda: admin.zcard(QUEUE) == 1 and admin.pubsub_channels("lock:fair"))
    with admin.pipeline() as pipe:
        pipe.delete("lock:fair").publish("lock:fair", "released")
        pipe.set("lock:fair", "someone else", px=500).execute()
    await asyncio.sleep(0.3)
    assert not waiting.done()
    assert await asyncio.wait_for(waiting, PLACE)


async def test_without_the_right_to_subscribe(start_server, make_client, until):
    server = start_server(users={"default": "on nopass ~* resetchannels +@all"})
    client = await make_client(server)
    holder = fair(client)
    await holder.acquire()
    waiting = asyncio.ensure_future(fair(client).acquire())
    with server.connect() as admin:
        await until(lambda: admin.zcard(QUEUE) == 1)
        await holder.release()
        assert await asyncio.wait_for(waiting, PLACE)


@pytest.mark.parametrize("fair_one", [True, False])
async def test_a_client_that_is_closed_for_a_while(start_server, make_client, until, fair_one):
    """Who waited without being told of the release waited for ever afterwards."""
    server = start_server(users={"default": "on nopass ~* resetchannels +@all"})
    client = await make_client(server, kind="RedisClient")
    with server.connect() as admin:
        admin.set("lock:fair", "someone", px=60_000)
        lock = DistributedLock(client, "fair", timeout=20, wait=None, fair=fair_one)
        waiting = asyncio.ensure_future(lock.acquire())
        if fair_one:
            await until(lambda: admin.zcard(QUEUE) == 1)
        await asyncio.sleep(0.1)
        await client.close()
        await asyncio.sleep(1.5)
        await client.initialize()
        admin.delete("lock:fair")
        assert await asyncio.wait_for(waiting, 10)
        assert await lock.release()
