"""`python -m benchmarks.fixed_count JSON`: so many GETs from 50 tasks, for tools that count."""

from __future__ import annotations

import asyncio
import json
import sys

from benchmarks.clients import CLIENTS
from benchmarks.measure import WrongReply
from benchmarks.operations import Operation
from benchmarks.server import Address
from benchmarks.workloads import WORKLOADS

WORKLOAD = WORKLOADS["get-50"]


async def get_fixed(client: str, address: Address, operations: int) -> None:
    connect = CLIENTS[client].connect()
    async with connect(address, WORKLOAD.tasks) as commands:
        each = operations // WORKLOAD.tasks
        await asyncio.gather(
            *(
                _repeat(WORKLOAD.operation(commands, number), each)
                for number in range(WORKLOAD.tasks)
            )
        )


async def _repeat(operation: Operation, times: int) -> None:
    call, expected = operation.call, operation.expected
    for _ in range(times):
        reply = await call()
        if reply != expected:
            raise WrongReply(f"{reply!r:.200} instead of {expected!r:.200}")


def main(argument: str) -> None:
    order = json.loads(argument)
    asyncio.run(get_fixed(order["client"], Address(*order["address"]), order["operations"]))


if __name__ == "__main__":
    main(sys.argv[1])
