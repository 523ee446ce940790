"""The second level of the cache: what one look-up or write asks of Redis."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import math
import struct
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Union

import redis.exceptions

from aiecs_redis import _cache_scripts as scripts
from aiecs_redis._checks import milliseconds
from aiecs_redis._nodes import hash_tag, is_cluster, of_each
from aiecs_redis._underlying import text, underlying
from aiecs_redis.retry import RetryPolicy
from aiecs_redis.serialization import Codec

__all__ = ["Job", "Loader", "RedisLevel", "RedisTrouble"]

logger: logging.Logger = logging.getLogger(__name__)

Loader = Callable[[], Union[Awaitable[Any], Any]]

_ENVELOPE = struct.Struct(">2sBI")  # magic, flags, milliseconds it took to load
_MAGIC = b"\xc1c"  # no format of `serialization`
_LEASES = "aiecs:lease:"
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
        prefixes: what all keys begin with whose changes have to be known.
    """

    def __init__(self, client: Any, prefix: str, lease: float) -> None:
        self._client = client
        self._prefix = prefix
        self._lease = lease
        self._tags = f"aiecs:tag:{prefix}"
        # A lease is in the slot of its key.
        leases = [f"{_LEASES}{{{prefix}", _LEASES + prefix][hash_tag(prefix) is not None :]
        apart = not prefix.startswith(_LEASES) and not _LEASES.startswith(prefix)
        self.prefixes = [prefix, *leases] if apart else [prefix]

    def name(self, key: str) -> str:
        """The key in Redis."""
        return self._prefix + key

    def key(self, name: str) -> tuple[str, bool]:
        """The counterpart of `name`, for keys of leases as well; whether it is the value's."""
        own = len(self._prefix)
        if not name.startswith(_LEASES):
            return name[own:], True
        leased = name[len(_LEASES) :]
        return (leased if leased.startswith(self._prefix) else leased[1:-1])[own:], False

    def _names(self, key: str) -> list[str]:
        name = self._prefix + key
        return [name, _lease(name)]

    def _tag_names(self, job: Job) -> list[str]:
        return [self._tags + tag for tag in job.tags]

    def unpack(self, job: Job, data: bytes) -> tuple[Any, float]:
        """The value, and how many seconds it took to load (0: not known).

        Raises:
            SerializationError: it is damaged.
        """
        cost = 0.0
        if data[:2] == _MAGIC and len(data) >= _ENVELOPE.size:
            _, flags, taken = _ENVELOPE.unpack_from(data)
            cost, data = taken / 1000, data[_ENVELOPE.size :]
            if flags & _ABSENT:
                return None, cost
        return job.codec.decode(data, self.name(job.key)), cost

    def pack(self, job: Job, value: Any, cost: float) -> bytes:
        """The counterpart of `unpack`.

        Raises:
            SerializationError: the codec cannot write the value.
        """
        taken = min(int(cost * 1000), 0xFFFFFFFF)
        if value is None:
            return _ENVELOPE.pack(_MAGIC, _ABSENT, taken)
        data = job.codec.encode(value, self.name(job.key))
        return _ENVELOPE.pack(_MAGIC, 0, taken) + data if taken else data

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
            redis_ = await underlying(self._client)
            keys = self._names(job.key)
            if not is_cluster(redis_):
                keys += self._tag_names(job)
            data, left, ours = await _IDEMPOTENT.call(
                scripts.LEASE,
                redis_,
                keys,
                [
                    job.who,
                    milliseconds(self._lease),
                    milliseconds(job.ttl),
                    int(early or job.damaged),
                ],
                raw=True,
            )
            if ours and is_cluster(redis_):
                await self._tag(redis_, job, job.ttl)
        return data, _left(left), bool(ours)

    async def _tag(self, redis_: Any, job: Job, seconds: float) -> None:
        name = self.name(job.key)
        for tag in self._tag_names(job):
            await _IDEMPOTENT.call(scripts.TAG, redis_, [tag], [name, milliseconds(seconds)])

    async def renew_lease(self, job: Job) -> None:
        """Keep the lease until cancelled."""
        lease = _lease(self.name(job.key))
        while True:
            await asyncio.sleep(self._lease / 3)
            with contextlib.suppress(redis.exceptions.RedisError, OSError):
                await scripts.RENEW_LEASE(
                    await underlying(self._client), [lease], [job.who, milliseconds(self._lease)]
                )

    async def release_lease(self, job: Job) -> None:
        """Give the lease back."""
        lease = _lease(self.name(job.key))
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
            redis_ = await underlying(self._client)
            keys, apart = self._names(job.key), is_cluster(redis_)
            if not apart:
                keys += self._tag_names(job)
            elif not leased:
                await self._tag(redis_, job, seconds)
            stored = await _IDEMPOTENT.call(
                scripts.STORE,
                redis_,
                keys,
                [job.who if leased else "", data, milliseconds(seconds)],
            )
            if stored and apart:  # the tag may have been invalidated meanwhile
                await self._tag(redis_, job, seconds)
        return bool(stored)

    async def delete(self, keys: Iterable[str]) -> int:
        """Delete keys and their leases; return how many keys there were.

        In one step; in a cluster each key in one.
        """
        redis_ = await underlying(self._client)
        names = [self._names(key) for key in keys]
        if is_cluster(redis_):
            return await self._forget(redis_, names)

        async def delete() -> int:
            pipe = (await underlying(self._client)).pipeline(transaction=True)
            pipe.delete(*(lease for _, lease in names))
            pipe.delete(*(name for name, _ in names))
            return int((await pipe.execute())[1])

        return await _IDEMPOTENT.call(delete)

    async def _forget(self, redis_: Any, names: Iterable[Sequence[Any]]) -> int:
        def forget(pair: Sequence[Any]) -> Awaitable[int]:
            return _IDEMPOTENT.call(scripts.FORGET, redis_, pair, [])

        return sum(await of_each(forget, names))

    async def untag(self, tag: str) -> int:
        """Delete the keys of a tag, and their leases; return how many keys there were."""
        redis_ = await underlying(self._client)
        removed, count = 0, _PORTION
        if is_cluster(redis_):
            return await self._untag_apart(redis_, self._tags + tag)
        while count >= _PORTION:
            count, gone = await _IDEMPOTENT.call(
                scripts.UNTAG, redis_, [self._tags + tag], [_LEASES, _PORTION]
            )
            removed += gone
        return removed

    async def _untag_apart(self, redis_: Any, tag: str) -> int:
        removed = 0
        seen: set[str] = set()
        while True:
            found = await _IDEMPOTENT.call(scripts.TAGGED, redis_, [tag], [_PORTION], raw=True)
            names = [text(name) for name in found[::2]]
            if seen.issuperset(names):  # what is tagged anew meanwhile may stay
                return removed
            seen.update(names)
            removed += await self._forget(redis_, [(name, _lease(name)) for name in names])
            await _IDEMPOTENT.call(scripts.UNTAG_SEEN, redis_, [tag], found)


def _lease(name: str) -> str:
    """The key of the right to load another key, in the same slot of a cluster."""
    return _LEASES + (name if hash_tag(name) is not None else f"{{{name}}}")


def _left(answer: int) -> float:
    """Seconds left out of the answer to PTTL; a key without an end has all the time."""
    return math.inf if answer == -1 else max(answer, 0) / 1000
