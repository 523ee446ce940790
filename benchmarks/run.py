"""Runs all cells in interleaved rounds: what disturbs the machine disturbs every client."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Callable

from benchmarks import server_limit
from benchmarks.cell import FLOOR, LOOPS, Cell, CellError, Result, WrongCell, run_cell
from benchmarks.clients import CLIENTS
from benchmarks.measure import Durations
from benchmarks.server import Address
from benchmarks.server_limit import LOADS
from benchmarks.workloads import AT_RATE, MEMORY, ONCE, SERVER_LIMIT, WORKLOADS, is_cluster

WARM_UP_PART = 0.2  # of the counting time
LATENCY_PART = 0.25
AT_RATE_TIMES = 2.0  # as long: the slowest thousandth is to be seen


@dataclass(frozen=True)
class Plan:
    workloads: Sequence[str]
    clients: Sequence[str]
    loops: Sequence[str]
    rounds: int
    seconds: float
    minutes: float | None = None  # no further round that would end after them
    further_loop: bool = False  # uvloop, too, for the workloads that ask for it

    def durations(self) -> Durations:
        return Durations(
            self.seconds * WARM_UP_PART,
            self.seconds,
            self.seconds * LATENCY_PART,
            self.seconds * AT_RATE_TIMES,
        )

    def loops_of(self, workload: str) -> Sequence[str]:
        if workload not in WORKLOADS:
            return self.loops[:1]
        if self.further_loop and WORKLOADS[workload].both_loops:
            return LOOPS
        return self.loops


@dataclass(frozen=True)
class Servers:
    single: Address
    cluster: Address | None = None  # one of its nodes

    def of(self, workload: str) -> Address:
        if not is_cluster(workload):
            return self.single
        assert self.cluster is not None
        return self.cluster


@dataclass
class Run:
    """All raw samples."""

    cells: dict[Cell, dict[int, Result]] = field(default_factory=dict)  # by round
    errors: dict[Cell, str] = field(default_factory=dict)
    limits: dict[str, dict[int, float]] = field(default_factory=dict)  # by workload and round
    rounds: int = 0  # that are complete

    def samples(self, cell: Cell, figure: str) -> dict[int, Any]:
        """By round."""
        return {
            number: result.measured[figure] for number, result in self.cells.get(cell, {}).items()
        }

    def as_json(self) -> dict[str, Any]:
        return {
            "rounds": self.rounds,
            "cells": [
                asdict(cell)
                | {"round": number}
                | result.measured
                | {"peak_rss_mib": result.peak_rss_mib}
                for cell, results in self.cells.items()
                for number, result in results.items()
            ],
            "errors": [asdict(cell) | {"error": error} for cell, error in self.errors.items()],
            "server_limit": [
                {"workload": name, "round": number, "per_second": rate}
                for name, rates in self.limits.items()
                for number, rate in rates.items()
            ],
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Run:
        found = cls(rounds=content["rounds"])
        for entry in content["cells"]:
            measured = dict(entry)
            cell = Cell(*(measured.pop(name) for name in ("workload", "client", "loop")))
            number, peak = measured.pop("round"), measured.pop("peak_rss_mib")
            found.cells.setdefault(cell, {})[number] = Result(measured, peak)
        for entry in content["errors"]:
            found.errors[Cell(entry["workload"], entry["client"], entry["loop"])] = entry["error"]
        for entry in content["server_limit"]:
            rates = found.limits.setdefault(entry["workload"], {})
            rates[entry["round"]] = entry["per_second"]
        return found


def run(
    plan: Plan,
    servers: Servers,
    tell: Callable[[str], None],
    after_round: Callable[[Run], None] = lambda run: None,
) -> Run:
    """Run everything; errors of a client are noted, and its other cells go on.

    Raises:
        WrongCell: a client that returns wrong values ends the run.
    """
    done = Run()
    start = time.monotonic()
    for number in range(plan.rounds):
        begin = time.monotonic()
        limited = _limited(plan)
        for cell in cells_of_round(plan, number):
            if cell.workload in limited:  # beside the cells it is compared with
                limited.remove(cell.workload)
                rate = _server_limit(cell.workload, plan, servers, tell)
                done.limits.setdefault(cell.workload, {})[number] = rate
            result = _run_cell(cell, plan, servers, done, tell)
            if result is not None:
                done.cells.setdefault(cell, {})[number] = result
        done.rounds = number + 1
        after_round(done)
        now = time.monotonic()
        tell(f"round {done.rounds} took {now - begin:.0f} s, all so far {now - start:.0f} s")
        if plan.minutes is not None and now - start + (now - begin) > plan.minutes * 60:
            break
    return done


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


def _server_limit(name: str, plan: Plan, servers: Servers, tell: Callable[[str], None]) -> float:
    rate = server_limit.measure_server(servers.single, LOADS[name], plan.seconds)
    tell(f"{name} {server_limit.TOOL}: {rate:,.0f}/s")
    return rate


def _clients_of(name: str, clients: Sequence[str]) -> list[str]:
    if name == SERVER_LIMIT:
        return []
    chosen = [client for client in clients if CLIENTS[client].takes(name)]
    if name == MEMORY:
        return [FLOOR, *chosen]
    return chosen


def _run_cell(
    cell: Cell, plan: Plan, servers: Servers, done: Run, tell: Callable[[str], None]
) -> Result | None:
    what = f"{cell.workload} {cell.client} {cell.loop}"
    try:
        result = run_cell(cell, servers.of(cell.workload), plan.durations())
    except WrongCell:
        tell(f"{what}: wrong reply")
        raise
    except CellError as error:
        done.errors[cell] = str(error)
        tell(f"{what}: {error}")
        return None
    tell(f"{what}: {_in_short(cell.workload, result.measured)}")
    return result


def _in_short(workload: str, measured: dict[str, Any]) -> str:
    if workload in AT_RATE:
        return "p50 {p50_us:,.0f}, p99 {p99_us:,.0f}, p99.9 {p999_us:,.0f} µs".format(**measured)
    if workload in ONCE:
        return f"{measured['growth_mib']:,.3f} MiB"
    return f"{measured['per_second']:,.0f}/s"
