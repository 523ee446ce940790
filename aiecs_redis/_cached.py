"""A coroutine function whose results are cached; made by `CacheManager.cached`."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from aiecs_redis.cache import CacheManager
    from aiecs_redis.serialization import Codec

__all__ = ["Cached"]

T = TypeVar("T")


class Cached(Generic[T]):
    """Call it like the function; `key(...)` and `invalidate(...)` take the same arguments.

    On a method, the object it belongs to is no part of a key that is made from the arguments;
    templates may use it (`"user:{self.id}"`).
    """

    def __init__(
        self,
        cache: CacheManager,
        function: Callable[..., Awaitable[T]],
        ttl: float | None,
        key: str | Callable[..., str] | None,
        tags: tuple[str, ...],
        codec: Codec | None,
    ) -> None:
        self._cache = cache
        self._function = function
        self._ttl = ttl
        self._key = key
        self._tags = tags
        self._codec = codec
        self._signature = inspect.signature(function)
        functools.update_wrapper(self, function, updated=())

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        bound = Cached(self._cache, self._function, self._ttl, self._key, self._tags, self._codec)
        bound._instance = (instance,)
        return bound

    _instance: tuple[Any, ...] = ()

    async def __call__(self, *args: Any, **kwargs: Any) -> T:
        args = (*self._instance, *args)
        values = self._arguments(args, kwargs)
        result: T = await self._cache.get(
            self._name(values, args, kwargs),
            self._ttl,
            loader=lambda: self._function(*args, **kwargs),
            tags=[tag.format(**values) for tag in self._tags],
            codec=self._codec,
        )
        return result

    def key(self, *args: Any, **kwargs: Any) -> str:
        """The cache's key for these arguments."""
        args = (*self._instance, *args)
        return self._name(self._arguments(args, kwargs), args, kwargs)

    async def invalidate(self, *args: Any, **kwargs: Any) -> None:
        """Forget the result for these arguments, everywhere.

        Raises:
            redis.exceptions.RedisError: as `CacheManager.delete`.
        """
        await self._cache.delete(self.key(*args, **kwargs))

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def _name(self, values: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if isinstance(self._key, str):
            return self._key.format(**values)
        if self._key is not None:
            return self._key(*args, **kwargs)
        names = list(values)[len(self._instance) :]
        digest = hashlib.sha256(repr([(n, _plain(values[n])) for n in names]).encode())
        where = f"{self._function.__module__}.{self._function.__qualname__}"
        return f"{where}:{digest.hexdigest()[:32]}"


def _plain(value: Any) -> Any:
    """The argument in a form whose repr() is the same in every process."""
    if value is None or isinstance(value, (str, int, float, bytes, bool)):
        return value
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return sorted((repr(_plain(k)), _plain(v)) for k, v in value.items())
    raise TypeError(
        f"no key can be made of an argument of type {type(value).__name__}: give cached(key=...),"
        " a template or a function"
    )
