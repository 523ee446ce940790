"""What a workload may call on a client."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Callable

from benchmarks.address import Address

EXPIRE_SECONDS = 600

PipelineOfGets = Callable[[Sequence[str]], Awaitable[list[Any]]]
"""GET of each key."""

MixedPipeline = Callable[[Sequence[tuple[str, bytes]], bool], Awaitable[list[Any]]]
"""SET and GET of each key, as a transaction or not."""

Receive = Callable[[], Awaitable[list[bytes]]]
"""The next messages, so many as was asked for when it was opened."""

OpenReceiver = Callable[[str, int], AbstractAsyncContextManager[Receive]]
"""Subscribes to a channel, and reads so many messages at a time."""

LISTEN = "listen"  # an endless `async for`
GET_MESSAGE = "get_message"  # one call with a timeout for each message
HANDLER = "handler"  # a function called with each message


@dataclass(frozen=True)
class Commands:
    """A connected client's own bound methods: the adapter adds no frame to a command.

    All clients return bytes; nothing is decoded.
    """

    get: Callable[[str], Awaitable[Any]]
    set: Callable[..., Awaitable[Any]]
    set_options: Mapping[str, Any]  # that make SET carry EX
    set_reply: object
    hgetall: Callable[[str], Awaitable[Any]]
    text_fields: bool = False  # HGETALL decodes the names of the fields
    pipeline: PipelineOfGets | None = None  # not transactional
    mixed: MixedPipeline | None = None
    receivers: Mapping[str, OpenReceiver] = field(default_factory=dict)
    receive: Receive | None = None  # of the receiver that the workload has opened
    push: Callable[[str, list[bytes]], Awaitable[Any]] | None = None  # LPUSH: the new length
    llen: Callable[[str], Awaitable[Any]] | None = None
    brpop: Callable[..., Awaitable[Any]] | None = None  # ([key], timeout in seconds)
    brpop_reply: Callable[[tuple[bytes, bytes]], object] = tuple


Connect = Callable[[Address, int], AbstractAsyncContextManager[Commands]]
"""Opens a client set up in its best way for the number of tasks that will use it."""


def named_as_in_redis_py(client: Any, **more: Any) -> Commands:
    """The commands of a client whose methods take and return what redis-py's do, and more."""
    return Commands(
        get=client.get,
        set=client.set,
        set_options={"ex": EXPIRE_SECONDS},
        set_reply=True,
        hgetall=client.hgetall,
        **more,
    )
