"""Calls back at fixed moments, as exactly as the kernel can: asyncio's timers are 1 ms late."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
import sys
import time
from collections.abc import Iterator
from typing import Callable

CLOCK_MONOTONIC = 1  # what time.monotonic() reads, too
TFD_TIMER_ABSTIME = 1
NANOSECONDS = 1_000_000_000

Due = Callable[[int], None]
"""Called with the number of ticks since the last call, at least 1."""


@contextlib.contextmanager
def ticking(start: float, interval: float, due: Due) -> Iterator[None]:
    """Tick at `start` (time.monotonic()) and every `interval` seconds after, on this loop."""
    with (
        _timerfd(start, interval, due) if sys.platform == "linux" else _timer(start, interval, due)
    ):
        yield


@contextlib.contextmanager
def _timerfd(start: float, interval: float, due: Due) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create failed")
    try:
        first, every = (divmod(round(s * NANOSECONDS), NANOSECONDS) for s in (start, interval))
        setting = struct.pack("@llll", *every, *first)
        if libc.timerfd_settime(descriptor, TFD_TIMER_ABSTIME, setting, None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

        def readable() -> None:
            with contextlib.suppress(BlockingIOError):
                due(struct.unpack("@Q", os.read(descriptor, 8))[0])

        loop.add_reader(descriptor, readable)
        try:
            yield
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _timer(start: float, interval: float, due: Due) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    done = 0

    def tick() -> None:
        nonlocal done, handle
        ticks = int((time.monotonic() - start) / interval) + 1
        if ticks > done:
            due(ticks - done)
            done = ticks
        wait = start + done * interval - time.monotonic()
        handle = loop.call_later(max(wait, 0.0), tick)

    handle = loop.call_later(max(start - time.monotonic(), 0.0), tick)
    try:
        yield
    finally:
        handle.cancel()
