"""One cell of the table, a workload on a client, in a process of its own.

`run_cell` starts it; it is `python -m benchmarks.cell JSON`, and answers in JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from benchmarks import memory
from benchmarks.address import Address
from benchmarks.clients import CLIENTS
from benchmarks.measure import Durations, WrongReply, measure
from benchmarks.memory import measure_clients, measure_floor, measure_waiting
from benchmarks.open_loop import measure_at_rate
from benchmarks.workloads import (
    AT_RATE,
    CONNECTIONS,
    CONNECTIONS_COUNT,
    MEMORY,
    MEMORY_TASKS,
    WORKLOADS,
    is_cluster,
)

PROCESS_SECONDS = 60.0
LOOPS = ("asyncio", "uvloop")
MANY_TASKS = 1_000  # at a fixed rate: nobody knows how many will wait at once
FLOOR = "asyncio alone"  # stands in the client's place for the memory of tasks without a client


class CellError(Exception):
    """The cell has no result: the client failed."""


class WrongCell(CellError):
    """The client returned a wrong value."""


class EndlessCell(CellError):
    """The client did not come to an end."""


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
        EndlessCell: it did not come to an end.
        CellError: it failed in another way, or its process was killed.
    """
    order = {"cell": asdict(cell), "address": list(address), "durations": list(durations)}
    command = [sys.executable, "-m", "benchmarks.cell", json.dumps(order)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            output, errors = process.communicate(timeout=PROCESS_SECONDS)
        except subprocess.TimeoutExpired:
            raise EndlessCell(f"no result after {PROCESS_SECONDS:g} seconds") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # a publisher it has started, too
    answer = _last_json(output)
    if answer is None:
        raise CellError(_last_words(process.returncode, errors))
    if "wrong" in answer:
        raise WrongCell(answer["wrong"])
    if "error" in answer:
        raise CellError(answer["error"])
    return Result(**answer)


def _last_json(text: str) -> dict[str, Any] | None:
    """None where the process was killed before it had written all of it."""
    try:
        answer = json.loads((text.strip().splitlines() or [""])[-1])
    except json.JSONDecodeError:
        return None
    return answer if isinstance(answer, dict) else None


def _last_words(status: int, errors: str) -> str:
    if status < 0:
        return f"killed by signal {-status}"
    return (errors.strip().splitlines() or [f"status {status}"])[-1]


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


def measure_here(cell: Cell, address: Address, durations: Durations) -> dict[str, Any]:
    """Run the cell in this process.

    Raises:
        WrongReply: the client returned a wrong value.
        Exception: whatever else the client raises.
    """
    work = _measure(cell, address, durations)
    if cell.loop == "uvloop":
        import uvloop

        return uvloop.run(work)
    return asyncio.run(work)


def _told(error: BaseException) -> str:
    """Of a group, such as coredis raises, what it was first."""
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]  # type: ignore[attr-defined]
    return f"{type(error).__name__}: {error}"


def main(argument: str) -> None:
    order = json.loads(argument)
    cell = Cell(**order["cell"])
    address, durations = Address(*order["address"]), Durations(*order["durations"])
    answer: dict[str, Any]
    try:
        answer = {"measured": measure_here(cell, address, durations)}
        answer["peak_rss_mib"] = memory.peak_resident_bytes() / memory.MIB
    except WrongReply as error:
        answer = {"wrong": str(error)}
    except Exception as error:
        answer = {"error": _told(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])
