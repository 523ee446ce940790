"""Measures one workload on a connected client: operations in a fixed time, then latencies.

All tasks run through the phases without a pause between them, so that the load is steady when the
counting starts and still full when it ends. Clocks are read by the first task that leaves a phase,
thus between two operations; no clock is read per operation while counting.
"""

from __future__ import annotations

import asyncio
import enum
import resource
import time
from dataclasses import dataclass, field
from typing import Callable, NamedTuple

from benchmarks.clients.commands import Commands
from benchmarks.operations import Operation
from benchmarks.workloads import Workload

PHASE_SECONDS_LIMIT = 10.0
FINISH_SECONDS = 20.0
POLL_SECONDS = 0.05
MICROSECONDS = 1e6


class WrongReply(Exception):
    """A client returned something that was never stored under that key."""


class Phase(enum.Enum):
    WARM_UP = enum.auto()
    COUNT = enum.auto()
    TIME = enum.auto()
    END = enum.auto()


class Reading(NamedTuple):
    commands: int
    wall: float  # seconds
    cpu: float  # seconds, user and system, all threads of this process


class Durations(NamedTuple):
    """Seconds."""

    warm_up: float
    counting: float
    latency: float
    at_rate: float = 1.0  # that commands are offered at a fixed rate


class Measured(NamedTuple):
    commands: int
    seconds: float
    per_second: float
    cpu_us: float  # per command
    p50_us: float  # of one operation
    p99_us: float
    latency_samples: int


@dataclass
class Meter:
    phase: Phase = Phase.WARM_UP
    commands: int = 0
    left: dict[Phase, Reading] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)

    def counted(self) -> int:
        """Commands since the warm-up."""
        start = self.left.get(Phase.WARM_UP)
        return self.commands - start.commands if start else 0

    def leave(self, phase: Phase) -> None:
        """Read the clocks when the first task comes to the end of a phase."""
        if phase not in self.left:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            self.left[phase] = Reading(
                self.commands, time.perf_counter(), usage.ru_utime + usage.ru_stime
            )


async def measure(workload: Workload, commands: Commands, durations: Durations) -> Measured:
    """Run the workload through all phases.

    Raises:
        WrongReply: a reply is not what is stored.
        TimeoutError: replies stay away.
        Exception: whatever the client raises.
    """
    meter = Meter()
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work(number: int) -> None:
        try:
            await _work(meter, workload.operation(commands, number), workload.commands)
        except Exception as error:
            if not failed.done():
                failed.set_exception(error)

    async def stay(seconds: float, long_enough: Callable[[], bool]) -> None:
        """Stay longer where needed: many tasks are served in bursts, and none is to be cut."""
        limit = time.perf_counter() + PHASE_SECONDS_LIMIT
        while True:
            await asyncio.wait({failed}, timeout=seconds)
            if failed.done():
                failed.result()
            if long_enough():
                return
            if time.perf_counter() > limit:
                raise TimeoutError(f"too few replies in {PHASE_SECONDS_LIMIT} seconds")
            seconds = POLL_SECONDS

    each = workload.tasks * workload.commands
    tasks = [asyncio.ensure_future(work(number)) for number in range(workload.tasks)]
    try:
        await stay(durations.warm_up, lambda: meter.commands >= each)
        meter.phase = Phase.COUNT
        await stay(durations.counting, lambda: meter.counted() >= each)
        meter.phase = Phase.TIME
        await stay(durations.latency, lambda: len(meter.latencies) >= workload.tasks)
    finally:
        meter.phase = Phase.END  # also after an error: a client may swallow the cancelling
    _, waiting = await asyncio.wait(tasks, timeout=FINISH_SECONDS)
    if failed.done():
        failed.result()
    if waiting:
        raise TimeoutError(f"{len(waiting)} tasks have no reply after {FINISH_SECONDS} seconds")
    return _result(meter)


async def _work(meter: Meter, operation: Operation, commands: int) -> None:
    call, expected, length = operation.call, operation.expected, operation.reply_length
    warming_up, counting, timing = Phase.WARM_UP, Phase.COUNT, Phase.TIME
    while meter.phase is warming_up:
        reply = await call()
        if reply != expected:
            raise WrongReply(f"{reply!r:.200} instead of {expected!r:.200}")
        meter.commands += commands
    meter.leave(warming_up)
    wanted = length or expected
    while meter.phase is counting:
        reply = await call()
        if (len(reply) if length else reply) != wanted:
            raise WrongReply(f"{reply!r:.200} instead of {expected!r:.200}")
        meter.commands += commands
    meter.leave(counting)
    while meter.phase is timing:
        start = time.perf_counter()
        reply = await call()
        meter.latencies.append(time.perf_counter() - start)
        if reply != expected:
            raise WrongReply(f"{reply!r:.200} instead of {expected!r:.200}")


def _result(meter: Meter) -> Measured:
    start, end = meter.left[Phase.WARM_UP], meter.left[Phase.COUNT]
    commands, seconds = end.commands - start.commands, end.wall - start.wall
    latencies = sorted(meter.latencies)
    return Measured(
        commands=commands,
        seconds=seconds,
        per_second=commands / seconds,
        cpu_us=(end.cpu - start.cpu) / commands * MICROSECONDS,
        p50_us=_percentile(latencies, 0.50),
        p99_us=_percentile(latencies, 0.99),
        latency_samples=len(latencies),
    )


def _percentile(ordered: list[float], fraction: float) -> float:
    return ordered[min(int(len(ordered) * fraction), len(ordered) - 1)] * MICROSECONDS
