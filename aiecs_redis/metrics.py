"""What a client's commands cost: counters and latency histograms by command, from the native core.

    metrics = ClientMetrics.of(await redis_client.get_client())
    metrics.start()
    ...
    for command in metrics.commands().values():
        print(command.name, command.calls, command.percentile(0.99))

Off, which it is until `start()` or an observer is added, a command pays for two comparisons. On,
counting is done in C, and only observers run Python code. A latency is the time from the start of
a command to its result, as its caller sees it: with waiting for a connection, sending and
repeating. A pipeline is one entry, PIPELINE; its commands are counted (`pipelined`) without a
latency of their own. What has a connection to itself (subscriptions, MONITOR,
transactions under WATCH, `single_connection_client`) is not counted.

Of a cluster's client, a command whose keys are in several slots and a pipeline are one call each,
however many nodes they go to; a command for several nodes (DBSIZE) is a call for each node. Asking
for the topology is not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from aiecs_redis import _checks as checks
from aiecs_redis._nodes import is_cluster

if TYPE_CHECKING:
    from aiecs_redis.client import Redis
    from aiecs_redis.cluster import RedisCluster

__all__ = [
    "ClientMetrics",
    "CommandMetrics",
    "CommandRecord",
    "PoolMetrics",
    "current_client",
    "native_client",
]

logger: logging.Logger = logging.getLogger(__name__)

_ATTRIBUTE = "_client_metrics"
_NO_KEY = ("ACL", "AUTH", "CONFIG", "EVAL", "FCALL", "FUNCTION", "HELLO", "MIGRATE", "SCRIPT")


@dataclass(frozen=True)
class CommandMetrics:
    """One command's figures since the start of counting.

    Attributes:
        name: in upper case, such as "GET" or "CLIENT LIST"; "OTHER" for what is no name.
        calls: commands that are over, well or not, without those inside pipelines.
        errors: of these, those that failed: error replies, lost connections, timeouts.
        cancelled: of these, those whose caller gave up.
        nils: of these, those answered with nil (a GET that found nothing).
        pipelined: commands sent inside pipelines.
        seconds: sum of the latencies.
        slowest: the largest latency, seconds.
        buckets: (upper bound in seconds, commands below it and above the bound before).
    """

    name: str
    calls: int
    errors: int
    cancelled: int
    nils: int
    pipelined: int
    seconds: float
    slowest: float
    buckets: tuple[tuple[float, int], ...]

    @property
    def mean(self) -> float:
        """Mean latency in seconds, 0 without calls."""
        return self.seconds / self.calls if self.calls else 0.0

    def percentile(self, part: float) -> float:
        """Return a bound, in seconds, that this part of the calls stayed below.

        Args:
            part: from 0 to 1; 0.99 for the 99th percentile.

        It is at most an eighth too large (1 microsecond below 8), and never above `slowest`.

        Raises:
            ValueError: part is not from 0 to 1.
        """
        checks.number("part", part, 0, 1)
        wanted, seen = part * self.calls, 0
        for bound, count in self.buckets:
            seen += count
            if seen >= wanted:
                return min(bound, self.slowest)
        return self.slowest

    def __sub__(self, before: CommandMetrics) -> CommandMetrics:
        """What has been added since `before` (`slowest` stays the larger one)."""
        old = dict(before.buckets)
        return CommandMetrics(
            self.name,
            self.calls - before.calls,
            self.errors - before.errors,
            self.cancelled - before.cancelled,
            self.nils - before.nils,
            self.pipelined - before.pipelined,
            self.seconds - before.seconds,
            self.slowest,
            tuple((bound, count - old.get(bound, 0)) for bound, count in self.buckets),
        )


@dataclass(frozen=True)
class PoolMetrics:
    """A client's connections at this moment, on the event loop that used it last.

    Attributes:
        connections: open or being opened.
        lent: besides these, connections in one user's hands: subscriptions, WATCH, MONITOR.
        inflight: commands sent, or about to be, and not answered.
        waiting: commands that wait for a connection or for room in it.
        pending_bytes: bytes not yet taken by the network.
        connects: connections made so far.
        reconnects: connections lost after they had been in use.
        protocol: RESP version spoken, 0 before the first connection.
        circuit: of the circuit breaker: 0 closed (or none), 1 open, 2 half-open.
        circuit_opened: how often it went from closed to open.
        nodes: of a cluster, as far as is known; 0 of a single server, as what follows.
        moved: commands sent on because of MOVED, those inside pipelines included.
        asked: the same of ASK.
        again: times that a command waited because of TRYAGAIN.
        down: the same of CLUSTERDOWN, of a node that was loading, and of one that could not be
            reached.
        refreshes: times that the topology was asked for because of any of this.

    Of a cluster they are the sums over its nodes; `protocol` is the lowest.
    """

    connections: int = 0
    lent: int = 0
    inflight: int = 0
    waiting: int = 0
    pending_bytes: int = 0
    connects: int = 0
    reconnects: int = 0
    protocol: int = 0
    circuit: int = 0
    circuit_opened: int = 0
    nodes: int = 0
    moved: int = 0
    asked: int = 0
    again: int = 0
    down: int = 0
    refreshes: int = 0


_POOL_FIELDS = tuple(field.name for field in fields(PoolMetrics))


@dataclass(frozen=True)
class CommandRecord:
    """One command, as observers and the slow log see it.

    Attributes:
        name: in upper case.
        key: its first argument where that may be shown, at most 128 characters, else None.
            Never a value, a script or a password.
        commands: how many a pipeline has; 0 for a command of its own.
        seconds: its latency.
        ended: Unix time of its end.
        outcome: "ok", "error" or "cancelled".
        error: the exception it failed with, if any.
    """

    name: str
    key: str | None
    commands: int
    seconds: float
    ended: float
    outcome: str
    error: BaseException | None

    @property
    def started(self) -> float:
        """Unix time of its start."""
        return self.ended - self.seconds


Observer = Callable[[CommandRecord], object]


def _record(raw: tuple[Any, ...]) -> CommandRecord:
    name, key, commands, seconds, ended, outcome, error = raw
    shown = None
    if key is not None and not name.startswith(_NO_KEY):
        shown = key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else key
        shown = shown if len(shown) <= 128 else shown[:127] + "…"
    wall = time.time() - (time.monotonic() - ended)
    return CommandRecord(name, shown, commands, seconds, wall, outcome, error)


async def current_client(client: Any) -> Any:
    """Return what is under a `RedisClient`, a `Redis` or a `RedisCluster`, or what was given.

    Raises:
        RuntimeError: the RedisClient is not initialized.
        TypeError: it is no client of ours, and none of a cluster.
    """
    if hasattr(client, "get_client"):
        client = await client.get_client()
    return client if is_cluster(client) else await native_client(client)


async def native_client(client: Any) -> Redis | RedisCluster:
    """Return the `Redis` or `RedisCluster` of a `RedisClient`, or the one that was given.

    Args:
        client: one of the three.

    Raises:
        RuntimeError: the RedisClient is not initialized.
        TypeError: it is none of these.
    """
    if hasattr(client, "get_client"):
        client = await client.get_client()
    if not hasattr(client, "_native_observe"):
        raise TypeError(
            f"expected a RedisClient, or an aiecs_redis.Redis or RedisCluster, not {type(client)}"
        )
    found: Redis | RedisCluster = client
    return found


class ClientMetrics:
    """The metrics of one client; get it with `ClientMetrics.of(client)`.

    There is one for each `aiecs_redis.Redis` or `RedisCluster`, whoever asks. `start()` and
    `stop()` count: what was started twice is stopped by the second `stop()`.
    """

    def __init__(self, client: Redis | RedisCluster) -> None:
        self._client = client
        self._users = 0
        self._observers: list[Observer] = []
        self._slow_seconds: float | None = None
        self._slow_log: logging.Logger | None = None
        self._slow: deque[CommandRecord] = deque(maxlen=128)

    @classmethod
    def of(cls, client: Redis | RedisCluster) -> ClientMetrics:
        """Return the client's metrics, always the same object.

        Raises:
            TypeError: the client is neither of the two.
        """
        if not hasattr(client, "_native_observe"):
            raise TypeError(f"expected an aiecs_redis.Redis or RedisCluster, not {type(client)}")
        attributes: Any = client.__dict__
        found: ClientMetrics | None = attributes.get(_ATTRIBUTE)
        if found is None:
            found = attributes[_ATTRIBUTE] = cls(client)
        return found

    @property
    def running(self) -> bool:
        """Whether commands are counted."""
        return bool(self._users or self._observers or self._slow_seconds is not None)

    def start(self) -> None:
        """Count commands from now on."""
        self._users += 1
        self._apply()

    def stop(self) -> None:
        """Undo one `start()`; counters are forgotten when nobody needs them any more."""
        self._users = max(0, self._users - 1)
        self._apply()

    def _apply(self) -> None:
        self._client._native_observe(
            self.running,
            self._tell if self._observers else None,
            self._note_slow if self._slow_seconds is not None else None,
            self._slow_seconds or 0.0,
        )

    # ----------------------------------------------------------------- figures

    def commands(self) -> dict[str, CommandMetrics]:
        """Return the figures by command name, empty while nothing is counted."""
        found = self._client._native_metrics() or {}
        commands = {}
        for name, (*figures, buckets) in sorted(found.items()):
            commands[name] = CommandMetrics(name, *figures, buckets=tuple(buckets))  # type: ignore[misc]
        return commands

    def pool(self) -> PoolMetrics:
        """Return the state of the connections; available whether commands are counted or not."""
        transport = self._client._native_transport
        found: Mapping[str, int] = transport.stats() if transport is not None else {}
        return PoolMetrics(**{name: found[name] for name in _POOL_FIELDS if name in found})

    # --------------------------------------------------------- single commands

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Have `observer(record)` called for every command; returns what takes it away again.

        It is called in the loop turn after the command's end, in the context (`contextvars`) in
        which the command was made. Costs some microseconds a command. What it raises goes to the
        loop's exception handler.

        Raises:
            TypeError: the observer is no function.
        """
        checks.function("observer", observer)
        self._observers.append(observer)
        self._apply()

        def remove() -> None:
            with contextlib.suppress(ValueError):
                self._observers.remove(observer)
            self._apply()

        return remove

    def _tell(self, raw: tuple[Any, ...]) -> None:
        record = _record(raw)
        for observer in list(self._observers):
            try:
                observer(record)
            except Exception as exc:  # the others are called nevertheless
                asyncio.get_running_loop().call_exception_handler(
                    {"message": f"The observer {observer!r} of a client failed", "exception": exc}
                )

    def log_slow(
        self, seconds: float | None, size: int = 128, log: logging.Logger | None = None
    ) -> None:
        """Keep the last commands that took this long, and log each as a warning.

        This is the caller's view, with the network and waiting; the server's own SLOWLOG knows
        execution times only.

        Args:
            seconds: from which latency on; None turns the log off.
            size: how many to keep.
            log: logger to use; this module's own by default.

        Raises:
            ValueError: seconds is negative, or size is not above 0.
        """
        if seconds is not None:
            checks.seconds("seconds", seconds, zero=True, besides=", or None for no log")
        checks.whole("size", size, 1)
        self._slow_seconds = seconds
        self._slow_log = log or logger
        self._slow = deque(self._slow, maxlen=size)
        self._apply()

    def _note_slow(self, raw: tuple[Any, ...]) -> None:
        record = _record(raw)
        self._slow.append(record)
        if self._slow_log is not None:
            what = f"{record.name} {record.key}" if record.key is not None else record.name
            if record.commands:
                what = f"{what} of {record.commands} commands"
            millis = record.seconds * 1000
            self._slow_log.warning("Slow Redis command (%.1f ms): %s", millis, what)

    def slow_commands(self) -> list[CommandRecord]:
        """Return the slow commands kept, the latest first."""
        return list(reversed(self._slow))

    @contextlib.contextmanager
    def counting(self) -> Iterator[ClientMetrics]:
        """`start()` for a block, `stop()` behind it."""
        self.start()
        try:
            yield self
        finally:
            self.stop()
