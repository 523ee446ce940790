"""Trying an operation again: exponential backoff with full jitter, under a total deadline.

    user = await robust_redis_operation(client.hgetall, "user:123")

    policy = RetryPolicy(attempts=5, deadline=10)
    await policy.call(client.hgetall, "user:123")

    @policy.replace(idempotent=True)
    async def store_profile(user_id, profile): ...

`robust_redis_operation` and `safe_redis_operation` are those of the RedisClient documentation.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import redis.exceptions

from aiecs_redis import _checks as checks
from aiecs_redis.exceptions import OutcomeUnknownError

__all__ = [
    "RETRYABLE",
    "RetryDeadlineError",
    "RetryPolicy",
    "robust_redis_operation",
    "safe_redis_operation",
]

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")
Operation = Callable[..., Awaitable[T]]

RETRYABLE: tuple[type[Exception], ...] = (
    redis.exceptions.ConnectionError,  # BusyLoadingError is one
    redis.exceptions.TimeoutError,
    redis.exceptions.ReadOnlyError,  # a master that became a replica executed nothing
    redis.exceptions.TryAgainError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.MasterDownError,
)
"""What `RetryPolicy` repeats by default: troubles that pass."""

_HOPELESS = (redis.exceptions.AuthenticationError, redis.exceptions.AuthorizationError)


class RetryDeadlineError(redis.exceptions.TimeoutError):
    """An attempt was still running at the policy's deadline; it was cancelled.

    `__cause__` is the error of the attempt before it, if there was one.
    """


@dataclasses.dataclass(frozen=True)
class RetryPolicy:
    """How often, how fast and after what an operation is tried again.

    Before attempt n + 1 it sleeps a random time between 0 and `base * 2 ** (n - 1)` seconds,
    `cap` at most (full jitter: callers who failed together do not come back together).

    Args:
        attempts: how often it is tried at all; 1 or more.
        base: seconds, see above.
        cap: seconds, see above.
        deadline: seconds that all attempts and pauses take at most; None: no limit. An attempt
            that runs then is cancelled (`RetryDeadlineError`); a pause that would end later is
            not begun, the last error is raised instead.
        retry_on: the exceptions after which it is tried again. Wrong credentials are not tried
            again, although redis-py counts them among its ConnectionErrors.
        idempotent: the operation may be executed twice without harm. Only then is an
            `OutcomeUnknownError` (sent, and the connection lost before the answer) repeated.
        on_retry: called with the exception, the number of the failed attempt (from 1) and
            the seconds it will sleep; a debug line is logged in any case.

    A time-out is repeated, as in the documentation, although the server may have executed the
    command: leave `redis.exceptions.TimeoutError` out of `retry_on` for an INCR that counts.

    Raises:
        ValueError: a number that makes no sense; it is named.
        TypeError: `retry_on` is no tuple of exceptions, or `on_retry` no function.
    """

    attempts: int = 3
    base: float = 1.0
    cap: float = 30.0
    deadline: float | None = None
    retry_on: tuple[type[Exception], ...] = RETRYABLE
    idempotent: bool = False
    on_retry: Callable[[Exception, int, float], None] | None = None

    def __post_init__(self) -> None:
        checks.whole("attempts", self.attempts, 1)
        checks.seconds("base", self.base, zero=True)
        checks.seconds("cap", self.cap, zero=True)
        if self.deadline is not None:
            checks.seconds("deadline", self.deadline, besides=", or None for no limit")
        if self.on_retry is not None:
            checks.function("on_retry", self.on_retry)
        if not (isinstance(self.retry_on, tuple) and all(map(_is_exception, self.retry_on))):
            raise TypeError(f"retry_on={self.retry_on!r}: give a tuple of exception classes")

    def replace(self, **changes: Any) -> RetryPolicy:
        """The same policy with other values.

        Args:
            **changes: arguments of the constructor.

        Raises:
            ValueError: a number that makes no sense; it is named.
            TypeError: there is no such argument; or as of the constructor.
        """
        return dataclasses.replace(self, **changes)

    def repeats(self, exc: Exception) -> bool:
        """Whether this exception, `exc`, leads to another attempt (if there is one left)."""
        if isinstance(exc, OutcomeUnknownError):
            return self.idempotent
        return isinstance(exc, self.retry_on) and not isinstance(exc, _HOPELESS)

    def pause(self, attempt: int) -> float:
        """Seconds to sleep after the given attempt (1, 2, ...) failed; random."""
        # 2.0 ** 1024 overflows; the cap is reached long before.
        return random.uniform(0, min(self.cap, self.base * 2.0 ** min(attempt - 1, 60)))

    async def call(self, operation: Operation[T], *args: Any, **kwargs: Any) -> T:
        """Run `operation(*args, **kwargs)` and return its result, trying again as configured.

        Raises:
            TypeError: the operation is not a function but its call (a coroutine runs once).
            RetryDeadlineError: an attempt was running at the deadline.
            Exception: what the last attempt raised, or the first one not to be repeated.
        """
        _refuse_call(operation)
        loop = asyncio.get_running_loop()
        end = None if self.deadline is None else loop.time() + self.deadline
        attempt = 0
        last: Exception | None = None
        while True:
            attempt += 1
            try:
                if end is None:
                    return await operation(*args, **kwargs)
                return await self._until(end, operation(*args, **kwargs), last)
            except RetryDeadlineError:
                raise
            except Exception as exc:
                if attempt >= self.attempts or not self.repeats(exc):
                    raise
                seconds, last = self.pause(attempt), exc
                if end is not None and loop.time() + seconds >= end:
                    raise
                self._tell(exc, attempt, seconds)
            await asyncio.sleep(seconds)

    async def _until(self, end: float, attempt: Awaitable[T], last: Exception | None) -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(attempt)
        try:
            await asyncio.wait([task], timeout=max(0.0, end - loop.time()))
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait([task], timeout=1)  # it says good-bye to its connection
        raise RetryDeadlineError(f"no answer within {self.deadline:g} s") from last

    def _tell(self, exc: Exception, attempt: int, seconds: float) -> None:
        logger.debug("Attempt %d failed, again in %.3f s: %s", attempt, seconds, exc)
        if self.on_retry is not None:
            self.on_retry(exc, attempt, seconds)

    def __call__(self, function: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        """As a decorator: each call of the function runs under this policy."""

        @functools.wraps(function)
        async def retried(*args: Any, **kwargs: Any) -> T:
            return await self.call(function, *args, **kwargs)

        return retried


def _is_exception(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)


def _refuse_call(operation: Any) -> None:
    if not callable(operation):
        if inspect.iscoroutine(operation):
            operation.close()
        raise TypeError(
            f"{operation!r} cannot be called again: give the function and its arguments"
            " separately, as in call(client.get, 'key')"
        )


_DOCUMENTED = RetryPolicy(attempts=3, base=1.0)


async def robust_redis_operation(operation: Operation[T], *args: Any, **kwargs: Any) -> T:
    """Run `operation(*args, **kwargs)`, three times at most, pausing up to 1 s, then 2 s.

    After errors of connections and time-outs (`RETRYABLE`), not after an
    `OutcomeUnknownError`. For other numbers use a `RetryPolicy`. Origin: 8.2, issue 1 of the
    RedisClient documentation, which repeats after time-outs only and without jitter.

    Raises:
        Exception: what the last attempt raised.
    """
    return await _DOCUMENTED.call(operation, *args, **kwargs)


async def safe_redis_operation(operation: Operation[T], *args: Any, **kwargs: Any) -> T | None:
    """Run `operation(*args, **kwargs)`; after an error log it and return None.

    Logged at level error: `Redis connection error`, `Redis operation timeout` or `Redis
    operation failed: {e}`; the first two with what happened behind it. Cancelling it is no
    error and goes through. Origin: appendix C of the RedisClient documentation.
    """
    try:
        return await operation(*args, **kwargs)
    except redis.exceptions.ConnectionError as exc:
        logger.error("Redis connection error: %s", exc)
    except (redis.exceptions.TimeoutError, asyncio.TimeoutError) as exc:
        logger.error("Redis operation timeout: %s", exc)
    except Exception as exc:
        logger.error("Redis operation failed: %s", exc)
    return None
