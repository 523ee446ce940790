"""Runs all cells in interleaved rounds: what disturbs the machine disturbs every client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from benchmarks import server_limit
from benchmarks.cell import FLOOR, Cell, CellError, Result, WrongCell, run_cell
from benchmarks.clients import CLIENTS
from benchmarks.measure import Durations
from benchmarks.server import Address
from benchmarks.workloads import MEMORY, SERVER_LIMIT

WARM_UP_PART = 0.2  # of the counting time
LATENCY_PART = 0.25


@dataclass(frozen=True)
class Plan:
    workloads: Sequence[str]
    clients: Sequence[str]
    loops: Sequence[str]
    rounds: int
    seconds: float

    def durations(self) -> Durations:
        return Durations(self.seconds * WARM_UP_PART, self.seconds, self.seconds * LATENCY_PART)


@dataclass
class Run:
    """All raw samples."""

    cells: dict[Cell, list[Result]] = field(default_factory=dict)
    errors: dict[Cell, str] = field(default_factory=dict)
    limits: list[server_limit.ServerLimit] = field(default_factory=list)

    def samples(self, cell: Cell, figure: str) -> list[float]:
        return [result.measured[figure] for result in self.cells.get(cell, ())]

    def as_json(self) -> dict[str, Any]:
        return {
            "cells": [
                {
                    "workload": cell.workload,
                    "client": cell.client,
                    "loop": cell.loop,
                    "round": number,
                }
                | result.measured
                | {"peak_rss_mib": result.peak_rss_mib}
                for cell, results in self.cells.items()
                for number, result in enumerate(results)
            ],
            "errors": [
                {
                    "workload": cell.workload,
                    "client": cell.client,
                    "loop": cell.loop,
                    "error": error,
                }
                for cell, error in self.errors.items()
            ],
            "server_limit": [vars(limit) for limit in self.limits],
        }


def run(plan: Plan, address: Address, tell: Callable[[str], None]) -> Run:
    """Run everything; errors of a client are noted, and its other cells go on.

    Raises:
        WrongCell: a client that returns wrong values ends the run.
    """
    done = Run()
    for number in range(plan.rounds):
        for cell in cells_of_round(plan, number):
            result = _run_cell(cell, plan, address, done, tell)
            if result is not None:
                done.cells.setdefault(cell, []).append(result)
        if SERVER_LIMIT in plan.workloads and server_limit.available():
            done.limits.append(server_limit.measure_server(address, plan.seconds))
            tell(f"{SERVER_LIMIT}: {done.limits[-1].pipelined:,.0f}/s")
    return done


def cells_of_round(plan: Plan, number: int) -> Iterator[Cell]:
    """The clients take turns within each workload, and who begins changes from round to round."""
    for name in plan.workloads:
        if name == MEMORY and number:
            continue  # hardly differs from run to run, and takes long
        clients = _clients_of(name, plan.clients)
        start = number % len(clients) if clients else 0
        for client in (*clients[start:], *clients[:start]):
            for loop in plan.loops:
                yield Cell(name, client, loop)


def _clients_of(name: str, clients: Sequence[str]) -> list[str]:
    if name == SERVER_LIMIT:
        return []
    chosen = [client for client in clients if CLIENTS[client].takes(name)]
    if name == MEMORY:
        return [FLOOR, *chosen]
    return chosen


def _run_cell(
    cell: Cell, plan: Plan, address: Address, done: Run, tell: Callable[[str], None]
) -> Result | None:
    what = f"{cell.workload} {cell.client} {cell.loop}"
    try:
        result = run_cell(cell, address, plan.durations())
    except WrongCell:
        tell(f"{what}: wrong reply")
        raise
    except CellError as error:
        done.errors[cell] = str(error)
        tell(f"{what}: {error}")
        return None
    figure = "growth_mib" if cell.workload == MEMORY else "per_second"
    tell(f"{what}: {result.measured[figure]:,.0f}")
    return result
