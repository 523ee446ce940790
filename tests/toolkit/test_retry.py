"""Trying again: what, how often, how fast, and until when."""

import asyncio
import logging

import pytest
import redis

from aiecs_redis import OutcomeUnknownError
from aiecs_redis.retry import (
    RetryDeadlineError,
    RetryPolicy,
    robust_redis_operation,
    safe_redis_operation,
)

QUICK = RetryPolicy(attempts=3, base=0.001)


def failing(times, error, result="done"):
    """An operation that fails so many times, and counts how often it ran."""

    async def operation(*args, **kwargs):
        operation.calls.append((args, kwargs))
        if len(operation.calls) <= times:
            raise error
        return result

    operation.calls = []
    return operation


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.TimeoutError("slow"),
        redis.exceptions.ConnectionError("gone"),
        redis.exceptions.BusyLoadingError("loading"),
        redis.exceptions.ReadOnlyError("replica"),
    ],
)
async def test_troubles_that_pass_are_tried_again(error):
    operation = failing(2, error)
    assert await QUICK.call(operation, 1, two=2) == "done"
    assert operation.calls == [((1,), {"two": 2})] * 3
    operation = failing(3, error)
    with pytest.raises(type(error)):
        await QUICK.call(operation)
    assert len(operation.calls) == 3


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.ResponseError("WRONGTYPE"),
        redis.exceptions.AuthenticationError("WRONGPASS"),  # a ConnectionError, to redis-py
        OutcomeUnknownError("lost"),
        ValueError("no"),
    ],
)
async def test_others_are_not(error):
    operation = failing(1, error)
    with pytest.raises(type(error)):
        await QUICK.call(operation)
    assert len(operation.calls) == 1


async def test_an_unknown_outcome_is_tried_again_if_that_does_no_harm():
    operation = failing(1, OutcomeUnknownError("lost"))
    assert await QUICK.replace(idempotent=True).call(operation) == "done"


async def test_an_increment_with_an_unknown_outcome_counts_once(make_client, proxy, admin):
    client = await make_client(proxy)
    await client.ping()
    proxy.to_client.stall()  # it is executed, and the answer is lost
    call = asyncio.ensure_future(QUICK.call(client.incr, "n"))
    while admin.get("n") != "1":
        await asyncio.sleep(0.01)
    proxy.cut()
    proxy.to_client.resume()
    with pytest.raises(OutcomeUnknownError):
        await call
    assert admin.get("n") == "1"


def test_full_jitter_between_nothing_and_twice_as_much_each_time():
    policy = RetryPolicy(base=1, cap=5)
    for attempt, limit in ((1, 1), (2, 2), (3, 4), (4, 5), (2000, 5)):
        pauses = [policy.pause(attempt) for _ in range(500)]
        assert 0 <= min(pauses) < limit * 0.1
        assert limit * 0.9 < max(pauses) <= limit


async def test_no_pause_goes_beyond_the_deadline(monkeypatch):
    operation = failing(9, redis.exceptions.TimeoutError("slow"))
    policy = RetryPolicy(attempts=9, base=1000, cap=1000, deadline=60)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    with pytest.raises(redis.exceptions.TimeoutError, match="slow"):
        await policy.call(operation)
    assert len(operation.calls) == 1


async def test_an_attempt_ends_at_the_deadline():
    ended = []

    async def operation():
        if not ended:
            ended.append("failed")
            raise redis.exceptions.ConnectionError("first")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with pytest.raises(RetryDeadlineError, match=r"within 0\.1 s") as caught:
        await RetryPolicy(base=0.001, deadline=0.1).call(operation)
    assert str(caught.value.__cause__) == "first"
    assert ended == ["failed", "cancelled"]
    assert isinstance(caught.value, redis.exceptions.TimeoutError)


async def test_cancelling_cancels_the_attempt():
    ended = []

    async def operation():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    task = asyncio.ensure_future(RetryPolicy(deadline=60).call(operation))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.01)
    assert ended


async def test_as_a_decorator():
    heard = []
    operation = failing(2, redis.exceptions.TimeoutError("slow"))

    @QUICK.replace(on_retry=lambda exc, attempt, pause: heard.append((str(exc), attempt)))
    async def decorated(value):
        """Docs."""
        return await operation(value)

    assert await decorated("x") == "done"
    assert heard == [("slow", 1), ("slow", 2)]
    assert (decorated.__name__, decorated.__doc__) == ("decorated", "Docs.")


async def test_a_call_instead_of_a_function_is_refused():
    async def operation():
        pass

    with pytest.raises(TypeError, match="separately"):
        await QUICK.call(operation())


@pytest.mark.parametrize(
    ("name", "value"), [("attempts", 0), ("base", -1), ("cap", -1), ("deadline", 0)]
)
def test_numbers_that_make_no_sense(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        RetryPolicy(**{name: value})


async def test_the_documented_function(monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    operation = failing(9, redis.exceptions.TimeoutError("slow"))
    with pytest.raises(redis.exceptions.TimeoutError):
        await robust_redis_operation(operation, "key")
    assert len(operation.calls) == 3
    assert len(slept) == 2
    assert slept[0] <= 1
    assert slept[1] <= 2


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (redis.exceptions.ConnectionError("gone"), "Redis connection error: gone"),
        (redis.exceptions.TimeoutError("slow"), "Redis operation timeout: slow"),
        (ValueError("odd"), "Redis operation failed: odd"),
    ],
)
async def test_the_safe_function_logs_and_gives_none(error, said, caplog):
    caplog.set_level(logging.ERROR)
    assert await safe_redis_operation(failing(1, error)) is None
    assert [record.getMessage() for record in caplog.records] == [said]
    assert await safe_redis_operation(failing(0, error), 1) == "done"
