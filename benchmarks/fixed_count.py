"""`python -m benchmarks.fixed_count JSON`: so many commands of a workload, for tools that count."""

from __future__ import annotations

import asyncio
import json
import sys

from benchmarks.address import Address
from benchmarks.clients import CLIENTS
from benchmarks.measure import WrongReply
from benchmarks.operations import Operation
from benchmarks.workloads import WORKLOADS, Workload


def command_line(workload: str, client: str, address: Address, commands: int) -> list[str]:
    """Of a process that does this."""
    order = {
        "workload": workload,
        "client": client,
        "address": list(address),
        "commands": commands,
    }
    return [sys.executable, "-m", "benchmarks.fixed_count", json.dumps(order)]


async def run_fixed(workload: Workload, client: str, address: Address, commands: int) -> None:
    connect = CLIENTS[client].connect(cluster=workload.cluster)
    async with workload.connected(connect, address) as connected:
        each = commands // (workload.tasks * workload.commands)
        await asyncio.gather(
            *(
                repeat(workload.operation(connected, number), each)
                for number in range(workload.tasks)
            )
        )


async def repeat(operation: Operation, times: int) -> None:
    """So many operations, one after another, each of whose replies is checked."""
    call, expected = operation.call, operation.expected
    for _ in range(times):
        reply = await call()
        if reply != expected:
            raise WrongReply(f"{reply!r:.200} instead of {expected!r:.200}")


def main(argument: str) -> None:
    order = json.loads(argument)
    workload, address = WORKLOADS[order["workload"]], Address(*order["address"])
    asyncio.run(run_fixed(workload, order["client"], address, order["commands"]))


if __name__ == "__main__":
    main(sys.argv[1])
