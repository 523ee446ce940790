"""isinstance() while our classes stand in the place of redis-py's: see `aiecs_redis.install`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiecs_redis._bind import BaseRedis

stands_for: dict[type, type] = {}
"""Our class: the class of redis-py whose name it has taken. Empty unless installed."""

if TYPE_CHECKING:
    _Meta = type
else:
    _Meta = type(BaseRedis)


def _is_the_original(cls: type, subclass: type) -> bool:
    # Not issubclass(): redis-py's classes would ask their subclasses, which we are, in turn.
    original = stands_for.get(cls)
    return original is not None and original in getattr(subclass, "__mro__", ())


class StandIn(_Meta):
    """The metaclass of `Redis` and `Pipeline`.

    Whoever asks for `redis.asyncio.Redis` then asks us; a client or a subclass made before is
    one nevertheless.
    """

    def __instancecheck__(cls, instance: object) -> bool:
        if super().__instancecheck__(instance):
            return True
        return _is_the_original(cls, instance.__class__)

    def __subclasscheck__(cls, subclass: type) -> bool:
        if super().__subclasscheck__(subclass):
            return True
        return _is_the_original(cls, subclass)
