"""Waiting for what a test has set going."""

import asyncio
import time


async def until(condition, seconds=10.0):
    """Return when the condition holds; fail when it does not in that time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it has not come to that in {seconds:g} s"
        await asyncio.sleep(0.005)
