"""`install()`: libraries that make clients from `redis.asyncio` get native ones.

A name of redis-py is replaced wherever a module of redis.asyncio holds it: in its namespace, in a
class, as the default of an argument. What other modules have imported before stays as it is.
"""

from __future__ import annotations

import logging
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable, NamedTuple

import redis.asyncio.client
import redis.asyncio.cluster
import redis.asyncio.connection
import redis.asyncio.sentinel

import aiecs_redis
from aiecs_redis import _stand_in

__all__ = ["Installation", "install", "uninstall"]

logger: logging.Logger = logging.getLogger(__name__)

NAMES = {
    redis.asyncio.client: ("Redis", "StrictRedis", "Pipeline", "PubSub", "Monitor"),
    redis.asyncio.connection: (
        "Connection",
        "SSLConnection",
        "UnixDomainSocketConnection",
        "ConnectionPool",
        "BlockingConnectionPool",
    ),
    redis.asyncio.sentinel: (
        "Sentinel",
        "SentinelConnectionPool",
        "SentinelManagedConnection",
        "SentinelManagedSSLConnection",
    ),
    redis.asyncio.cluster: ("RedisCluster", "ClusterNode", "ClusterPipeline", "ClusterPubSub"),
}
"""What may be replaced: where redis-py defines a class, and its name. Those are that aiecs_redis
exports as a subclass of the same name."""

_ORIGINALS: dict[str, type] = {
    name: getattr(module, name)
    for module, names in NAMES.items()
    for name in names
    if hasattr(module, name)
}


@dataclass(frozen=True)
class Installation:
    """What `install()` did.

    Attributes:
        replaced: the names that are native now, "redis.asyncio.Redis" or, for the default of an
            argument, "redis.asyncio.sentinel.Sentinel.master_for(redis_class)".
        kept: names and subclasses in other modules that were imported before, and that are
            redis-py's still: "some_library.Redis".
    """

    replaced: tuple[str, ...]
    kept: tuple[str, ...]

    def __str__(self) -> str:
        text = f"replaced: {', '.join(self.replaced)}"
        if self.kept:
            text += f"; imported before install(), hence left as they are: {', '.join(self.kept)}"
        return text

    def __repr__(self) -> str:
        return f"<aiecs_redis.install() {self}>"


class _Site(NamedTuple):
    """A place that holds a class."""

    label: str
    read: Callable[[], Any]
    write: Callable[[Any], None]


class _Change(NamedTuple):
    site: _Site
    before: type
    after: type


_standing: Installation | None = None
_changes: list[_Change] = []
_modules_then: set[str] = set()


def _replacements() -> dict[type, type]:
    """Class of redis-py -> ours, for each that is a drop-in."""
    found = {}
    for name, original in _ORIGINALS.items():
        ours = getattr(aiecs_redis, name, None)
        if isinstance(ours, type) and ours is not original and original in ours.__mro__:
            found[original] = ours
    return found


def _namespace(module: types.ModuleType) -> dict[str, Any]:
    # Not by way of the module's own attribute access: that may import, if the module is lazy.
    namespace: dict[str, Any] = object.__getattribute__(module, "__dict__")
    return namespace


def _redis_modules() -> Iterator[tuple[str, types.ModuleType]]:
    for name, module in list(sys.modules.items()):
        known = name == "redis.asyncio" or name.startswith("redis.asyncio.")
        if known and isinstance(module, types.ModuleType):
            yield name, module


def _sites(module_name: str, module: types.ModuleType, wanted: dict[type, type]) -> Iterator[_Site]:
    """Every place of the module that holds one of the wanted classes."""
    for name, value in list(_namespace(module).items()):
        label = f"{module_name}.{name}"
        if isinstance(value, type) and value in wanted:
            yield _attribute(label, module, name)
        if getattr(value, "__module__", None) != module_name:
            continue  # it comes from elsewhere, and is looked into there
        if isinstance(value, type):
            for inner_name, inner in list(vars(value).items()):
                inner_label = f"{label}.{inner_name}"
                if isinstance(inner, type) and inner in wanted:
                    yield _attribute(inner_label, value, inner_name)
                yield from _defaults(inner_label, inner, wanted)
        else:
            yield from _defaults(label, value, wanted)


def _attribute(label: str, holder: Any, name: str) -> _Site:
    return _Site(label, lambda: vars(holder).get(name), lambda value: setattr(holder, name, value))


def _defaults(label: str, value: Any, wanted: dict[type, type]) -> Iterator[_Site]:
    """The arguments of a function, or of what wraps one, whose default is one of the classes."""
    function = getattr(value, "__func__", value)
    while not isinstance(function, types.FunctionType) or hasattr(function, "__wrapped__"):
        function = getattr(function, "__wrapped__", None)
        if function is None:
            return
    code = function.__code__
    positional = code.co_varnames[: code.co_argcount]
    defaults = function.__defaults__ or ()
    for index, default in enumerate(defaults):
        if isinstance(default, type) and default in wanted:
            argument = positional[index - len(defaults)]
            yield _positional(f"{label}({argument})", function, index)
    for argument, default in (function.__kwdefaults__ or {}).items():
        if isinstance(default, type) and default in wanted:
            yield _keyword(f"{label}({argument})", function, argument)


def _positional(label: str, function: types.FunctionType, index: int) -> _Site:
    def write(value: Any) -> None:
        defaults = list(function.__defaults__ or ())
        defaults[index] = value
        function.__defaults__ = tuple(defaults)

    return _Site(label, lambda: (function.__defaults__ or ())[index], write)


def _keyword(label: str, function: types.FunctionType, argument: str) -> _Site:
    def write(value: Any) -> None:
        function.__kwdefaults__ = {**(function.__kwdefaults__ or {}), argument: value}

    return _Site(label, lambda: (function.__kwdefaults__ or {}).get(argument), write)


def _held_elsewhere(wanted: dict[type, type]) -> tuple[str, ...]:
    """Where other modules hold the original classes, or subclasses of them."""
    found = set()
    modules: list[tuple[str, Any]] = list(sys.modules.items())
    for module_name, module in modules:
        foreign = module_name.partition(".")[0] not in ("redis", "aiecs_redis")
        if not foreign or not isinstance(module, types.ModuleType):
            continue
        for name, value in list(_namespace(module).items()):
            # By identity: to look at a stranger's object any closer may run its code.
            if any(value is original for original in wanted):
                found.add(f"{module_name}.{name}")
    for original in wanted:
        subclasses: list[type] = original.__subclasses__()
        for subclass in subclasses:
            if subclass.__module__.partition(".")[0] not in ("redis", "aiecs_redis"):
                found.add(f"{subclass.__module__}.{subclass.__qualname__}")
    return tuple(sorted(found))


def install() -> Installation:
    """Make `redis.asyncio`'s names stand for the classes of this package.

    For libraries that make their clients themselves: `redis.asyncio.Redis(...)`,
    `redis.asyncio.from_url(...)` and the like give native clients from then on. Call it before
    these libraries are imported; what a module has imported by name (`from redis.asyncio import
    Redis`) or subclassed before stays redis-py's, and is listed in the result. Clients that
    exist already stay what they are. `isinstance(client, redis.asyncio.Redis)` is true for both.

    Returns:
        What was replaced; also logged, as INFO. Called again it changes nothing, and returns the
        same: one `uninstall()` restores everything.
    """
    global _standing
    if _standing is not None:
        return _standing
    wanted = _replacements()
    _stand_in.stands_for.update({ours: original for original, ours in wanted.items()})
    for module_name, module in _redis_modules():
        _modules_then.add(module_name)
        for site in _sites(module_name, module, wanted):
            original = site.read()
            _changes.append(_Change(site, original, wanted[original]))
    for change in _changes:
        change.site.write(change.after)
    _standing = Installation(
        tuple(change.site.label for change in _changes), _held_elsewhere(wanted)
    )
    logger.info("%s", _standing)
    return _standing


def uninstall() -> None:
    """Restore what `install()` replaced; does nothing when it is not in effect.

    Clients made meanwhile stay native, and so do the names other modules imported meanwhile.
    """
    global _standing
    if _standing is None:
        return
    wanted = {change.after: change.before for change in _changes}
    for change in _changes:
        if change.site.read() is change.after:
            change.site.write(change.before)
    for module_name, module in _redis_modules():
        if module_name not in _modules_then:  # imported meanwhile
            for site in _sites(module_name, module, wanted):
                site.write(wanted[site.read()])
    _changes.clear()
    _modules_then.clear()
    _stand_in.stands_for.clear()
    _standing = None
