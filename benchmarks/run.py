"""Runs all cells in interleaved rounds: what disturbs the machine disturbs every client."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Callable, NamedTuple

from benchmarks import server_limit
from benchmarks.address import Address
from benchmarks.cell import (
    FLOOR,
    LOOPS,
    Cell,
    CellError,
    EndlessCell,
    Result,
    WrongCell,
    run_cell,
)
from benchmarks.clients import CLIENTS
from benchmarks.measure import Durations
from benchmarks.server_limit import LOADS
from benchmarks.summary import INTERVAL_FROM
from benchmarks.workloads import AT_RATE, MEMORY, ONCE, SERVER_LIMIT, WORKLOADS, is_cluster

WARM_UP_PART = 0.2  # of the counting time
LATENCY_PART = 0.25
AT_RATE_TIMES = 2.0  # as long: the slowest thousandth is to be seen
ROUNDS_FOR_INTERVALS = INTERVAL_FROM  # that are to fit into the minutes
LEAST_SECONDS = 0.1


@dataclass(frozen=True)
class Plan:
    workloads: Sequence[str]
    clients: Sequence[str]
    loops: Sequence[str]
    rounds: int
    seconds: float
    minutes: float | None = None  # for all rounds
    further_loop: bool = False  # uvloop, too, for the workloads that ask for it

    def loops_of(self, workload: str) -> Sequence[str]:
        if workload not in WORKLOADS:
            return self.loops[:1]
        if self.further_loop and WORKLOADS[workload].both_loops:
            return LOOPS
        return self.loops


def durations(seconds: float) -> Durations:
    """Of a cell that counts for so long."""
    return Durations(
        seconds * WARM_UP_PART, seconds, seconds * LATENCY_PART, seconds * AT_RATE_TIMES
    )


@dataclass(frozen=True)
class Servers:
    single: Address
    cluster: Address | None = None  # one of its nodes

    def of(self, workload: str) -> Address:
        if not is_cluster(workload):
            return self.single
        assert self.cluster is not None
        return self.cluster


@dataclass(frozen=True)
class Failure:
    round: int
    error: str
    wrong: bool = False  # a reply was not what is stored
    endless: bool = False

    @property
    def for_good(self) -> bool:
        """Whether the cell is not tried again."""
        return self.wrong or self.endless


@dataclass
class Run:
    """All raw samples."""

    cells: dict[Cell, dict[int, Result]] = field(default_factory=dict)  # by round
    failures: dict[Cell, list[Failure]] = field(default_factory=dict)
    limits: dict[str, dict[int, float]] = field(default_factory=dict)  # by workload and round
    seconds: list[float] = field(default_factory=list)  # counted per cell, of each complete round

    @property
    def rounds(self) -> int:
        """That are complete."""
        return len(self.seconds)

    def samples(self, cell: Cell, figure: str) -> dict[int, Any]:
        """By round."""
        return {
            number: result.measured[figure] for number, result in self.cells.get(cell, {}).items()
        }

    def add(self, cell: Cell, number: int, result: Result) -> None:
        self.cells.setdefault(cell, {})[number] = result

    def fail(self, cell: Cell, failure: Failure) -> None:
        """Who has returned a wrong value has no figures of other rounds either."""
        self.failures.setdefault(cell, []).append(failure)
        if failure.wrong:
            self.cells.pop(cell, None)

    def given_up(self, cell: Cell) -> bool:
        return any(failure.for_good for failure in self.failures.get(cell, ()))

    def as_json(self) -> dict[str, Any]:
        return {
            "seconds": self.seconds,
            "cells": [
                asdict(cell)
                | {"round": number}
                | result.measured
                | {"peak_rss_mib": result.peak_rss_mib}
                for cell, results in self.cells.items()
                for number, result in results.items()
            ],
            "failures": [
                asdict(cell) | asdict(failure)
                for cell, failures in self.failures.items()
                for failure in failures
            ],
            "server_limit": [
                {"workload": name, "round": number, "per_second": rate}
                for name, rates in self.limits.items()
                for number, rate in rates.items()
            ],
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Run:
        found = cls(seconds=content["seconds"])
        for entry in content["cells"]:
            cell, measured = _split(entry)
            number, peak = measured.pop("round"), measured.pop("peak_rss_mib")
            found.add(cell, number, Result(measured, peak))
        for entry in content["failures"]:
            cell, failure = _split(entry)
            found.fail(cell, Failure(**failure))
        for entry in content["server_limit"]:
            rates = found.limits.setdefault(entry["workload"], {})
            rates[entry["round"]] = entry["per_second"]
        return found


def _split(entry: dict[str, Any]) -> tuple[Cell, dict[str, Any]]:
    rest = dict(entry)
    return Cell(*(rest.pop(name) for name in ("workload", "client", "loop"))), rest


def run(
    plan: Plan,
    servers: Servers,
    tell: Callable[[str], None],
    after_round: Callable[[Run], None] = lambda run: None,
) -> Run:
    """Run everything; what a client fails in is noted, and all else goes on."""
    done = Run()
    start = time.monotonic()
    seconds = plan.seconds
    for number in range(plan.rounds):
        took = _run_round(plan, number, seconds, servers, done, tell)
        done.seconds.append(seconds)
        after_round(done)
        so_far = time.monotonic() - start
        tell(f"round {number + 1} took {sum(took.values()):.0f} s, all so far {so_far:.0f} s")
        if plan.minutes is not None:
            costs, left = Costs.of(took, seconds), plan.minutes * 60 - so_far
            further = ROUNDS_FOR_INTERVALS - done.rounds
            if further > 0:
                seconds = min(max(costs.counting_in(left / further), LEAST_SECONDS), plan.seconds)
            if costs.of_round(seconds) > left:
                break
    return done


def _run_round(
    plan: Plan,
    number: int,
    seconds: float,
    servers: Servers,
    done: Run,
    tell: Callable[[str], None],
) -> dict[Cell, float]:
    """Seconds that each cell took."""
    took: dict[Cell, float] = {}
    limited = _limited(plan)
    for cell in cells_of_round(plan, number):
        if done.given_up(cell):
            continue
        begin = time.monotonic()
        if cell.workload in limited:  # beside the cells it is compared with
            limited.remove(cell.workload)
            _server_limit(cell.workload, number, seconds, servers, done, tell)
        what = f"{cell.workload} {cell.client} {cell.loop}"
        try:
            result = run_cell(cell, servers.of(cell.workload), durations(seconds))
        except CellError as error:
            wrong, endless = isinstance(error, WrongCell), isinstance(error, EndlessCell)
            done.fail(cell, Failure(number, str(error), wrong, endless))
            tell(f"{what}: {'a wrong reply, ' if wrong else ''}{error}")
        else:
            done.add(cell, number, result)
            tell(f"{what}: {_in_short(cell.workload, result.measured)}")
        took[cell] = time.monotonic() - begin
    return took


class Costs(NamedTuple):
    """Seconds that a further round takes: `fixed`, and `each` for each second its cells count."""

    fixed: float  # a process has to start, however little it counts
    each: float

    @classmethod
    def of(cls, took: Mapping[Cell, float], seconds: float) -> Costs:
        """By what the cells of a round took when they counted for `seconds`."""
        again = {cell: wall for cell, wall in took.items() if cell.workload not in ONCE}
        one = durations(1.0)
        closed, at_rate = one.warm_up + one.counting + one.latency, one.warm_up + one.at_rate
        each = sum(at_rate if cell.workload in AT_RATE else closed for cell in again)
        return cls(max(sum(again.values()) - each * seconds, 0.0), each)

    def of_round(self, seconds: float) -> float:
        return self.fixed + self.each * seconds

    def counting_in(self, took: float) -> float:
        """How long the cells may count in a round that is to take so long; not above zero: it
        cannot."""
        return (took - self.fixed) / self.each if self.each else took


def cells_of_round(plan: Plan, number: int) -> Iterator[Cell]:
    """The clients take turns within each workload, and who begins changes from round to round."""
    for name in plan.workloads:
        if name in ONCE and number:
            continue
        clients = _clients_of(name, plan.clients)
        start = number % len(clients) if clients else 0
        for client in (*clients[start:], *clients[:start]):
            for loop in plan.loops_of(name):
                yield Cell(name, client, loop)


def _limited(plan: Plan) -> set[str]:
    """The workloads that the server's own tool is to run, too."""
    if SERVER_LIMIT not in plan.workloads or not server_limit.available():
        return set()
    return LOADS.keys() & set(plan.workloads)


def _server_limit(
    name: str,
    number: int,
    seconds: float,
    servers: Servers,
    done: Run,
    tell: Callable[[str], None],
) -> None:
    try:
        rate = server_limit.measure_server(servers.single, LOADS[name], seconds)
    except server_limit.ToolError as error:
        tell(f"{name} {error}")
    else:
        done.limits.setdefault(name, {})[number] = rate
        tell(f"{name} {server_limit.TOOL}: {rate:,.0f}/s")


def _clients_of(name: str, clients: Sequence[str]) -> list[str]:
    if name == SERVER_LIMIT:
        return []
    chosen = [client for client in clients if CLIENTS[client].takes(name)]
    if name == MEMORY:
        return [FLOOR, *chosen]
    return chosen


def _in_short(workload: str, measured: dict[str, Any]) -> str:
    if workload in AT_RATE:
        return "p50 {p50_us:,.0f}, p99 {p99_us:,.0f}, p99.9 {p999_us:,.0f} µs".format(**measured)
    if workload in ONCE:
        return f"{measured['growth_mib']:,.3f} MiB"
    return f"{measured['per_second']:,.0f}/s"
