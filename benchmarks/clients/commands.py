"""What a workload may call on a client."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Callable

from benchmarks.server import Address

EXPIRE_SECONDS = 600

PipelineOfGets = Callable[[Sequence[str]], Awaitable[list[Any]]]
"""GET of each key."""

MixedPipeline = Callable[[Sequence[tuple[str, bytes]], bool], Awaitable[list[Any]]]
"""SET and GET of each key, as a transaction or not."""


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


Connect = Callable[[Address, int], AbstractAsyncContextManager[Commands]]
"""Opens a client set up in its best way for the number of tasks that will use it."""
