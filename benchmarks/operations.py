"""One task's repeated operation, and the reply it must get."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable

from benchmarks import data
from benchmarks.clients.commands import Commands

POP_SECONDS = 15


@dataclass(frozen=True)
class Operation:
    """What one task does again and again.

    While operations are counted, replies with a `reply_length` are compared by length only, as
    comparing 64 KiB would itself be measured. In the warm-up and the latency pass every reply is
    compared in full.
    """

    call: Callable[[], Awaitable[Any]]
    expected: object
    reply_length: int | None = None


MakeOperation = Callable[[Commands, int], Operation]
"""Makes the operation of the task with a number."""


def get(commands: Commands, number: int) -> Operation:
    return Operation(partial(commands.get, data.value_key(number)), data.value(number))


def get_large(commands: Commands, number: int) -> Operation:
    return Operation(
        partial(commands.get, data.large_key(number)), data.large(number), data.LARGE_BYTES
    )


def set_with_expiry(commands: Commands, number: int) -> Operation:
    call = partial(
        commands.set, data.written_key(number), data.value(number), **commands.set_options
    )
    return Operation(call, commands.set_reply)


def hgetall(commands: Commands, number: int) -> Operation:
    expected: dict[Any, bytes] = data.hash_value(number)
    if commands.text_fields:
        expected = {field.decode(): value for field, value in expected.items()}
    return Operation(partial(commands.hgetall, data.hash_key(number)), expected, data.HASH_FIELDS)


def gather_of(size: int) -> MakeOperation:
    def gather(commands: Commands, number: int) -> Operation:
        get = commands.get
        keys = [data.value_key(key) for key in range(size)]
        return Operation(
            lambda: asyncio.gather(*[get(key) for key in keys]),
            [data.value(key) for key in range(size)],
        )

    return gather


def pipeline_of(size: int) -> MakeOperation:
    def pipeline(commands: Commands, number: int) -> Operation:
        assert commands.pipeline is not None
        keys = [data.value_key(key) for key in range(size)]
        return Operation(partial(commands.pipeline, keys), [data.value(key) for key in range(size)])

    return pipeline


def mixed_pipeline_of(size: int, transaction: bool) -> MakeOperation:
    """Half of the commands SET, half GET of what was just written."""

    def mixed(commands: Commands, number: int) -> Operation:
        assert commands.mixed is not None
        pairs = [(data.written_key(key), data.value(key)) for key in range(size // 2)]
        expected = [reply for _, value in pairs for reply in (commands.set_reply, value)]
        return Operation(partial(commands.mixed, pairs, transaction), expected)

    return mixed


def receive(commands: Commands, number: int) -> Operation:
    """The next batch of messages, in their order."""
    assert commands.receive is not None
    return Operation(commands.receive, data.messages())


def pop(commands: Commands, number: int) -> Operation:
    assert commands.brpop is not None
    expected = commands.brpop_reply((data.QUEUE.encode(), data.item()))
    return Operation(partial(commands.brpop, [data.QUEUE], POP_SECONDS), expected)
