"""The workloads, and the speed each is to reach."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks import data, feeds, operations
from benchmarks.clients.commands import GET_MESSAGE, HANDLER, LISTEN, Commands, Connect
from benchmarks.feeds import Feed
from benchmarks.operations import MakeOperation
from benchmarks.server import Address


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    tasks: int
    operation: MakeOperation
    times_redis_py: float | None  # target
    times_best_other: float | None  # target
    commands: int = 1  # in one operation
    feed: Feed | None = None  # what runs beside it

    @asynccontextmanager
    async def connected(self, connect: Connect, address: Address) -> AsyncIterator[Commands]:
        """A client for all tasks, and the feed."""
        async with connect(address, self.tasks) as commands:
            if self.feed is None:
                yield commands
            else:
                async with self.feed(commands, address) as fed:
                    yield fed


GATHER = 500
PIPELINE = 100
CONSUMERS = 50

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("get-1", "GET, 1 task", 1, operations.get, 4, 2.5),
        Workload("get-50", "GET, 50 tasks", 50, operations.get, 40, 8),
        Workload("set-50", "SET with ex, 50 tasks", data.WRITES, operations.set_with_expiry, 30, 7),
        Workload(
            "hgetall-50", "HGETALL of 20 fields, 50 tasks", data.HASHES, operations.hgetall, 14, 5
        ),
        Workload("get-10000", "GET, 10,000 tasks", data.VALUES, operations.get, 25, 8),
        Workload(
            "gather-500",
            "gather of 500 GET",
            1,
            operations.gather_of(GATHER),
            40,
            12,
            commands=GATHER,
        ),
        Workload(
            "pipeline-100",
            "pipeline of 100 GET",
            1,
            operations.pipeline_of(PIPELINE),
            12,
            6,
            commands=PIPELINE,
        ),
        Workload(
            "mixed-100",
            "pipeline of 50 SET, 50 GET",
            1,
            operations.mixed_pipeline_of(PIPELINE, transaction=False),
            12,
            6,
            commands=PIPELINE,
        ),
        Workload(
            "transaction-100",
            "transaction of 50 SET, 50 GET",
            1,
            operations.mixed_pipeline_of(PIPELINE, transaction=True),
            12,
            6,
            commands=PIPELINE,
        ),
        Workload("large-8", "GET 64 KiB, 8 tasks", data.LARGE_VALUES, operations.get_large, 6, 4),
        Workload(
            "pubsub-listen",
            "messages by listen()",
            1,
            operations.receive,
            None,
            None,
            commands=data.MESSAGES,
            feed=feeds.published_to(LISTEN),
        ),
        Workload(
            "pubsub-get-message",
            "messages by get_message()",
            1,
            operations.receive,
            None,
            None,
            commands=data.MESSAGES,
            feed=feeds.published_to(GET_MESSAGE),
        ),
        Workload(
            "pubsub-handler",
            "messages by a handler",
            1,
            operations.receive,
            None,
            None,
            commands=data.MESSAGES,
            feed=feeds.published_to(HANDLER),
        ),
        Workload(
            "queue-50",
            "items of a queue, 50 consumers",
            CONSUMERS,
            operations.pop,
            None,
            None,
            feed=feeds.pushed,
        ),
    )
}

MEMORY = "memory"
MEMORY_TITLE = "memory of 10,000 waiting tasks"
MEMORY_TASKS = data.VALUES
MEMORY_TARGET_MIB = 40.0

SERVER_LIMIT = "server-limit"
SERVER_LIMIT_TITLE = "GET at 50 tasks as a part of redis-benchmark -c 1 -P 50"
SERVER_LIMIT_TARGET = 0.5
SERVER_LIMIT_OF = "get-50"

DOCUMENTED_TARGET = 0.85
DOCUMENTED_OF = ("get-50", "set-50")

NAMES = (*WORKLOADS, MEMORY, SERVER_LIMIT)
