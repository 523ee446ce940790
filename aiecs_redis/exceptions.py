"""Exceptions of our own; every other one is redis-py's (`redis.exceptions`)."""

from __future__ import annotations

import redis.exceptions

__all__ = ["CircuitOpenError", "CommandTimeoutError", "OutcomeUnknownError"]


class OutcomeUnknownError(redis.exceptions.ConnectionError):
    """The connection was lost after a command had been sent and before it was answered.

    The server may or may not have executed it. Raised only for commands that cannot be
    repeated safely (INCR, LPUSH, EVAL, SET with a condition, ...): reads and last-write-wins
    writes are sent again instead. `__cause__` tells how the connection was lost.
    """


class CommandTimeoutError(redis.exceptions.TimeoutError):
    """A deadline was reached; what was to be seen then is in the text and in these attributes.

    Attributes:
        phase: how far the command had come. "waiting for a connection"; "queued": behind what has
            not left yet; "written": sent, in part at least; "being answered": a part of the answer
            has come.
        in_flight: commands without an answer yet on the command's connection, this one and those
            that were given up among them; on all connections while it has none.
        unsent_bytes: bytes that wait to leave on the same connections.
        silent_for: seconds since something was read there, or since the first command was sent
            after a pause; None when there was no connection to read from.
    """

    phase: str = "waiting for a connection"
    in_flight: int = 0
    unsent_bytes: int = 0
    silent_for: float | None = None


class CircuitOpenError(redis.exceptions.ConnectionError):
    """The circuit breaker is open: the command was not sent, nor waited for.

    Attributes:
        retry_after: seconds to the next attempt to connect, 0.0 while one is under way.
    """

    retry_after: float = 0.0
