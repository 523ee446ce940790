"""A cache in three levels: this process, Redis, and whatever loads the value.

    cache = CacheManager(client)
    user = await cache.get("user:123", loader=lambda: database.get_user(123), ttl=600)

    @cache.cached(ttl=600, key="user:{user_id}")
    async def get_user(user_id): ...

Local entries are dropped when Redis says that their key changed, and all of them when it cannot
say so for a while. See docs/cache.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import math
import random
import struct
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from time import monotonic
from typing import Any, TypeVar, Union

import redis.exceptions

from aiecs_redis import _cache_scripts as scripts
from aiecs_redis._cached import Cached
from aiecs_redis._local_cache import LocalCache, Token
from aiecs_redis._tasks import happens, stop
from aiecs_redis._tracking import Invalidations
from aiecs_redis._underlying import check_client, underlying
from aiecs_redis.retry import RetryPolicy
from aiecs_redis.serialization import JSON, Codec, SerializationError

__all__ = ["CacheManager", "CacheStats"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
Loader = Callable[[], Union[Awaitable[Any], Any]]

_MISSING: Any = object()
_ENVELOPE = struct.Struct(">2sBI")  # magic, flags, milliseconds it took to load
_MAGIC = b"\xc1c"
_ABSENT = 1  # flag: the loader found nothing
_PORTION = 500
_IDEMPOTENT = RetryPolicy(attempts=3, base=0.05, idempotent=True)
_POLL = 0.05  # seconds between looks at a lease when Redis cannot tell us of its end


@dataclasses.dataclass
class CacheStats:
    """What a `CacheManager` has done so far.

    Attributes:
        local_hits: reads answered by this process.
        redis_hits: reads answered by Redis.
        misses: reads that Redis had no answer to.
        loads: how often a loader ran.
        load_errors: how often it failed.
        early_refreshes: loads that began before the value ran out.
        shared: reads that waited for the same read or load of another task.
        stores: values written to Redis.
        refused_stores: loaded values that were not stored, as the key changed meanwhile.
        invalidations: keys that Redis told us have changed.
        flushes: how often all local entries were dropped.
        evictions: local entries that were dropped for want of room.
        errors: reads and writes that Redis failed to do.
        local_size: local entries now.
    """

    local_hits: int = 0
    redis_hits: int = 0
    misses: int = 0
    loads: int = 0
    load_errors: int = 0
    early_refreshes: int = 0
    shared: int = 0
    stores: int = 0
    refused_stores: int = 0
    invalidations: int = 0
    flushes: int = 0
    evictions: int = 0
    errors: int = 0
    local_size: int = 0

    @property
    def hit_rate(self) -> float:
        """Hits of both levels by all reads, 0 to 1; 0 before the first read."""
        hits = self.local_hits + self.redis_hits
        return hits / (hits + self.misses) if hits + self.misses else 0.0


class CacheManager:
    """A cache of one event loop.

    Args:
        redis_client: a RedisClient, an aiecs_redis.Redis or a redis.asyncio.Redis.
        prefix: of the keys in Redis. Redis tells of every change of a key that begins with it,
            so let no other data begin with it.
        ttl: seconds a value lives in Redis, unless a call says otherwise.
        local_ttl: seconds a value is kept in this process at most; 0: not at all.
        local_size: entries kept in this process at most.
        negative_ttl: seconds for which it is remembered that a loader found nothing (None);
            0: not at all.
        jitter: each value lives up to this share of its ttl less, so that values written
            together do not run out together.
        beta: how early values are loaded anew in the background (XFetch): the longer loading
            takes and the nearer the end, the likelier. 0: never early.
        lease: seconds after which another process may load a key when the one that does has
            died; while it lives it renews its lease.
        codec: how values are written, unless a call says otherwise (`serialization`).
        heartbeat: seconds after which a silent connection for changes is tested; a connection
            that vanished without a word can hide changes for twice as long.

    Values from this process are the very objects that were loaded or decoded: do not change
    them. When Redis fails, `get` goes on with its loader (or gives None), `set` gives False,
    and both log it; `delete` and `invalidate_tag` raise, as a change that is not told leaves
    old values behind.
    """

    def __init__(
        self,
        redis_client: Any,
        *,
        prefix: str = "cache:",
        ttl: float = 300,
        local_ttl: float = 60,
        local_size: int = 10_000,
        negative_ttl: float = 30,
        jitter: float = 0.1,
        beta: float = 1.0,
        lease: float = 5.0,
        codec: Codec = JSON,
        heartbeat: float = 5.0,
    ) -> None:
        self._client = check_client(redis_client)
        for name, value in (("ttl", ttl), ("lease", lease), ("heartbeat", heartbeat)):
            if not value > 0:
                raise ValueError(f"{name}={value!r}: give seconds above 0")
        for name, value in (("local_ttl", local_ttl), ("negative_ttl", negative_ttl)):
            if value < 0:
                raise ValueError(f"{name}={value!r}: give seconds, 0 or more")
        if local_size < 0 or beta < 0 or not 0 <= jitter < 1:
            raise ValueError(
                f"local_size={local_size!r}, beta={beta!r}, jitter={jitter!r}: the first two are"
                " 0 or more, jitter is 0 or more and below 1"
            )
        self.prefix = prefix
        self.ttl = ttl
        self.local_ttl = local_ttl
        self.negative_ttl = negative_ttl
        self.jitter = jitter
        self.beta = beta
        self.lease = lease
        self.codec = codec
        self._leases = f"aiecs:lease:{prefix}"
        self._tags = f"aiecs:tag:{prefix}"
        self._local = LocalCache(local_size if local_ttl else 0)
        self._entries = self._local.entries
        self._move_to_end = self._entries.move_to_end
        self._stats = CacheStats()
        self._heartbeat = heartbeat
        self._loop: asyncio.AbstractEventLoop | None = None
        self._invalidations: Invalidations | None = None
        self._flights: dict[tuple[str, bool], asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()  # flights and background work
        self._refreshing: set[str] = set()
        self._changes: dict[str, asyncio.Event] = {}  # key -> the key or its lease has changed

    # --------------------------------------------------------------------- life

    async def __aenter__(self) -> CacheManager:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def start(self) -> bool:
        """Wait until Redis tells of changes; return whether it does.

        Calling it is not needed: until it does, nothing is kept in this process.
        """
        return await self._attach().wait()

    async def aclose(self) -> None:
        """Stop what runs in the background, and drop the local entries."""
        await stop(*self._tasks)
        listener, self._invalidations = self._invalidations, None
        if listener is not None:
            await listener.aclose()
        self._local.flush()
        self._loop = None

    def _attach(self) -> Invalidations:
        """The listener for changes, started, in the running loop."""
        loop = asyncio.get_running_loop()
        if self._invalidations is not None and self._loop is loop:
            return self._invalidations
        if self._loop is not None and self._loop is not loop and not self._loop.is_closed():
            raise RuntimeError("a CacheManager belongs to one event loop: make one for each")
        self._flights.clear()
        self._tasks.clear()
        self._refreshing.clear()
        self._changes.clear()
        self._local.flush()
        self._loop = loop
        # Changes of leases wake those who wait for another process to load a key.
        overlap = self._leases.startswith(self.prefix) or self.prefix.startswith(self._leases)
        self._invalidations = Invalidations(
            self._client,
            [self.prefix] if overlap else [self.prefix, self._leases],
            on_keys=self._changed,
            on_flush=self._flush,
            heartbeat=self._heartbeat,
        )
        self._invalidations.start()
        return self._invalidations

    def _changed(self, names: list[str]) -> None:
        for name in names:
            if name.startswith(self._leases):
                key = name[len(self._leases) + len(self.prefix) :]
            else:
                key = name[len(self.prefix) :]
                self._drop(key)
                self._stats.invalidations += 1
            event = self._changes.get(key)
            if event is not None:
                event.set()

    def _drop(self, key: str) -> None:
        """The key has changed: whoever asks from now on asks Redis."""
        self._local.drop(key)
        # A read under way may bring the old value to those who asked before, not to others.
        self._flights.pop((key, False), None)
        self._flights.pop((key, True), None)

    def _flush(self) -> None:
        self._stats.flushes += 1
        self._local.flush()
        self._flights.clear()
        for event in self._changes.values():
            event.set()

    @property
    def coherent(self) -> bool:
        """Whether Redis tells of changes at the moment, so that values are kept locally."""
        return self._invalidations is not None and self._invalidations.connected

    @property
    def stats(self) -> CacheStats:
        """What was done so far, as a copy."""
        return dataclasses.replace(
            self._stats, evictions=self._local.evicted, local_size=len(self._local)
        )

    # --------------------------------------------------------------------- read

    def get_nowait(self, key: str, default: Any = None) -> Any:
        """The value if this process has it, else `default`; None if it is known to be absent.

        Asks nobody, and takes a few hundred nanoseconds.
        """
        entry = self._entries.get(key)
        if entry is None or entry[1] <= monotonic():
            return default
        self._move_to_end(key)
        self._stats.local_hits += 1
        return entry[0]

    async def get(
        self,
        key: str,
        ttl: float | None = None,
        *,
        loader: Loader | None = None,
        tags: Iterable[str] = (),
        codec: Codec | None = None,
    ) -> Any:
        """Return the value of a key: from this process, from Redis, or from the loader.

        Args:
            key: its name, without the prefix.
            ttl: seconds that a loaded value lives.
            loader: function or coroutine function without arguments that returns the value,
                None if there is none. However many tasks and processes ask at a time, one of
                them runs it. Where several are given at a time, the first one.
            tags: for `invalidate_tag`, of a loaded value.
            codec: instead of the cache's.

        Returns:
            The value; None if there is none.

        Raises:
            Exception: whatever the loader raises; in all who waited for it.
            SerializationError: the value in Redis is damaged, and there is no loader; or the
                codec cannot write what was loaded.
        """
        value = self.get_nowait(key, _MISSING)
        if value is not _MISSING:
            return value
        self._attach()
        which = (key, loader is not None)
        flight = self._flights.get(which)
        if flight is None:
            job = _Job(key, self._seconds(ttl), loader, tuple(tags), codec or self.codec)
            flight = self._flights[which] = self._spawn(self._look_up(job))
            flight.add_done_callback(lambda done: self._landed(which, done))
        else:
            self._stats.shared += 1
        return await asyncio.shield(flight)  # who is cancelled leaves it to the others

    def _seconds(self, ttl: float | None) -> float:
        if ttl is None:
            return self.ttl
        if not ttl > 0:
            raise ValueError(f"ttl={ttl!r}: give seconds above 0")
        return ttl

    def _landed(self, which: tuple[str, bool], flight: asyncio.Task[Any]) -> None:
        if self._flights.get(which) is flight:
            del self._flights[which]
        if not flight.cancelled():
            flight.exception()  # looked at, even if everyone who waited was cancelled

    async def _look_up(self, job: _Job) -> Any:
        try:
            token = self._local.begin(job.key)
            try:
                data, left = await self._read(job.key)
                if data is not None:
                    value = self._found(job, token, data, left)
                    if value is not _MISSING:
                        return value
            finally:
                self._local.end(token)
            self._stats.misses += 1
            return None if job.loader is None else await self._load(job)
        except _RedisTrouble as exc:
            self._stats.errors += 1
            logger.error("Redis get failed for key %s: %s", self.prefix + job.key, exc.__cause__)
            return None if job.loader is None else (await self._run(job))[0]

    async def _read(self, key: str) -> tuple[Any, float]:
        """The data of a key and how many seconds it has left."""
        name = self.prefix + key
        with _redis_trouble():
            data, left = await _IDEMPOTENT.call(
                scripts.READ, await underlying(self._client), [name], [], raw=True
            )
        return data, _left(left)

    def _found(self, job: _Job, token: Token, data: bytes, left: float) -> Any:
        try:
            value, cost = self._open(job, data)
        except SerializationError as exc:
            if job.loader is None:
                raise
            logger.error("Loading anew what is damaged in Redis: %s", exc)
            job.damaged = True
            return _MISSING
        self._stats.redis_hits += 1
        if job.loader is not None and self._is_early(cost, left):
            self._refresh(job)
        self._keep(token, value, left, cost)
        return value

    def _open(self, job: _Job, data: bytes) -> tuple[Any, float]:
        """The value, and how many seconds it took to load (0: not known)."""
        cost = 0.0
        if data[:2] == _MAGIC and len(data) >= _ENVELOPE.size:
            _, flags, milliseconds = _ENVELOPE.unpack_from(data)
            cost, data = milliseconds / 1000, data[_ENVELOPE.size :]
            if flags & _ABSENT:
                return None, cost
        return job.codec.decode(data, self.prefix + job.key), cost

    def _close(self, job: _Job, value: Any, cost: float) -> bytes:
        milliseconds = min(int(cost * 1000), 0xFFFFFFFF)
        if value is None:
            return _ENVELOPE.pack(_MAGIC, _ABSENT, milliseconds)
        data = job.codec.encode(value, self.prefix + job.key)
        return _ENVELOPE.pack(_MAGIC, 0, milliseconds) + data if milliseconds else data

    def _early_by(self, cost: float) -> float:
        # XFetch: an exponential random time before the end, in proportion to the cost.
        return cost * self.beta * -math.log(1.0 - random.random()) if cost else 0.0

    def _is_early(self, cost: float, left: float) -> bool:
        return cost > 0 and self._early_by(cost) >= left

    def _keep(self, token: Token, value: Any, left: float, cost: float) -> None:
        if self.coherent:
            self._local.keep(token, value, min(self.local_ttl, left - self._early_by(cost)))

    # --------------------------------------------------------------------- load

    async def _load(self, job: _Job) -> Any:
        """Load a key, or wait until another process has."""
        changed = self._changes.setdefault(job.key, asyncio.Event())
        try:
            while True:
                changed.clear()
                token = self._local.begin(job.key)
                try:
                    data, left, ours = await self._ask_lease(job)
                    if data is not None:
                        value = self._found(job, token, data, left)
                        if value is not _MISSING:
                            return value
                        continue
                finally:
                    self._local.end(token)
                if ours:
                    return await self._load_and_store(job)
                # At the latest when the lease runs out.
                wait = left if self.coherent else min(left, _POLL)
                await happens(changed, wait + 0.001)
        finally:
            self._changes.pop(job.key, None)

    async def _ask_lease(self, job: _Job, early: bool = False) -> tuple[bytes | None, float, bool]:
        with _redis_trouble():
            data, left, ours = await _IDEMPOTENT.call(
                scripts.LEASE,
                await underlying(self._client),
                self._names(job.key, job.tags),
                [
                    job.who,
                    _milliseconds(self.lease),
                    _milliseconds(job.ttl),
                    int(early or job.damaged),
                ],
                raw=True,
            )
        return data, _left(left), bool(ours)

    def _names(self, key: str, tags: Iterable[str]) -> list[str]:
        name = self.prefix + key
        return [name, self._leases + name, *(self._tags + tag for tag in tags)]

    async def _load_and_store(self, job: _Job) -> Any:
        lease = self._names(job.key, ())[1]
        redis_ = await underlying(self._client)
        renewing = asyncio.ensure_future(self._renew(redis_, lease, job.who))
        try:
            value, cost = await self._run(job)
            seconds = job.ttl if value is not None else self.negative_ttl
            if seconds:
                data = self._close(job, value, cost)
                if await self._store(job, data, seconds, value, cost, job.who) is False:
                    self._stats.refused_stores += 1
                return value
        except BaseException:
            await self._release(redis_, lease, job.who)
            raise
        finally:
            await stop(renewing)
        await self._release(redis_, lease, job.who)
        return value

    async def _run(self, job: _Job) -> tuple[Any, float]:
        assert job.loader is not None
        began = monotonic()
        self._stats.loads += 1
        try:
            value = job.loader()
            if isinstance(value, Awaitable):
                value = await value
        except BaseException:
            self._stats.load_errors += 1
            raise
        return value, monotonic() - began

    async def _renew(self, redis_: Any, lease: str, who: str) -> None:
        while True:
            await asyncio.sleep(self.lease / 3)
            with contextlib.suppress(redis.exceptions.RedisError, OSError):
                await scripts.RENEW_LEASE(redis_, [lease], [who, _milliseconds(self.lease)])

    async def _release(self, redis_: Any, lease: str, who: str) -> None:
        try:
            await scripts.RELEASE_LEASE(redis_, [lease], [who])
        except (redis.exceptions.RedisError, OSError) as exc:
            logger.info("A lease could not be given back, it runs out: %s", exc)

    async def _store(
        self, job: _Job, data: bytes, seconds: float, value: Any, cost: float, who: str
    ) -> bool | None:
        """Write to Redis, and keep it here; False if the lease of `who` is gone, None after
        an error."""
        seconds *= 1 - self.jitter * random.random()
        token = self._local.begin(job.key)
        try:
            redis_ = await underlying(self._client)
            stored = await _IDEMPOTENT.call(
                scripts.STORE,
                redis_,
                self._names(job.key, job.tags),
                [who, data, _milliseconds(seconds)],
            )
            if stored:
                self._stats.stores += 1
                self._keep(token, value, seconds, cost)
            return bool(stored)
        except (redis.exceptions.RedisError, OSError) as exc:
            self._stats.errors += 1
            logger.error("Redis set failed for key %s: %s", self.prefix + job.key, exc)
            return None
        finally:
            self._local.end(token)

    def _refresh(self, job: _Job) -> None:
        """Load a key anew in the background, unless someone does already."""
        if job.key not in self._refreshing:
            self._refreshing.add(job.key)
            self._spawn(self._refresh_now(job.renamed()))

    async def _refresh_now(self, job: _Job) -> None:
        try:
            _, _, ours = await self._ask_lease(job, early=True)
            if ours:
                self._stats.early_refreshes += 1
                await self._load_and_store(job)
        except _RedisTrouble as exc:
            self._stats.errors += 1
            logger.info("Could not refresh %s early: %s", self.prefix + job.key, exc.__cause__)
        except Exception as exc:
            logger.warning("Loading %s early failed: %s", self.prefix + job.key, exc)
        finally:
            self._refreshing.discard(job.key)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -------------------------------------------------------------------- write

    async def set(
        self,
        key: str,
        value: Any,
        ttl: float | None = None,
        *,
        tags: Iterable[str] = (),
        codec: Codec | None = None,
    ) -> bool:
        """Set a key, here and in Redis; every process drops what it has of it.

        A value that some process is loading at the moment is not stored any more. None stands
        for "there is none", and lives for `negative_ttl`.

        Returns:
            True; False after an error, which is logged: `Redis set failed for key {key}: {e}`.

        Raises:
            SerializationError: the codec cannot write the value.
        """
        self._attach()
        job = _Job(key, self._seconds(ttl), None, tuple(tags), codec or self.codec)
        seconds = job.ttl if value is not None or not self.negative_ttl else self.negative_ttl
        data = self._close(job, value, 0.0)
        self._drop(key)
        try:
            return bool(await self._store(job, data, seconds, value, 0.0, who=""))
        finally:
            # Reads that began meanwhile may hold the value before; what was kept is ours.
            self._flights.pop((key, False), None)
            self._flights.pop((key, True), None)

    async def delete(self, *keys: str) -> int:
        """Delete keys; every process drops what it has of them.

        Returns:
            How many there were in Redis.

        Raises:
            redis.exceptions.RedisError: it may not have happened; old values may live on.
        """
        self._attach()
        if not keys:
            return 0
        names = [self._names(key, ()) for key in keys]

        async def delete() -> int:
            # The leases in the same step: no load under way is stored any more.
            pipe = (await underlying(self._client)).pipeline(transaction=True)
            pipe.delete(*(lease for _, lease in names))
            pipe.delete(*(name for name, _ in names))
            return int((await pipe.execute())[1])

        for key in keys:
            self._drop(key)
        try:
            return await _IDEMPOTENT.call(delete)
        finally:
            for key in keys:  # reads that began meanwhile
                self._drop(key)

    async def invalidate_tag(self, *tags: str) -> int:
        """Delete all keys that were stored or are being loaded with one of these tags.

        Returns:
            How many there were in Redis.

        Raises:
            redis.exceptions.RedisError: as `delete`.
        """
        self._attach()
        redis_ = await underlying(self._client)
        removed = 0
        for tag in tags:
            count = _PORTION
            while count >= _PORTION:
                count, gone = await _IDEMPOTENT.call(
                    scripts.UNTAG, redis_, [self._tags + tag], [self._leases, _PORTION]
                )
                removed += gone
        # Redis tells us of each key, but whoever called expects it to be so now.
        if removed:
            self._flush()
        return removed

    def cached(
        self,
        ttl: float | None = None,
        *,
        key: str | Callable[..., str] | None = None,
        tags: Iterable[str] = (),
        codec: Codec | None = None,
    ) -> Callable[[Callable[..., Awaitable[T]]], Cached[T]]:
        """Decorate a coroutine function: its result is cached by its arguments.

        Args:
            ttl: seconds.
            key: a template with the names of arguments (`"user:{user_id}"`), a function of the
                arguments, or None: module, name and a digest of the arguments.
            tags: templates, too.
            codec: instead of the cache's.

        The decorated function has `key(...)` and `invalidate(...)`, which take its arguments.
        """

        def decorate(function: Callable[..., Awaitable[T]]) -> Cached[T]:
            return Cached(self, function, ttl, key, tuple(tags), codec)

        return decorate


@dataclasses.dataclass
class _Job:
    """One look-up or write, with everything it needs to know."""

    key: str
    ttl: float
    loader: Loader | None
    tags: tuple[str, ...]
    codec: Codec
    damaged: bool = False
    who: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

    def renamed(self) -> _Job:
        return dataclasses.replace(self, who=uuid.uuid4().hex)


class _RedisTrouble(Exception):
    """Wraps what Redis did, to tell it from what a loader raised."""


@contextlib.contextmanager
def _redis_trouble() -> Iterator[None]:
    try:
        yield
    except (redis.exceptions.RedisError, OSError, RuntimeError) as exc:
        raise _RedisTrouble from exc


def _left(milliseconds: int) -> float:
    """Seconds left out of the answer to PTTL; a key without an end has all the time."""
    return math.inf if milliseconds == -1 else max(milliseconds, 0) / 1000


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
