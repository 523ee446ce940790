"""`CircuitBreaker`: fail at once while the server cannot be reached at all."""

from __future__ import annotations

import dataclasses

__all__ = ["CircuitBreaker"]


@dataclasses.dataclass(frozen=True)
class CircuitBreaker:
    """When commands stop waiting for a server that is away; `Redis(circuit_breaker=...)`.

    After `failures` attempts to connect that failed in a row, with no other connection working, the
    circuit is open: commands raise `aiecs_redis.CircuitOpenError` at once. While commands come, one
    attempt is made about every `recovery` seconds; the first that succeeds closes the circuit.

    Args:
        failures: attempts to connect, at least 1; the pauses between them are those of `retry`, and
            an attempt takes `socket_connect_timeout` at most.
        recovery: seconds from one attempt to the next, on average.
        jitter: 0 to 1: the part of `recovery` by which pauses differ at random, so that many
            clients do not come at once. 0.5 means 50 % to 150 % of it.

    Raises:
        ValueError: a number out of its range.
    """

    failures: int = 5
    recovery: float = 0.75
    jitter: float = 0.5

    def __post_init__(self) -> None:
        whole = isinstance(self.failures, int) and not isinstance(self.failures, bool)
        if not whole or not 1 <= self.failures < 2**31:
            raise ValueError(f"failures={self.failures!r}: give a whole number of at least 1")
        if not _is_number(self.recovery) or not 0 < self.recovery < float("inf"):
            raise ValueError(f"recovery={self.recovery!r}: give seconds, greater than 0")
        if not _is_number(self.jitter) or not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter={self.jitter!r}: give a number from 0 to 1")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
