"""The second level of the cache: what one look-up or write asks of Redis."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import math
import struct
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Union

import redis.exceptions

from aiecs_redis import _cache_scripts as scripts
from aiecs_redis._underlying import underlying
from aiecs_redis.retry import RetryPolicy
from aiecs_redis.serialization import Codec

__all__ = ["Job", "Loader", "RedisLevel", "RedisTrouble"]

logger: logging.Logger = logging.getLogger(__name__)

Loader = Callable[[], Union[Awaitable[Any], Any]]

_ENVELOPE = struct.Struct(">2sBI")  # magic, flags, milliseconds it took to load
_MAGIC = b"\xc1c"  # no format of `serialization`
_ABSENT = 1  # flag: the loader found nothing
_PORTION = 500
_IDEMPOTENT = RetryPolicy(attempts=3, base=0.05, idempotent=True)


class RedisTrouble(Exception):
    """Wraps what Redis did (`__cause__`), to tell it from what a loader raised."""


@contextlib.contextmanager
def _trouble() -> Iterator[None]:
    try:
        yield
    except (redis.exceptions.RedisError, OSError, RuntimeError) as exc:
        raise RedisTrouble from exc


@dataclasses.dataclass
class Job:
    """One look-up or write, with everything it needs to know.

    Attributes:
        key: without the prefix.
        ttl: seconds.
        damaged: what stands in Redis cannot be read.
        who: holds the lease.
    """

    key: str
    ttl: float
    loader: Loader | None
    tags: tuple[str, ...]
    codec: Codec
    damaged: bool = False
    who: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

    def renamed(self) -> Job:
        """The same for another holder of the lease."""
        return dataclasses.replace(self, who=uuid.uuid4().hex)


class RedisLevel:
    """Keys, leases and tags of one cache.

    Args:
        client: any client the cache takes.
        prefix: of the keys.
        lease: seconds.

    Attributes:
        leases: what the keys of leases begin with, before the prefix.
    """

    def __init__(self, client: Any, prefix: str, lease: float) -> None:
        self._client = client
        self._prefix = prefix
        self._lease = lease
        self.leases = "aiecs:lease:"
        self._tags = f"aiecs:tag:{prefix}"

    def name(self, key: str) -> str:
        """The key in Redis."""
        return self._prefix + key

    def _names(self, key: str, tags: Iterable[str]) -> list[str]:
        name = self._prefix + key
        return [name, self.leases + name, *(self._tags + tag for tag in tags)]

    def unpack(self, job: Job, data: bytes) -> tuple[Any, float]:
        """The value, and how many seconds it took to load (0: not known).

        Raises:
            SerializationError: it is damaged.
        """
        cost = 0.0
        if data[:2] == _MAGIC and len(data) >= _ENVELOPE.size:
            _, flags, milliseconds = _ENVELOPE.unpack_from(data)
            cost, data = milliseconds / 1000, data[_ENVELOPE.size :]
            if flags & _ABSENT:
                return None, cost
        return job.codec.decode(data, self.name(job.key)), cost

    def pack(self, job: Job, value: Any, cost: float) -> bytes:
        """The counterpart of `unpack`.

        Raises:
            SerializationError: the codec cannot write the value.
        """
        milliseconds = min(int(cost * 1000), 0xFFFFFFFF)
        if value is None:
            return _ENVELOPE.pack(_MAGIC, _ABSENT, milliseconds)
        data = job.codec.encode(value, self.name(job.key))
        return _ENVELOPE.pack(_MAGIC, 0, milliseconds) + data if milliseconds else data

    async def read(self, key: str) -> tuple[bytes | None, float]:
        """The data of a key, and how many seconds it has left.

        Raises:
            RedisTrouble: Redis cannot be asked.
        """
        with _trouble():
            data, left = await _IDEMPOTENT.call(
                scripts.READ, await underlying(self._client), [self.name(key)], [], raw=True
            )
        return data, _left(left)

    async def ask_lease(self, job: Job, early: bool = False) -> tuple[bytes | None, float, bool]:
        """The data, if there is any; how many seconds it, or another's lease, has left; whether
        the lease is ours. With `early` data that is there does not matter.

        Raises:
            RedisTrouble: Redis cannot be asked.
        """
        with _trouble():
            data, left, ours = await _IDEMPOTENT.call(
                scripts.LEASE,
                await underlying(self._client),
                self._names(job.key, job.tags),
                [
                    job.who,
                    _milliseconds(self._lease),
                    _milliseconds(job.ttl),
                    int(early or job.damaged),
                ],
                raw=True,
            )
        return data, _left(left), bool(ours)

    async def renew_lease(self, job: Job) -> None:
        """Keep the lease until cancelled."""
        lease = self._names(job.key, ())[1]
        while True:
            await asyncio.sleep(self._lease / 3)
            with contextlib.suppress(redis.exceptions.RedisError, OSError):
                await scripts.RENEW_LEASE(
                    await underlying(self._client), [lease], [job.who, _milliseconds(self._lease)]
                )

    async def release_lease(self, job: Job) -> None:
        """Give the lease back."""
        lease = self._names(job.key, ())[1]
        try:
            await scripts.RELEASE_LEASE(await underlying(self._client), [lease], [job.who])
        except (redis.exceptions.RedisError, OSError, RuntimeError) as exc:
            logger.info("A lease could not be given back, it runs out: %s", exc)

    async def store(self, job: Job, data: bytes, seconds: float, *, leased: bool) -> bool:
        """Write a value; with `leased` only if the lease still is the job's.

        Raises:
            RedisTrouble: it may not have been written.
        """
        with _trouble():
            stored = await _IDEMPOTENT.call(
                scripts.STORE,
                await underlying(self._client),
                self._names(job.key, job.tags),
                [job.who if leased else "", data, _milliseconds(seconds)],
            )
        return bool(stored)

    async def delete(self, keys: Iterable[str]) -> int:
        """Delete keys and their leases in one step; return how many keys there were."""
        names = [self._names(key, ()) for key in keys]

        async def delete() -> int:
            pipe = (await underlying(self._client)).pipeline(transaction=True)
            pipe.delete(*(lease for _, lease in names))
            pipe.delete(*(name for name, _ in names))
            return int((await pipe.execute())[1])

        return await _IDEMPOTENT.call(delete)

    async def untag(self, tag: str) -> int:
        """Delete the keys of a tag, and their leases; return how many keys there were."""
        redis_ = await underlying(self._client)
        removed, count = 0, _PORTION
        while count >= _PORTION:
            count, gone = await _IDEMPOTENT.call(
                scripts.UNTAG, redis_, [self._tags + tag], [self.leases, _PORTION]
            )
            removed += gone
        return removed


def _left(milliseconds: int) -> float:
    """Seconds left out of the answer to PTTL; a key without an end has all the time."""
    return math.inf if milliseconds == -1 else max(milliseconds, 0) / 1000


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
