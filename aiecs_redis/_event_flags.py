"""The server's setting notify-keyspace-events: which letters events need, and setting them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import redis.exceptions

from aiecs_redis._underlying import text

__all__ = ["KeyspaceEventsError", "enable", "merged", "needed"]

logger: logging.Logger = logging.getLogger(__name__)

SETTING = "notify-keyspace-events"

# Letter by letter, the names of the events of Redis 6 to 8.
_CLASSES: dict[str, str] = {
    "g": "del rename_from rename_to move_from move_to copy_to restore expire persist",
    "$": "set setrange setbit incrby incrbyfloat append pfadd",
    "l": "lpush rpush lpop rpop linsert lset lrem ltrim sortstore",
    "s": "sadd srem spop sinterstore sunionstore sdiffstore",
    "h": "hset hincrby hincrbyfloat hdel hexpire hexpired hpersist",
    "z": (
        "zadd zincr zrem zremrangebyscore zremrangebyrank zremrangebylex zpopmin zpopmax"
        " zdiffstore zinterstore zunionstore zrangestore geosearchstore georadiusstore"
    ),
    "t": (
        "xadd xtrim xdel xsetid xgroup-create xgroup-createconsumer xgroup-delconsumer"
        " xgroup-destroy xgroup-setid"
    ),
    "x": "expired",
    "e": "evicted",
    "m": "keymiss",
    "n": "new",
}
_LETTER = {name: letter for letter, names in _CLASSES.items() for name in names.split()}
_ALL = "g$lshzxetd"  # what the letter A stands for


class KeyspaceEventsError(redis.exceptions.RedisError):
    """Keyspace events are not enabled, and cannot be from here; the text says what to set."""


def needed(events: Iterable[str]) -> str:
    """The letters for some events, sorted, E (keyevent channels) first.

    Raises:
        ValueError: Redis has no such event.
    """
    letters = set()
    for event in events:
        if event not in _LETTER:
            raise ValueError(f"{event!r} is no keyspace event: give one of {', '.join(_LETTER)}")
        letters.add(_LETTER[event])
    return "E" + "".join(sorted(letters))


def merged(current: str, wanted: str) -> str:
    """The current letters with what is missing added; the current ones if nothing is."""
    has = set(current) | (set(_ALL) if "A" in current else set())
    return current + "".join(letter for letter in wanted if letter not in has)


async def enable(redis_: Any, wanted: str) -> None:
    """Add the letters to the server's setting, unless they are there.

    Raises:
        KeyspaceEventsError: they are missing, and CONFIG SET is refused; or the setting cannot
            be read.
    """
    try:
        found = await redis_.execute_command("CONFIG", "GET", SETTING)
    except redis.exceptions.ResponseError as exc:
        raise KeyspaceEventsError(
            f"the server does not let us read {SETTING} ({exc}). {_remedy(wanted)} Then pass"
            " configure=False"
        ) from exc
    current = _value(found)
    target = merged(current, wanted)
    if target == current:
        return
    try:
        await redis_.execute_command("CONFIG", "SET", SETTING, target)
    except redis.exceptions.ResponseError as exc:
        raise KeyspaceEventsError(
            f"{SETTING} is {current!r}, and the server does not let us change it ({exc})."
            f" {_remedy(target)}"
        ) from exc
    logger.info("Set %s to %r (it was %r)", SETTING, target, current)


def _value(found: Any) -> str:
    """The setting out of the answer to CONFIG GET, in RESP2's or RESP3's form, parsed or not."""
    if isinstance(found, dict):
        return text(next(iter(found.values()), ""))
    return text(found[1]) if len(found) > 1 else ""


def _remedy(flags: str) -> str:
    return (
        f"Set it to {flags!r} there: `{SETTING} {flags}` in redis.conf, or `CONFIG SET {SETTING}"
        f" {flags}` as an administrator, or the parameter of that name of a managed service."
    )
