"""`timeout`: one deadline for everything that an operation does."""

from __future__ import annotations

import copy
from types import TracebackType
from typing import Any

import redis.exceptions

from aiecs_redis import _native
from aiecs_redis.exceptions import CircuitOpenError

__all__ = ["timeout"]


class timeout:  # a verb, as asyncio.timeout
    """Bound every operation that is started in a block, `with` or `async with`.

        with aiecs_redis.timeout(0.2):
            value = await client.get("key")

    The bound counts from the start of the block and covers all that an operation does: waiting for
    a connection and for room, being sent again after a lost connection, waiting for the reply. Of
    several bounds (blocks around each other, `operation_timeout`, `socket_timeout`, a blocking
    command's own) the earliest holds. Tasks made in the block are bound while it is open. Unlike
    asyncio.timeout() it cancels nobody: the operation raises, whatever else the task does.

    Args:
        seconds: greater than 0, or None for no bound.

    Raises:
        redis.exceptions.TimeoutError: from the operation (aiecs_redis.CommandTimeoutError).
        ValueError: from the constructor, for seconds that are not greater than 0.
    """

    __slots__ = ("_scope",)

    def __init__(self, seconds: float | None) -> None:
        self._scope = _native.Timeout(seconds)

    @property
    def left(self) -> float | None:
        """Seconds left, 0.0 when they are over; None without a bound, or outside of the block."""
        return self._scope.left

    def __enter__(self) -> timeout:
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._scope.__exit__(kind, error, traceback)

    async def __aenter__(self) -> timeout:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)


class _CappedBackoff:
    """A backoff whose pauses end with the block."""

    def __init__(self, backoff: Any, scope: timeout) -> None:
        self._backoff, self._scope = backoff, scope

    def reset(self) -> None:
        self._backoff.reset()

    def compute(self, failures: int) -> float:
        pause, left = float(self._backoff.compute(failures)), self._scope.left
        return pause if left is None else min(pause, left)


async def call_with_retry(policy: Any, seconds: float | None, attempt: Any) -> Any:
    """policy.call_with_retry(attempt), all attempts and pauses within `seconds`.

    An attempt that begins when they are over fails at once, and is the last one. The core has
    dropped what was broken; an open circuit is not for this caller to wait for.
    """

    async def failed(error: BaseException) -> None:
        over = isinstance(error, redis.exceptions.TimeoutError) and scope.left == 0.0
        if over or isinstance(error, CircuitOpenError):
            raise error

    with timeout(seconds) as scope:
        bounded = copy.copy(policy)
        bounded._backoff = _CappedBackoff(policy._backoff, scope)
        return await bounded.call_with_retry(attempt, failed)
