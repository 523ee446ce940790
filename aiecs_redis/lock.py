"""A lock that processes on many machines share.

    async with DistributedLock(client, "resource_1", wait=30) as lock:
        await lock.execute(("SET", "balance", 5))     # only while nobody has it after us

As in the RedisClient documentation the lock is the key `lock:{name}` that holds its owner's
identifier, so that it excludes owners of the documented class too. See docs/lock.md.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
import weakref
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import redis.exceptions

from aiecs_redis import _checks as checks
from aiecs_redis import _lock_scripts as scripts
from aiecs_redis._checks import milliseconds
from aiecs_redis._lock_fair import PLACE, FairWaiters
from aiecs_redis._lock_waiting import Waiters
from aiecs_redis._scope import CancelScope
from aiecs_redis._tasks import happens, stop
from aiecs_redis._underlying import check_client, underlying
from aiecs_redis.exceptions import OutcomeUnknownError
from aiecs_redis.retry import RetryPolicy

__all__ = [
    "DistributedLock",
    "LockLostError",
    "LockNotAcquiredError",
    "LockReentrancyError",
    "StaleFencingTokenError",
]

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")

_ASKING = RetryPolicy(base=0, retry_on=(), idempotent=True)
_UNCHANGED: Any = object()


class LockNotAcquiredError(redis.exceptions.LockError):
    """Someone else holds the lock, and still did when the time to wait was over."""


class LockLostError(redis.exceptions.LockError):
    """The lock ran out, or was taken away, while the scope that held it was running."""


class LockReentrancyError(redis.exceptions.LockError):
    """Whoever holds the lock asked for it again; waiting would never end."""


class StaleFencingTokenError(redis.exceptions.LockError):
    """Someone else has got the lock since: what was to be written was refused."""


_held: weakref.WeakKeyDictionary[asyncio.Task[Any], set[tuple[int, str]]] = (
    weakref.WeakKeyDictionary()
)  # which locks of which server connection each task holds


class DistributedLock:
    """A lock across processes and machines, one object for each holder.

    Args:
        redis_client: a RedisClient, or a Redis or RedisCluster of aiecs_redis or
            redis.asyncio.
        lock_name: its key is `lock:{lock_name}`.
        timeout: seconds after which the lock is free again if its holder has died. While the
            holder lives it is renewed every third of that.
        wait: seconds that `async with` and `acquire()` wait for another holder: 0 tries once
            (as documented), None waits without end.
        fair: stand in one queue with the waiters of all processes, and get the lock in the order
            of asking; whoever waits for this lock should. Trying once (`wait=0`) does not
            overtake those who wait.
        renew: with False the lock ends after `timeout`, and with it the scope that holds it.
        on_lost: called without arguments when the lock was lost.

    Attributes:
        lock_name: the key.
        identifier: what the key holds while this object holds the lock.
        token: the fencing token of the last acquisition, an int that is greater than every
            one handed out before, for resources that compare; None before the first.
        lost: whether the lock was lost since it was acquired.

    Losing it (the server forgot it, or could not be reached for `timeout` seconds, or this
    process stood still that long) cancels the scope: the task inside of `async with` gets
    CancelledError at its next await, and the block raises LockLostError. Between the loss and
    that await it may still run: what has to be safe goes through `execute()`, or is checked
    against `token` by the resource.

    Raises:
        TypeError: a name that is no str, or an `on_lost` that is no function.
        ValueError: a time that makes no sense, or an empty name.
    """

    def __init__(
        self,
        redis_client: Any,
        lock_name: str,
        timeout: float = 10,
        *,
        wait: float | None = 0,
        fair: bool = False,
        renew: bool = True,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        checks.filled("lock_name", lock_name)
        checks.seconds("timeout", timeout)
        if on_lost is not None:
            checks.function("on_lost", on_lost)
        self.redis_client: Any = check_client(redis_client)
        self.lock_name: str = f"lock:{lock_name}"
        self.timeout = timeout
        self.wait: float | None = _checked_wait(wait)
        self.fair = fair
        self.renew = renew
        self.on_lost = on_lost
        self.identifier: str = str(uuid.uuid4())
        self.token: int | None = None
        self.lost: bool = False
        self._fence = scripts.fence_key(self.lock_name)
        self._deadline = 0.0  # of the loop's clock: until then the key is ours for certain
        self._extended: asyncio.Event  # the deadline has changed; made with the keeper
        self._keeper: asyncio.Task[None] | None = None
        self._holder: asyncio.Task[Any] | None = None
        self._mark: tuple[int, str] | None = None
        self._scope: CancelScope | None = None
        self._busy = False

    def __repr__(self) -> str:
        state = "held" if self.held else "lost" if self.lost else "not held"
        return f"<{type(self).__name__} {self.lock_name!r} {state}>"

    @property
    def held(self) -> bool:
        """Whether this object holds the lock, as far as is known here without asking."""
        return self._keeper is not None and not self.lost

    # ------------------------------------------------------------------ acquire

    async def acquire(self, wait: float | None = _UNCHANGED) -> bool:
        """Take the lock; return whether it is ours.

        Args:
            wait: seconds to wait for another holder, instead of the constructor's.

        Raises:
            LockReentrancyError: this object, or the running task through another object, holds
                it already.
            ValueError: a wait that makes no sense.
            redis.exceptions.RedisError: the server cannot be asked.
        """
        patience = self.wait if wait is _UNCHANGED else _checked_wait(wait)
        redis_ = await underlying(self.redis_client)
        self._refuse_reentrancy(redis_)
        self._busy = True
        try:
            if await self._try(redis_, patience != 0) is True:
                return True
            if patience == 0:
                return False
            if not self.fair:
                return await Waiters.of(redis_, self.redis_client).acquire(
                    self.lock_name, lambda: self._try(redis_), patience
                )
            if await FairWaiters.of(redis_, self.redis_client).acquire(
                self.lock_name, self.identifier, lambda: self._try(redis_), patience
            ):
                return True
            await _to_the_end(self._leave(redis_))
            return False
        except BaseException:
            await _to_the_end(self._take_back())
            raise
        finally:
            self._busy = False

    def _refuse_reentrancy(self, redis_: Any) -> None:
        if self._keeper is not None or self._busy:
            raise LockReentrancyError(
                f"{self.lock_name}: this DistributedLock object is in use; it is not re-entrant,"
                " and every holder needs an object of its own"
            )
        task = asyncio.current_task()
        mark = (id(redis_), self.lock_name)
        if task is not None and mark in _held.get(task, ()):
            raise LockReentrancyError(
                f"{self.lock_name}: task {task.get_name()!r} holds this lock already; it is not"
                " re-entrant, so waiting for it would never end"
            )

    async def _try(self, redis_: Any, stand: bool = True) -> bool | float:
        """True if it is ours now, else for how many seconds it is someone else's at most.

        A fair one takes a place in the queue, or keeps it, if it is to `stand` there.
        """
        loop = asyncio.get_running_loop()
        asked = loop.time()
        script, keys = scripts.ACQUIRE, [self.lock_name, self._fence]
        args = [self.identifier, milliseconds(self.timeout)]
        if self.fair:
            script = scripts.ACQUIRE_FAIR
            keys += scripts.place_keys(self.lock_name)
            args.append(milliseconds(PLACE) if stand else 0)
        # Asked twice, the scripts know their own identifier again.
        token, left = await _ASKING.call(script, redis_, keys, args)
        if token:
            self._granted(redis_, int(token), asked + self.timeout)
            return True
        return float(left) / 1000 if left > 0 else self.timeout

    def _granted(self, redis_: Any, token: int, deadline: float) -> None:
        self.token, self.lost, self._deadline = token, False, deadline
        self._holder = asyncio.current_task()
        self._mark = (id(redis_), self.lock_name)
        if self._holder is not None:
            _held.setdefault(self._holder, set()).add(self._mark)
        self._extended = asyncio.Event()
        self._keeper = asyncio.ensure_future(self._keep(redis_))

    async def _take_back(self) -> None:
        """Whoever is cancelled, or fails, while asking must not leave the lock taken."""
        try:
            # It may have been granted without our hearing of it. If this fails, it ends by itself.
            await asyncio.wait_for(self._release(leave=True), 1)
        except (redis.exceptions.RedisError, OSError, RuntimeError, asyncio.TimeoutError) as exc:
            logger.info("%s could not be given back: %s", self.lock_name, exc)

    # --------------------------------------------------------------------- hold

    async def _keep(self, redis_: Any) -> None:
        """Renew it until it is released; find out when it is lost."""
        loop = asyncio.get_running_loop()
        while True:
            left = self._deadline - loop.time()
            if left <= 0:
                return self._lose()
            pause = min(left, self.timeout) / 3 if self.renew else left
            if await happens(self._extended, pause):
                self._extended.clear()
                continue
            asked = loop.time()
            if not self.renew or asked >= self._deadline:
                continue
            span = max(self.timeout, self._deadline - asked)  # extend() may have given it more
            try:
                renewed = await asyncio.wait_for(
                    scripts.RENEW(redis_, [self.lock_name], [self.identifier, milliseconds(span)]),
                    self._deadline - asked,
                )
            except Exception as exc:
                # Until the deadline it is ours, whatever becomes of the connection.
                logger.info("%s is not renewed yet: %s", self.lock_name, exc)
                await asyncio.sleep(min(0.05, self.timeout / 20))
                continue
            if not renewed:
                return self._lose()
            self._deadline = asked + span

    def _lose(self) -> None:
        self.lost = True
        self._unmark()
        if self._scope is not None:
            self._scope.cancel()
        if self.on_lost is not None:
            try:
                self.on_lost()
            except Exception:
                logger.exception("on_lost of %s failed", self.lock_name)

    def _unmark(self) -> None:
        if self._holder is not None and self._mark is not None:
            _held.get(self._holder, set()).discard(self._mark)
        self._holder = self._mark = None

    async def _forget(self) -> None:
        keeper, self._keeper = self._keeper, None
        self._unmark()
        await stop(keeper)

    async def extend(self, seconds: float | None = None) -> bool:
        """Let the lock last `seconds` (default: `timeout`) from now; False if it is lost.

        Renewing it does not make that less; it makes it more when fewer than `timeout` are left.

        Raises:
            ValueError: a time that is not above 0.
            redis.exceptions.RedisError: the server cannot be asked.
        """
        span = self.timeout if seconds is None else seconds
        checks.seconds("seconds", span)
        asked = asyncio.get_running_loop().time()
        redis_ = await underlying(self.redis_client)
        renewed = await scripts.RENEW(
            redis_, [self.lock_name], [self.identifier, milliseconds(span)]
        )
        if renewed and self._keeper is not None:
            self._deadline = asked + span
            self._extended.set()
        return bool(renewed)

    async def execute(self, *commands: Sequence[Any]) -> list[Any]:
        """Run commands in one step, only if nobody has got the lock after us.

            await lock.execute(("SET", "stock:7", 3), ("EXPIRE", "stock:7", 60))

        Args:
            commands: name, key and further arguments of one command each. The second item is
                taken for its key.

        Returns:
            Their replies, as Lua hands them on.

        Raises:
            StaleFencingTokenError: someone else got the lock since; nothing was executed.
            LockNotAcquiredError: the lock was never acquired by this object.
            ValueError: a command without key.
            redis.exceptions.ResponseError: a command failed; those before it are executed.
            OutcomeUnknownError: as any script.
        """
        if self.token is None:
            raise LockNotAcquiredError(f"{self.lock_name}: acquire it before execute()")
        keys, args = scripts.packed(commands)
        redis_ = await underlying(self.redis_client)
        replies = await scripts.FENCED(redis_, [self._fence, *keys], [self.token, *args])
        if replies == -1:
            raise StaleFencingTokenError(
                f"{self.lock_name}: token {self.token} is not the newest, someone else has got"
                " the lock since; nothing was executed"
            )
        return list(replies)

    # ------------------------------------------------------------------ release

    async def release(self) -> bool:
        """Give the lock back; False if it was not ours any more.

        Raises:
            redis.exceptions.RedisError: the server cannot be asked; the lock ends by itself.
        """
        return await _to_the_end(self._release())

    async def _leave(self, redis_: Any) -> None:
        """Give the place in the queue back. If that fails, it ends by itself."""
        try:
            keys = [self.lock_name, *scripts.place_keys(self.lock_name)]
            await scripts.LEAVE(redis_, keys, [self.identifier])
        except (redis.exceptions.RedisError, OSError) as exc:
            logger.info("The place in the queue of %s runs out: %s", self.lock_name, exc)

    async def _release(self, leave: bool = False) -> bool:
        await self._forget()
        redis_ = await underlying(self.redis_client)
        if leave and self.fair:
            await self._leave(redis_)
        script, keys = scripts.RELEASE, [self.lock_name]
        if self.fair:
            script = scripts.RELEASE_FAIR
            keys += scripts.place_keys(self.lock_name)
        unsure = False
        while True:
            try:
                released = await script(redis_, keys, [self.identifier])
                return bool(released) or unsure
            except OutcomeUnknownError:
                if unsure:
                    raise
                unsure = True  # once more: who finds it gone had released it

    # -------------------------------------------------------------------- scope

    async def __aenter__(self) -> DistributedLock:
        if not await self.acquire():
            waited = "" if self.wait == 0 else f" within {self.wait:g} s"
            raise LockNotAcquiredError(f"Failed to acquire lock {self.lock_name!r}{waited}")
        if self.lost:  # a very short timeout, or a very slow answer
            await self._forget()
            raise self._lost_error()
        self._scope = CancelScope()
        return self

    async def __aexit__(self, exc_type: Any, exc: BaseException | None, traceback: Any) -> None:
        scope, self._scope = self._scope, None
        ours = scope is not None and scope.leave(exc)
        if self.lost:
            await self._forget()
            if ours or exc is None:
                raise self._lost_error() from exc
            return
        try:
            released = await self.release()
        except redis.exceptions.RedisError as failure:
            if exc is None:
                raise
            logger.warning("%s could not be released: %s", self.lock_name, failure)
            return
        if not released and exc is None:
            self.lost = True
            raise self._lost_error()

    def _lost_error(self) -> LockLostError:
        return LockLostError(
            f"{self.lock_name} was lost while it was held (timeout {self.timeout:g} s)"
        )


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run what must not be left half done; who is cancelled meanwhile is told so after it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=5)
        raise


def _checked_wait(wait: float | None) -> float | None:
    if wait is not None:
        besides = " (0 tries once, None waits without end)"
        checks.seconds("wait", wait, zero=True, besides=besides)
    return wait
