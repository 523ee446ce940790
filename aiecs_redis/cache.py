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
import dataclasses
import logging
import math
import random
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from time import monotonic
from typing import Any, TypeVar

from aiecs_redis import _checks as checks
from aiecs_redis._cache_redis import Job, Loader, RedisLevel, RedisTrouble
from aiecs_redis._cache_stats import CacheStats
from aiecs_redis._cached import Cached
from aiecs_redis._local_cache import LocalCache, Token
from aiecs_redis._tasks import happens, stop
from aiecs_redis._tracking import Invalidations
from aiecs_redis._underlying import check_client
from aiecs_redis.serialization import JSON, Codec, SerializationError, check_codec

__all__ = ["CacheManager", "CacheStats"]

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")

_MISSING: Any = object()
_POLL = 0.05  # seconds between looks at a lease when Redis cannot tell us of its end


class CacheManager:
    """A cache of one event loop.

    Args:
        redis_client: a RedisClient, or a Redis or RedisCluster of aiecs_redis or
            redis.asyncio.
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

    Attributes:
        prefix, ttl, local_ttl, negative_ttl, jitter, beta, lease, codec: as given.

    Raises:
        TypeError: the client or the codec is none, or the prefix no str.
        ValueError: a number that makes no sense; it is named.
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
        checks.string("prefix", prefix)
        for name, value in (("ttl", ttl), ("lease", lease), ("heartbeat", heartbeat)):
            checks.seconds(name, value)
        for name, value in (("local_ttl", local_ttl), ("negative_ttl", negative_ttl)):
            checks.seconds(name, value, zero=True)
        checks.whole("local_size", local_size, 0)
        checks.number("beta", beta, 0, 1000)
        checks.number("jitter", jitter, 0, 0.99)
        self.prefix = prefix
        self.ttl = ttl
        self.local_ttl = local_ttl
        self.negative_ttl = negative_ttl
        self.jitter = jitter
        self.beta = beta
        self.lease = lease
        self.codec: Codec = check_codec(codec)
        self._redis = RedisLevel(self._client, prefix, lease)
        self._local = LocalCache(local_size if local_ttl else 0)
        self._entries = self._local.entries
        self._move_to_end = self._entries.move_to_end
        self._stats = CacheStats()
        self._heartbeat = heartbeat
        self._loop: asyncio.AbstractEventLoop | None = None
        self._invalidations: Invalidations | None = None
        self._flights: dict[tuple[str, bool], asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()  # flights and background work
        self._ended: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()  # by aclose()
        self._refreshing: set[str] = set()
        # Who waits until a key or its lease changes.
        self._changes: dict[str, set[asyncio.Event]] = {}

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
        """Stop what runs in the background, and drop the local entries.

        Who waits for a value gets a RuntimeError.
        """
        self._ended.update(self._tasks)
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
        self._invalidations = Invalidations(
            self._client,
            self._redis.prefixes,
            on_keys=self._changed,
            on_flush=self._flush,
            heartbeat=self._heartbeat,
        )
        self._invalidations.start()
        return self._invalidations

    def _changed(self, names: list[str]) -> None:
        for name in names:
            key, is_value = self._redis.key(name)
            if is_value:
                self._drop(key)
                self._stats.invalidations += 1
            for event in self._changes.get(key, ()):
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
        for events in self._changes.values():
            for event in events:
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

        Args:
            key: its name, without the prefix.
            default: whatever is wanted when this process does not know.
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
            TypeError: the key is no str, the loader no function, `tags` a single str.
            ValueError: a ttl that is not above 0.
            RuntimeError: the cache was closed meanwhile, or belongs to another event loop.
        """
        value = self.get_nowait(key, _MISSING)
        if value is not _MISSING:
            return value
        checks.string("key", key)
        if loader is not None:
            checks.function("loader", loader)
        self._attach()
        which = (key, loader is not None)
        flight = self._flights.get(which)
        if flight is None:
            job = self._job(key, ttl, loader, tags, codec)
            flight = self._flights[which] = self._spawn(self._look_up(job))
            flight.add_done_callback(lambda done: self._landed(which, done))
        else:
            self._stats.shared += 1
        await asyncio.wait([flight])  # who is cancelled leaves it to the others
        if flight.cancelled() and flight in self._ended:
            raise RuntimeError("the CacheManager was closed meanwhile")
        return flight.result()

    def _job(
        self,
        key: str,
        ttl: float | None,
        loader: Loader | None,
        tags: Iterable[str],
        codec: Codec | None,
    ) -> Job:
        seconds = self.ttl if ttl is None else ttl
        checks.seconds("ttl", seconds)
        writer = self.codec if codec is None else check_codec(codec)
        return Job(key, seconds, loader, checks.tuple_of("tags", tags), writer)

    def _landed(self, which: tuple[str, bool], flight: asyncio.Task[Any]) -> None:
        if self._flights.get(which) is flight:
            del self._flights[which]
        if not flight.cancelled():
            flight.exception()  # looked at, even if everyone who waited was cancelled

    async def _look_up(self, job: Job) -> Any:
        try:
            token = self._local.begin(job.key)
            try:
                data, left = await self._redis.read(job.key)
                if data is not None:
                    value = self._found(job, token, data, left)
                    if value is not _MISSING:
                        return value
            finally:
                self._local.end(token)
            self._stats.misses += 1
            return None if job.loader is None else await self._load(job)
        except RedisTrouble as exc:
            self._stats.errors += 1
            logger.error(
                "Redis get failed for key %s: %s", self._redis.name(job.key), exc.__cause__
            )
            return None if job.loader is None else (await self._run(job))[0]

    def _found(self, job: Job, token: Token, data: bytes, left: float) -> Any:
        try:
            value, cost = self._redis.unpack(job, data)
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

    def _early_by(self, cost: float) -> float:
        # XFetch: an exponential random time before the end, in proportion to the cost.
        return cost * self.beta * -math.log(1.0 - random.random()) if cost else 0.0

    def _is_early(self, cost: float, left: float) -> bool:
        return cost > 0 and self._early_by(cost) >= left

    def _keep(self, token: Token, value: Any, left: float, cost: float) -> None:
        if self._invalidations is not None and self._invalidations.cover(
            self._redis.name(token.key)
        ):
            self._local.keep(token, value, min(self.local_ttl, left - self._early_by(cost)))

    # --------------------------------------------------------------------- load

    async def _load(self, job: Job) -> Any:
        """Load a key, or wait until another process has."""
        changed = asyncio.Event()
        waiting = self._changes.setdefault(job.key, set())
        waiting.add(changed)
        try:
            while True:
                changed.clear()
                token = self._local.begin(job.key)
                try:
                    data, left, ours = await self._redis.ask_lease(job)
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
            waiting.discard(changed)
            if not waiting and self._changes.get(job.key) is waiting:
                del self._changes[job.key]

    async def _load_and_store(self, job: Job) -> Any:
        renewing = asyncio.ensure_future(self._redis.renew_lease(job))
        stored = None
        try:
            value, cost = await self._run(job)
            seconds = job.ttl if value is not None else self.negative_ttl
            if seconds:
                stored = await self._store(job, value, seconds, cost, leased=True)
                if stored is False:
                    self._stats.refused_stores += 1
            return value
        finally:
            await stop(renewing)
            if not stored:
                await self._redis.release_lease(job)

    async def _run(self, job: Job) -> tuple[Any, float]:
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

    async def _store(
        self, job: Job, value: Any, seconds: float, cost: float, *, leased: bool
    ) -> bool | None:
        """Write to Redis, and keep it here. False if it was not to be written, None after an
        error."""
        data = self._redis.pack(job, value, cost)
        seconds *= 1 - self.jitter * random.random()
        token = self._local.begin(job.key)
        try:
            stored = await self._redis.store(job, data, seconds, leased=leased)
            if stored:
                self._stats.stores += 1
                self._keep(token, value, seconds, cost)
            return stored
        except RedisTrouble as exc:
            self._stats.errors += 1
            name = self._redis.name(job.key)
            logger.error("Redis set failed for key %s: %s", name, exc.__cause__)
            return None
        finally:
            self._local.end(token)

    def _refresh(self, job: Job) -> None:
        """Load a key anew in the background, unless someone does already."""
        if job.key not in self._refreshing:
            self._refreshing.add(job.key)
            self._spawn(self._refresh_now(job.renamed()))

    async def _refresh_now(self, job: Job) -> None:
        try:
            _, _, ours = await self._redis.ask_lease(job, early=True)
            if ours:
                self._stats.early_refreshes += 1
                await self._load_and_store(job)
        except RedisTrouble as exc:
            self._stats.errors += 1
            logger.info("Could not refresh %s early: %s", self._redis.name(job.key), exc.__cause__)
        except Exception as exc:
            logger.warning("Loading %s early failed: %s", self._redis.name(job.key), exc)
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

        Args:
            key: its name, without the prefix.
            value: whatever the codec writes.
            ttl: seconds it lives in Redis, instead of the cache's.
            tags: for `invalidate_tag`.
            codec: instead of the cache's.

        Returns:
            True; False after an error, which is logged: `Redis set failed for key {key}: {e}`.

        Raises:
            SerializationError: the codec cannot write the value.
            TypeError: the key is no str, or `tags` a single one.
            ValueError: a ttl that is not above 0.
        """
        checks.string("key", key)
        job = self._job(key, ttl, None, tags, codec)
        self._attach()
        seconds = job.ttl if value is not None or not self.negative_ttl else self.negative_ttl
        self._drop(key)
        try:
            return bool(await self._store(job, value, seconds, 0.0, leased=False))
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
            TypeError: a key that is no str.
        """
        for key in keys:
            checks.string("key", key)
        self._attach()
        if not keys:
            return 0
        for key in keys:
            self._drop(key)
        try:
            return await self._redis.delete(keys)
        finally:
            for key in keys:  # reads that began meanwhile
                self._drop(key)

    async def invalidate_tag(self, *tags: str) -> int:
        """Delete all keys that were stored or are being loaded with one of these tags.

        Returns:
            How many there were in Redis.

        Raises:
            redis.exceptions.RedisError: as `delete`.
            TypeError: a tag that is no str.
            ValueError: an empty tag.
        """
        tags = checks.tuple_of("tags", tags)
        self._attach()
        removed = 0
        try:
            for tag in tags:
                removed += await self._redis.untag(tag)
        finally:
            # Redis tells us of each key, but whoever called expects it to be so now. What is being
            # loaded may be the value before, for those who asked before.
            self._flights.clear()
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
            ttl: seconds a result lives in Redis; None: the cache's `ttl`.
            key: a template with the names of arguments (`"user:{user_id}"`), a function of the
                arguments that returns a str, or None: module, name and a digest of the arguments
                (None, str, int, float, bytes, and tuples, lists and dicts of these).
            tags: for `invalidate_tag`; templates, too.
            codec: how results are written, instead of the cache's.

        Returns:
            A decorator. What it makes is called like the function, and has `key(...)`, the
            cache's key, and `invalidate(...)`, which forgets the result; both take the
            function's arguments. A call raises what the function and `get` raise, and TypeError
            for an argument of which no key can be made.

        Raises:
            TypeError: it is used without parentheses (`@cache.cached`), `tags` is a single str,
                the key is neither str nor function.
            ValueError: a ttl that is not above 0; when it decorates: a template names an argument
                that the function does not have.
        """
        if callable(ttl):
            raise TypeError("cached() is given a function: write @cache.cached(), with parentheses")
        if ttl is not None:
            checks.seconds("ttl", ttl)
        if key is not None and not isinstance(key, str):
            checks.function("key", key)
        if codec is not None:
            check_codec(codec)
        templates = checks.tuple_of("tags", tags)

        def decorate(function: Callable[..., Awaitable[T]]) -> Cached[T]:
            return Cached(self, function, ttl, key, templates, codec)

        return decorate
