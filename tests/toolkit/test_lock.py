"""The distributed lock: exclusion, waiting, renewal, loss, fencing."""

import asyncio
import contextlib
import logging
import sys

import pytest
import redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from aiecs_redis._lock_scripts import fence_key
from aiecs_redis.lock import (
    DistributedLock,
    LockLostError,
    LockNotAcquiredError,
    LockReentrancyError,
    StaleFencingTokenError,
)


async def calls(admin, command):
    return admin.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0)


# ----------------------------------------------------------------- documented


async def test_as_documented(any_client, admin):
    lock = DistributedLock(any_client, "resource_1")
    other = DistributedLock(any_client, "resource_1", timeout=10)
    assert await lock.acquire() is True
    assert admin.get("lock:resource_1") == lock.identifier
    assert 9_000 < admin.pttl("lock:resource_1") <= 10_000
    assert await asyncio.ensure_future(other.acquire()) is False
    assert await other.release() is False
    assert await lock.release() is True
    assert not admin.exists("lock:resource_1")
    assert await lock.release() is False
    assert await other.acquire()
    assert await other.release()


async def test_async_with_fails_when_someone_else_has_it(any_client):
    inside = []

    async def process():
        async with DistributedLock(any_client, "resource_1"):
            inside.append(1)
            await asyncio.sleep(0.1)

    results = await asyncio.gather(*(process() for _ in range(5)), return_exceptions=True)
    assert len(inside) == 1
    failed = [r for r in results if r is not None]
    assert len(failed) == 4
    assert all(isinstance(r, LockNotAcquiredError) for r in failed)
    assert "Failed to acquire lock 'lock:resource_1'" in str(failed[0])


async def test_it_excludes_owners_of_the_documented_class(client, admin):
    admin.set("lock:a", "someone", px=300)
    lock = DistributedLock(client, "a", wait=20)
    assert not await lock.acquire(wait=0)
    assert await lock.acquire()  # when it has run out, as nobody tells of it
    await lock.release()


# -------------------------------------------------------------------- waiting


async def test_one_at_a_time_and_everyone_in_the_end(any_client, kind, make_client):
    clients = [any_client, await make_client(kind=kind)]
    inside, tokens = [], []

    async def work(number):
        async with DistributedLock(clients[number % 2], "a", timeout=20, wait=None) as lock:
            inside.append(number)
            assert inside == [number]
            await asyncio.sleep(0.001)
            inside.remove(number)
            tokens.append(lock.token)

    await asyncio.wait_for(asyncio.gather(*(work(n) for n in range(40))), 30)
    assert tokens == sorted(set(tokens))
    assert len(tokens) == 40


async def test_waiting_does_not_poll(client, admin, until):
    holder = DistributedLock(client, "a", timeout=60)
    await holder.acquire()
    waiters = [
        asyncio.ensure_future(DistributedLock(client, "a", wait=60).acquire()) for _ in range(20)
    ]
    await until(lambda: admin.pubsub_channels("lock:a"))
    await asyncio.sleep(0.2)
    before = await calls(admin, "evalsha")
    await asyncio.sleep(1)
    assert await calls(admin, "evalsha") == before
    await holder.release()
    done, _ = await asyncio.wait(waiters, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)


async def test_those_of_one_process_get_it_in_their_order(client):
    holder = DistributedLock(client, "a")
    await holder.acquire()
    order = []

    async def work(number):
        async with DistributedLock(client, "a", wait=20):
            order.append(number)

    tasks = []
    for number in range(10):
        tasks.append(asyncio.ensure_future(work(number)))
        await asyncio.sleep(0.02)
    await holder.release()
    await asyncio.gather(*tasks)
    assert order == list(range(10))


async def test_the_time_to_wait_ends(client):
    holder = DistributedLock(client, "a")
    await holder.acquire()
    lock = DistributedLock(client, "a", wait=0.2)

    async def enter():
        async with lock:
            pytest.fail("inside")

    with pytest.raises(LockNotAcquiredError, match=r"within 0\.2 s"):
        await asyncio.ensure_future(enter())
    await holder.release()
    assert await lock.acquire()  # the object can be used again
    await lock.release()


async def test_who_is_cancelled_while_waiting_leaves_nothing(client, admin, until):
    holder = DistributedLock(client, "a")
    await holder.acquire()
    first, second = (
        asyncio.ensure_future(DistributedLock(client, "a", wait=None).acquire()) for _ in range(2)
    )
    await until(lambda: admin.pubsub_channels("lock:a"))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await holder.release()
    assert await asyncio.wait_for(second, 10)


async def test_a_release_that_is_not_heard_of_is_found_after_the_gap(
    make_client, proxy, client, admin, until
):
    behind = await make_client(proxy)
    holder = DistributedLock(client, "a", timeout=600)
    await holder.acquire()
    waiter = asyncio.ensure_future(DistributedLock(behind, "a", wait=60).acquire())
    await until(lambda: admin.pubsub_channels("lock:a"))
    proxy.to_client.stall()
    await holder.release()
    proxy.cut()
    proxy.to_client.resume()
    assert await asyncio.wait_for(waiter, 30)


async def test_without_the_right_to_subscribe_it_still_waits(start_server, make_client):
    server = start_server(users={"default": "on nopass ~* resetchannels +@all"})
    client = await make_client(server)
    holder = DistributedLock(client, "a")
    await holder.acquire()
    waiter = asyncio.ensure_future(DistributedLock(client, "a", wait=20).acquire())
    await asyncio.sleep(0.1)
    assert await holder.release()
    assert await waiter


async def test_the_subscription_ends_with_its_waiters(client, admin, until):
    async with DistributedLock(client, "a"):
        other = asyncio.ensure_future(DistributedLock(client, "a", wait=0.3).acquire())
        assert await other is False
    await until(lambda: not admin.pubsub_channels())
    await until(lambda: len(asyncio.all_tasks()) == 1)


# ------------------------------------------------------------ renewal and loss


async def renewal(admin, until):
    """Wait until the lock has more time left than before."""
    left = [admin.pttl("lock:a")]

    def renewed():
        left.append(admin.pttl("lock:a"))
        return left[-1] > left[-2]

    await until(renewed)


async def test_it_is_renewed_while_it_is_held(client, admin, until):
    async with DistributedLock(client, "a", timeout=3) as lock:
        await renewal(admin, until)
        assert lock.held
        assert admin.get("lock:a") == lock.identifier
    assert not admin.exists("lock:a")


async def scope(lock, seconds=20):
    async with lock:
        await asyncio.sleep(seconds)


async def test_without_renewal_it_ends(any_client, admin):
    with pytest.raises(LockLostError, match=r"lock:a was lost while it was held \(timeout 0\.2 s"):
        await scope(DistributedLock(any_client, "a", timeout=0.2, renew=False))


async def test_loss_cancels_the_scope_and_nothing_else(any_client, admin):
    lost = []
    lock = DistributedLock(any_client, "a", timeout=0.3, on_lost=lambda: lost.append(True))
    ended = []

    async def work():
        try:
            async with lock:
                admin.set("lock:a", "a thief")
                await asyncio.sleep(20)
        except LockLostError:
            await asyncio.sleep(0)  # not cancelled any more
            ended.append(True)
        if sys.version_info >= (3, 11):
            assert asyncio.current_task().cancelling() == 0

    await asyncio.wait_for(work(), 10)
    assert lost == ended == [True]
    assert lock.lost
    assert not lock.held
    assert admin.get("lock:a") == "a thief"


async def test_a_server_that_cannot_be_reached_is_a_loss_after_the_time_out(make_client, proxy):
    client = await make_client(proxy)
    with pytest.raises(LockLostError):
        await asyncio.wait_for(cut_off(client, proxy), 20)


async def cut_off(client, proxy):
    async with DistributedLock(client, "a", timeout=0.5):
        proxy.refuse()
        proxy.cut()
        await asyncio.sleep(20)


async def test_a_short_outage_is_none(make_client, proxy, admin, until):
    client = await make_client(proxy)
    async with DistributedLock(client, "a", timeout=3) as lock:
        proxy.cut()
        await renewal(admin, until)
        assert lock.held


async def test_a_loss_that_was_not_noticed_is_told_at_the_end(client, admin):
    with pytest.raises(LockLostError):
        async with DistributedLock(client, "a", timeout=60):
            admin.delete("lock:a")


async def test_an_error_of_the_block_comes_first(client, admin):
    with pytest.raises(LookupError):
        async with DistributedLock(client, "a", timeout=60):
            admin.delete("lock:a")
            raise LookupError("of the block")


async def test_cancelling_from_outside_releases_it(client, admin, until):
    task = asyncio.ensure_future(scope(DistributedLock(client, "a")))
    await until(lambda: admin.exists("lock:a"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not admin.exists("lock:a")


async def test_cancelled_in_every_step_it_leaves_no_lock(client, admin):
    for steps in range(60):
        task = asyncio.ensure_future(scope(DistributedLock(client, f"a{steps}"), 0))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert not admin.exists(f"lock:a{steps}"), steps


async def test_an_answer_that_was_lost_is_asked_for_again(make_client, proxy, admin, until):
    client = await make_client(proxy)
    await client.ping()
    proxy.to_client.stall()
    lock = DistributedLock(client, "a", timeout=60)
    acquiring = asyncio.ensure_future(lock.acquire())
    with contextlib.suppress(AssertionError):
        await until(lambda: admin.exists("lock:a"), 1)  # the first script call is not cached
    proxy.cut()
    proxy.to_client.resume()
    assert await asyncio.wait_for(acquiring, 20)
    assert admin.get("lock:a") == lock.identifier
    assert await lock.release()


async def test_extend(client, admin):
    async with DistributedLock(client, "a", timeout=5) as lock:
        assert await lock.extend(100)
        assert admin.pttl("lock:a") > 90_000
        with pytest.raises(ValueError, match="seconds=0"):
            await lock.extend(0)
    assert not await lock.extend()


async def test_the_end_that_extend_has_set_is_known(client, admin):
    """It was noticed only at the end before: somebody else had the lock meanwhile."""
    lock = DistributedLock(client, "a", timeout=30, renew=False)
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(LockLostError):
        async with lock:
            assert await lock.extend(0.3)
            await asyncio.sleep(20)
    assert loop.time() - began < 10
    async with DistributedLock(client, "b", timeout=0.3, renew=False) as lock:
        assert await lock.extend(20)
        await asyncio.sleep(0.5)
        assert lock.held


async def test_renewing_keeps_what_extend_has_given(client, admin, until):
    async with DistributedLock(client, "a", timeout=30) as lock:
        assert await lock.extend(0.6)
        await renewal(admin, until)  # in time, though the timeout's third is far away
        assert lock.held and admin.pttl("lock:a") > 20_000
    async with DistributedLock(client, "a", timeout=0.9) as lock:
        assert await lock.extend(100)
        await asyncio.sleep(0.7)  # renewed twice
        assert lock.held and admin.pttl("lock:a") > 90_000


# ----------------------------------------------------------------- re-entrancy


async def test_re_entrancy_is_refused(any_client):
    lock = DistributedLock(any_client, "a", wait=None)
    async with lock:
        with pytest.raises(LockReentrancyError, match="object is in use"):
            await lock.acquire()
        with pytest.raises(LockReentrancyError, match="holds this lock already"):
            await DistributedLock(any_client, "a", wait=None).acquire()
        async with DistributedLock(any_client, "b"):
            pass
    async with lock:
        pass


async def test_one_object_is_for_one_holder(client):
    lock = DistributedLock(client, "a", wait=5)
    tasks = [asyncio.ensure_future(lock.acquire()) for _ in range(2)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[0] is True
    assert isinstance(results[1], LockReentrancyError)
    await lock.release()


# --------------------------------------------------------------------- fencing


async def test_fenced_writes(any_client, admin):
    old, new = (DistributedLock(any_client, "a") for _ in range(2))
    with pytest.raises(LockNotAcquiredError, match="acquire it before"):
        await old.execute(("SET", "x", 1))
    await old.acquire()
    replies = await old.execute(("SET", "x", 1), ("INCRBY", "x", 4))
    assert replies[1] == 5
    await old.release()
    await old.execute(("SET", "x", "nobody came after"))
    await new.acquire()
    assert new.token > old.token
    with pytest.raises(StaleFencingTokenError, match="nothing was executed"):
        await old.execute(("SET", "x", "old"), ("SET", "y", "old"))
    assert admin.get("x") == "nobody came after"
    assert not admin.exists("y")
    await new.release()


@pytest.mark.parametrize("command", ["SET", (), ("PING",)])
async def test_commands_that_are_none(client, command):
    async with DistributedLock(client, "a") as lock:
        with pytest.raises(ValueError, match="tuple of its name, its key"):
            await lock.execute(command)


async def test_tokens_rise_after_the_data_is_lost_and_when_the_clock_is_behind(client, admin):
    lock = DistributedLock(client, "a")
    await lock.acquire()
    first = lock.token
    await lock.release()
    admin.flushall()
    await lock.acquire()
    assert lock.token > first
    await lock.release()
    ahead = lock.token + 10**12
    admin.set("{lock:a}:fence", ahead)
    await lock.acquire()
    assert lock.token == ahead + 1
    await lock.release()


def test_the_fence_is_in_the_slot_of_the_lock():
    from redis.crc import key_slot

    for key in ("lock:a", "lock:{user}:a", "lock:{a}{b}", "lock:ü"):
        assert key_slot(fence_key(key).encode()) == key_slot(key.encode()), key


# ----------------------------------------------------------------------- rest


@pytest.mark.parametrize(
    ("options", "said"),
    [({"timeout": 0}, "timeout=0"), ({"wait": -1}, "wait=-1"), ({"lock_name": ""}, "empty")],
)
async def test_wrong_values(options, said):
    import aiecs_redis

    with pytest.raises(ValueError, match=said):
        DistributedLock(aiecs_redis.Redis(), **{"lock_name": "a", **options})


async def test_no_server(make_client, start_server, caplog):
    caplog.set_level(logging.CRITICAL)
    server = start_server()
    client = await make_client(server, retry=Retry(NoBackoff(), 0))
    server.kill()
    with pytest.raises(redis.exceptions.ConnectionError):
        await DistributedLock(client, "a").acquire()
