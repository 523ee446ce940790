"""One cell of the table, a workload on a client, in a process of its own.

`run_cell` starts it; it is `python -m benchmarks.cell JSON`, and answers in JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Coroutine
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from benchmarks import memory
from benchmarks.clients import CLIENTS
from benchmarks.measure import Durations, WrongReply, measure
from benchmarks.memory import measure_clients, measure_floor, measure_waiting
from benchmarks.open_loop import measure_at_rate
from benchmarks.server import Address
from benchmarks.workloads import (
    AT_RATE,
    CONNECTIONS,
    CONNECTIONS_COUNT,
    MEMORY,
    MEMORY_TASKS,
    WORKLOADS,
    is_cluster,
)

PROCESS_SECONDS = 120.0
LOOPS = ("asyncio", "uvloop")
MANY_TASKS = 1_000  # at a fixed rate: nobody knows how many will wait at once
FLOOR = "asyncio alone"  # stands in the client's place for the memory of tasks without a client


class CellError(Exception):
    """The cell has no result: the client failed."""


class WrongCell(CellError):
    """The client returned a wrong value."""


@dataclass(frozen=True)
class Cell:
    workload: str
    client: str
    loop: str


class Result(NamedTuple):
    measured: dict[str, Any]  # a Measured, an AtRate or a Memory
    peak_rss_mib: float


def run_cell(cell: Cell, address: Address, durations: Durations) -> Result:
    """Run the cell in a fresh process.

    Raises:
        WrongCell: the client returned a wrong value.
        CellError: it failed in another way.
    """
    order = {"cell": asdict(cell), "address": list(address), "durations": list(durations)}
    command = [sys.executable, "-m", "benchmarks.cell", json.dumps(order)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROCESS_SECONDS)
    except subprocess.TimeoutExpired:
        raise CellError(f"no result after {PROCESS_SECONDS} seconds") from None
    answer = _last_json(done.stdout)
    if answer is None:
        last = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise CellError(last[0])
    if "wrong" in answer:
        raise WrongCell(answer["wrong"])
    if "error" in answer:
        raise CellError(answer["error"])
    return Result(**answer)


def _last_json(text: str) -> dict[str, Any] | None:
    lines = text.strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        return None
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


async def _measure(cell: Cell, address: Address, durations: Durations) -> dict[str, Any]:
    if cell.client == FLOOR:
        return (await measure_floor(MEMORY_TASKS))._asdict()
    client = CLIENTS[cell.client]
    connect = client.connect(cluster=is_cluster(cell.workload))
    if cell.workload in AT_RATE:
        async with connect(address, MANY_TASKS) as commands:
            return (
                await measure_at_rate(
                    commands.get, AT_RATE[cell.workload], durations.warm_up, durations.at_rate
                )
            )._asdict()
    if cell.workload == CONNECTIONS:
        return (await measure_clients(connect, address, CONNECTIONS_COUNT))._asdict()
    if cell.workload == MEMORY:
        async with connect(address, MEMORY_TASKS) as commands:
            return (await measure_waiting(commands.get, address, MEMORY_TASKS))._asdict()
    workload = WORKLOADS[cell.workload]
    async with workload.connected(connect, address) as commands:
        return (await measure(workload, commands, durations))._asdict()


def _run(main: Coroutine[Any, Any, dict[str, Any]], loop: str) -> dict[str, Any]:
    if loop == "uvloop":
        import uvloop

        return uvloop.run(main)
    return asyncio.run(main)


def main(argument: str) -> None:
    order = json.loads(argument)
    cell = Cell(**order["cell"])
    work = _measure(cell, Address(*order["address"]), Durations(*order["durations"]))
    answer: dict[str, Any]
    try:
        answer = {"measured": _run(work, cell.loop)}
        answer["peak_rss_mib"] = memory.peak_resident_bytes() / memory.MIB
    except WrongReply as error:
        answer = {"wrong": str(error)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])
