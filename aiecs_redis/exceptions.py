"""Exceptions of our own; every other one is redis-py's (`redis.exceptions`)."""

from __future__ import annotations

import redis.exceptions

__all__ = ["OutcomeUnknownError"]


class OutcomeUnknownError(redis.exceptions.ConnectionError):
    """The connection was lost after a command had been sent and before it was answered.

    The server may or may not have executed it. Raised only for commands that cannot be
    repeated safely (INCR, LPUSH, EVAL, SET with a condition, ...): reads and last-write-wins
    writes are sent again instead. `__cause__` tells how the connection was lost.
    """
