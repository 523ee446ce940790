"""What the stores of records have in common: a hash with an end for each record."""

from __future__ import annotations

import glob
import inspect
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import redis.exceptions

from aiecs_redis._checks import filled, function, milliseconds, seconds
from aiecs_redis._nodes import is_cluster
from aiecs_redis._records import Fields
from aiecs_redis._underlying import Lua, check_client, text, underlying
from aiecs_redis.retry import RetryPolicy

if TYPE_CHECKING:
    from aiecs_redis.events import KeyEvent, KeyspaceEvents

__all__ = ["HashStore", "forward_expired", "key_of", "scan"]

R = TypeVar("R")

_PORTION = 200
_IDEMPOTENT = RetryPolicy(attempts=3, base=0.05, idempotent=True)

_UPDATE = Lua("""
if redis.call('exists', KEYS[1]) == 0 then return false end
local position = 3
for _ = 1, tonumber(ARGV[2]) do
  redis.call('hset', KEYS[1], ARGV[position], ARGV[position + 1])
  position = position + 2
end
for i = position, #ARGV do redis.call('hdel', KEYS[1], ARGV[i]) end
redis.call('pexpire', KEYS[1], ARGV[1])
return redis.call('hgetall', KEYS[1])
""")
"""Keys: hash. Arguments: milliseconds, how many fields to set, their names and values, names of
fields to delete. The hash, or nil if there is none."""


class HashStore(Generic[R]):
    """Records of one dataclass, each in a hash that ends `ttl` seconds after its last write.

    Attributes:
        prefix: of the keys.
        ttl: seconds.
    """

    def __init__(
        self, client: Any, prefix: str, ttl: float, record: type[R], identity: str
    ) -> None:
        filled("prefix", prefix)
        seconds("ttl", ttl)
        self._client = check_client(client)
        self._fields = Fields(record, identity)
        self._identity = identity
        self.prefix = prefix
        self.ttl = ttl

    def _key(self, identity: str) -> str:
        return key_of(self.prefix, self._identity, identity)

    async def _write(self, identity: str, values: Mapping[str, Any]) -> R:
        key = self._key(identity)
        wanted, gone = self._fields.write(values, key)

        async def write() -> dict[Any, Any]:
            pipe = (await underlying(self._client)).pipeline(transaction=True)
            if gone:
                pipe.hdel(key, *gone)
            pipe.hset(key, mapping=wanted)
            pipe.pexpire(key, milliseconds(self.ttl))
            pipe.hgetall(key)
            found: dict[Any, Any] = (await pipe.execute())[-1]
            return found

        return self._fields.read(identity, await _IDEMPOTENT.call(write), key)

    async def _update(self, identity: str, changes: Mapping[str, Any]) -> R | None:
        key = self._key(identity)
        wanted, gone = self._fields.write(changes, key)
        words = [word for item in wanted.items() for word in item]
        found = await _IDEMPOTENT.call(
            _UPDATE,
            await underlying(self._client),
            [key],
            [milliseconds(self.ttl), len(wanted), *words, *gone],
            raw=True,
        )
        if not found:
            return None
        return self._fields.read(identity, dict(zip(found[::2], found[1::2])), key)

    async def _read(self, identity: str, touch: bool) -> R | None:
        key = self._key(identity)

        async def read() -> dict[Any, Any]:
            redis_ = await underlying(self._client)
            if not touch:
                found: dict[Any, Any] = await redis_.hgetall(key)
                return found
            pipe = redis_.pipeline(transaction=True)
            pipe.pexpire(key, milliseconds(self.ttl))
            pipe.hgetall(key)
            found = (await pipe.execute())[1]
            return found

        found = await _IDEMPOTENT.call(read)
        return self._fields.read(identity, found, key) if found else None

    async def delete(self, *ids: str) -> int:
        """Delete records; return how many there were.

        Args:
            *ids: theirs.

        Raises:
            TypeError: an id that is no str.
            ValueError: an empty id.
        """
        if not ids:
            return 0
        return int(await (await underlying(self._client)).delete(*map(self._key, ids)))

    async def __aiter__(self) -> AsyncIterator[R]:
        """Every record, in no order, found with SCAN: the server goes on serving others.

        A record that is written or ends while this runs may be in it or not. Hashes with the
        prefix that are no such records are left out.
        """
        redis_ = await underlying(self._client)
        async for keys in scan(redis_, self.prefix, "hash"):
            pipe = redis_.pipeline(transaction=False)
            for key in keys:
                pipe.hgetall(key)
            for key, found in zip(keys, await pipe.execute(raise_on_error=False)):
                if isinstance(found, redis.exceptions.ResponseError) or not found:
                    continue  # gone, or of another type by now
                if isinstance(found, Exception):
                    raise found
                name = text(key)
                try:
                    yield self._fields.read(name[len(self.prefix) :], found, name)
                except ValueError:
                    continue

    def on_expired(
        self, events: KeyspaceEvents, handler: Callable[[str], Any]
    ) -> Callable[[], None]:
        """Call a function or coroutine function with the id of each record that expires.

        Args:
            events: listens; register here before its `start()`.
            handler: takes the id. The record itself is gone by then.

        Returns:
            A function that takes the handler away again.

        Raises:
            TypeError: the handler is no function.
            RuntimeError: `events` runs already, and does not hear of the ends of keys.
        """
        return forward_expired(events, self.prefix, handler)


def key_of(prefix: str, name: str, identity: str) -> str:
    """The key of a record.

    Raises:
        TypeError: the id is no str.
        ValueError: it is empty.
    """
    filled(name, identity)
    return prefix + identity


def forward_expired(
    events: KeyspaceEvents, prefix: str, handler: Callable[[str], Any]
) -> Callable[[], None]:
    """Hand the ends of keys with a prefix to a handler, without the prefix."""
    function("handler", handler)

    async def expired(event: KeyEvent) -> None:
        result = handler(event.key[len(prefix) :])
        if inspect.isawaitable(result):
            await result

    return events.on("expired", expired, match=glob.escape(prefix) + "*")


async def scan(redis_: Any, prefix: str, kind: str) -> AsyncIterator[list[Any]]:
    """The keys with a prefix and a type, each once, in portions; of all masters of a cluster."""
    pattern = re.sub(r"([*?\[\]^\\])", r"\\\1", prefix) + "*"
    options: dict[str, Any] = {"match": pattern, "count": _PORTION, "_type": kind}
    seen: set[Any] = set()
    if is_cluster(redis_):
        portion: list[Any] = []
        async for key in redis_.scan_iter(**options):
            if key not in seen:
                seen.add(key)
                portion.append(key)
            if len(portion) >= _PORTION:
                yield portion
                portion = []
        if portion:
            yield portion
        return
    cursor: Any = 0
    while True:
        cursor, found = await redis_.scan(cursor, **options)
        fresh = [key for key in dict.fromkeys(found) if key not in seen]
        seen.update(fresh)
        if fresh:
            yield fresh
        if int(cursor) == 0:
            return
