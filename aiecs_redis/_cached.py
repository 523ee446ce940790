"""A coroutine function whose results are cached; made by `CacheManager.cached`."""

from __future__ import annotations

import functools
import hashlib
import inspect
import string
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aiecs_redis._checks import function as check_function

if TYPE_CHECKING:
    from aiecs_redis.cache import CacheManager
    from aiecs_redis.serialization import Codec

__all__ = ["Cached"]

T = TypeVar("T")

_MISSING: Any = object()
_PLAIN = {str, int, bool, bytes, type(None)}
_REMEMBERED = 1024  # keys of one function


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
        check_function("what cached() decorates", function)
        self._signature = inspect.signature(function)
        for template in [*([key] if isinstance(key, str) else []), *tags]:
            self._check(template)
        # The same key is asked for again and again, and binding arguments takes microseconds.
        remember = functools.lru_cache(_REMEMBERED, typed=True)
        self._remembered = remember(self._name) if key is None or isinstance(key, str) else key
        functools.update_wrapper(self, function, updated=())

    def _check(self, template: str) -> None:
        """Refuse a template that names what the function does not have."""
        known = self._signature.parameters
        for _, field, _, _ in string.Formatter().parse(template):
            if field is None:
                continue
            argument = field.partition(".")[0].partition("[")[0]
            if argument not in known:
                raise ValueError(
                    f"the template {template!r} names {argument!r}, which is no argument of"
                    f" {self._function!r}: {', '.join(known) or 'it has none'}"
                )

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        bound: Cached[T] = Cached.__new__(Cached)
        bound.__dict__.update(self.__dict__)
        bound._instance = (instance,)
        return bound

    _instance: tuple[Any, ...] = ()

    async def __call__(self, *args: Any, **kwargs: Any) -> T:
        if self._instance:
            args = (*self._instance, *args)
        name = self._name_of(args, kwargs)
        value: T = self._cache.get_nowait(name, _MISSING)
        return await self._look_up(name, args, kwargs) if value is _MISSING else value

    async def _look_up(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        tags: list[str] = []
        if self._tags:
            values = self._arguments(args, kwargs)
            tags = [tag.format(**values) for tag in self._tags]
        result: T = await self._cache.get(
            name,
            self._ttl,
            loader=lambda: self._function(*args, **kwargs),
            tags=tags,
            codec=self._codec,
        )
        return result

    def key(self, *args: Any, **kwargs: Any) -> str:
        """The cache's key for these arguments, without its prefix.

        Raises:
            TypeError: they are not the function's, or no key can be made of one of them.
        """
        return self._name_of((*self._instance, *args), kwargs)

    def _name_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        # Only what never changes and is written in one way: not 0.0, which equals -0.0.
        if _PLAIN.issuperset(map(type, args)):
            if not kwargs:
                return self._remembered(*args)
            if _PLAIN.issuperset(map(type, kwargs.values())):
                return self._remembered(*args, **kwargs)
        return self._name(*args, **kwargs)

    async def invalidate(self, *args: Any, **kwargs: Any) -> None:
        """Forget the result for these arguments, everywhere.

        Raises:
            redis.exceptions.RedisError: as `CacheManager.delete`.
            TypeError: as `key()`.
        """
        await self._cache.delete(self.key(*args, **kwargs))

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def _name(self, *args: Any, **kwargs: Any) -> str:
        if self._key is not None and not isinstance(self._key, str):
            return self._key(*args, **kwargs)
        values = self._arguments(args, kwargs)
        if isinstance(self._key, str):
            return self._key.format(**values)
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
