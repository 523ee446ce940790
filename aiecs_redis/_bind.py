"""Hands the C core what it must not import itself: redis-py's classes and callbacks.

redis-py's names are bound here, at import: `redis.asyncio.Redis` looked up later may be ourselves.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Awaitable, Mapping
from typing import Any, Callable, TypeVar

import redis
import redis.asyncio.client
import redis.exceptions
from redis._parsers import helpers
from redis._parsers.base import BaseParser

from aiecs_redis import _native
from aiecs_redis.exceptions import CircuitOpenError, CommandTimeoutError, OutcomeUnknownError

BaseRedis = redis.asyncio.client.Redis
BasePipeline = redis.asyncio.client.Pipeline

T = TypeVar("T")

_BOOL_OK, _SET, _BOOL, _PONG, _PY_SET, _PAIRS, _FLOAT, _SCORES, _IDENTITY, _ZADD = range(1, 11)


def callback_tables() -> Mapping[str, Mapping[str, Callable[..., Any]]]:
    """redis-py's tables of response callbacks by name; newer versions keep them apart."""
    try:
        module = importlib.import_module("redis._parsers.response_callbacks")
    except ImportError:
        module = helpers
    return {
        name: table for name, table in vars(module).items() if name.startswith("_RedisCallbacks")
    }


def response_callbacks(protocol: Any, legacy: bool) -> Mapping[str, Callable[..., Any]]:
    """redis-py's response callbacks for a client with these settings."""
    try:
        module = importlib.import_module("redis._parsers.response_callbacks")
    except ImportError:
        own = "_RedisCallbacksRESP3" if protocol in (3, "3") else "_RedisCallbacksRESP2"
        tables = callback_tables()
        return {**tables["_RedisCallbacks"], **tables[own]}
    found: Mapping[str, Callable[..., Any]] = module.get_response_callbacks(protocol, legacy)
    return found


def _converters() -> dict[Callable[..., Any], int]:
    """The response callbacks that the core applies natively, and its number for each."""
    found: dict[Callable[..., Any], int] = {bool: _BOOL}
    named = {
        "bool_ok": _BOOL_OK,
        "parse_set_result": _SET,
        "float_or_none": _FLOAT,
        "parse_zadd": _ZADD,
        "zset_score_pairs": _SCORES,
        "zset_score_pairs_resp3": _SCORES,
        "zset_score_pairs_unified": _SCORES,
        "zset_score_pairs_resp3_to_resp2_legacy": _SCORES,
    }
    for name, number in named.items():
        if hasattr(helpers, name):
            found[getattr(helpers, name)] = number
    for name, table in callback_tables().items():
        resp2 = "RESP2" in name and "RESP3" not in name
        for command, number in (
            ("PING", _PONG),
            ("SMEMBERS", _PY_SET),
            ("HGETALL", _PAIRS if resp2 else _IDENTITY),
        ):
            if command in table:
                found.setdefault(table[command], number)
    return found


async def _guard_awaitable(
    awaitable: Awaitable[T], on_error: Callable[[Any, Exception], T], key: object
) -> T:
    """`_native.guard` for awaitables that are not native commands."""
    try:
        return await awaitable
    except Exception as error:
        return on_error(key, error)


async def _truth_awaitable(awaitable: Awaitable[object]) -> bool:
    """`_native.truth` for awaitables that are not native commands."""
    return bool(await awaitable)


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _resolve_awaitable(
    awaitable: Awaitable[T], loop: asyncio.AbstractEventLoop
) -> asyncio.Future[T]:
    """A future of the loop for anything that can be awaited."""
    if asyncio.isfuture(awaitable):
        return awaitable
    return loop.create_task(_await(awaitable))


def observability_collector() -> Any:
    """What redis-py records its own metrics with, None unless `redis.observability` is on."""
    recorder = sys.modules.get("redis.asyncio.observability.recorder")
    find = getattr(recorder, "_get_or_create_collector", None)
    return None if find is None else find()


def _set_busy_poll(text: str) -> None:
    """Do what AIECS_REDIS_BUSY_POLL asks for."""
    try:
        _native.set_busy_poll(float(text) / 1e6)
    except ValueError:
        raise ValueError(
            f"AIECS_REDIS_BUSY_POLL={text!r} is not a number of microseconds from 0 (never poll) "
            "to 1000"
        ) from None


def bind() -> None:
    """Configure the core; the package does this once, at import."""
    _native.configure(
        ConnectionError=redis.exceptions.ConnectionError,
        CommandTimeoutError=CommandTimeoutError,
        CircuitOpenError=CircuitOpenError,
        DataError=redis.exceptions.DataError,
        InvalidResponse=redis.exceptions.InvalidResponse,
        AuthenticationError=redis.exceptions.AuthenticationError,
        ReadOnlyError=redis.exceptions.ReadOnlyError,
        MovedError=redis.exceptions.MovedError,
        AskError=redis.exceptions.AskError,
        TryAgainError=redis.exceptions.TryAgainError,
        ClusterDownError=redis.exceptions.ClusterDownError,
        SlotNotCoveredError=redis.exceptions.SlotNotCoveredError,
        ClusterError=redis.exceptions.RedisClusterException,
        CrossSlotError=redis.exceptions.CrossSlotTransactionError,
        OutcomeUnknownError=OutcomeUnknownError,
        parse_error=BaseParser.parse_error,
        converters=_converters(),
        python_client=BaseRedis,
        python_pipeline=BasePipeline,
        guard_awaitable=_guard_awaitable,
        truth_awaitable=_truth_awaitable,
        resolve_awaitable=_resolve_awaitable,
    )
    busy_poll = os.environ.get("AIECS_REDIS_BUSY_POLL", "").strip()
    if busy_poll:
        _set_busy_poll(busy_poll)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_native.after_fork)


bind()
