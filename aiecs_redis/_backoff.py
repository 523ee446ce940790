"""Pauses between attempts to connect, for the toolkit's long-lived connections."""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """Seconds to wait: random, up to a limit that doubles with each failure.

    Args:
        first: limit after the first failure, seconds.
        cap: limit that is never passed, seconds.
    """

    def __init__(self, first: float = 0.05, cap: float = 5.0) -> None:
        self._first = first
        self._cap = cap
        self._failures = 0

    def reset(self) -> None:
        """It worked: the next pause is a short one."""
        self._failures = 0

    def next(self) -> float:
        """Count a failure and return how long to wait."""
        limit = min(self._cap, self._first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return random.uniform(limit / 2, limit)
