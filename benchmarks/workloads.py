"""The workloads, and the speed each is to reach."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks import data, feeds, operations
from benchmarks.address import Address
from benchmarks.clients.commands import GET_MESSAGE, HANDLER, LISTEN, Commands, Connect
from benchmarks.feeds import Feed
from benchmarks.operations import MakeOperation


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    tasks: int
    operation: MakeOperation
    times_redis_py: float | None = None  # target
    times_best_other: float | None = None  # target
    commands: int = 1  # in one operation
    feed: Feed | None = None  # what runs beside it
    both_loops: bool = False  # also on uvloop when everything is run
    cluster: bool = False  # on a cluster, with the client's cluster class

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
SWEEP = (1, 10, 50, 100, 1_000, 10_000)


def _listed() -> Iterator[Workload]:
    yield Workload("get-1", "GET, 1 task", 1, operations.get, 4, 2.5, both_loops=True)
    yield Workload("get-10", "GET, 10 tasks", 10, operations.get)
    yield Workload("get-50", "GET, 50 tasks", 50, operations.get, 40, 8, both_loops=True)
    yield Workload("get-100", "GET, 100 tasks", 100, operations.get)
    yield Workload("get-1000", "GET, 1,000 tasks", 1_000, operations.get)
    yield Workload(
        "get-10000", "GET, 10,000 tasks", data.VALUES, operations.get, 25, 8, both_loops=True
    )
    yield Workload(
        "set-50", "SET with ex, 50 tasks", data.WRITES, operations.set_with_expiry, 30, 7
    )
    yield Workload(
        "hgetall-50",
        "HGETALL of 20 fields, 50 tasks",
        data.HASHES,
        operations.hgetall,
        14,
        5,
        both_loops=True,
    )
    yield Workload(
        f"gather-{GATHER}",
        f"gather of {GATHER} GET",
        1,
        operations.gather_of(GATHER),
        40,
        12,
        commands=GATHER,
        both_loops=True,
    )
    yield Workload(
        f"pipeline-{PIPELINE}",
        f"pipeline of {PIPELINE} GET",
        1,
        operations.pipeline_of(PIPELINE),
        12,
        6,
        commands=PIPELINE,
        both_loops=True,
    )
    for name, transaction in (("mixed", False), ("transaction", True)):
        yield Workload(
            f"{name}-{PIPELINE}",
            f"{'transaction' if transaction else 'pipeline'} of 50 SET, 50 GET",
            1,
            operations.mixed_pipeline_of(PIPELINE, transaction),
            12,
            6,
            commands=PIPELINE,
        )
    yield Workload(
        "large-8",
        "GET 64 KiB, 8 tasks",
        data.LARGE_VALUES,
        operations.get_large,
        6,
        4,
        both_loops=True,
    )
    for name, how in (
        (LISTEN, "listen()"),
        (GET_MESSAGE, "get_message()"),
        (HANDLER, "a handler"),
    ):
        yield Workload(
            f"pubsub-{name.replace('_', '-')}",
            f"messages by {how}",
            1,
            operations.receive,
            commands=data.MESSAGES,
            feed=feeds.published_to(name),
            both_loops=name == LISTEN,
        )
    yield Workload(
        "queue-50",
        "items of a queue, 50 consumers",
        CONSUMERS,
        operations.pop,
        feed=feeds.pushed,
        both_loops=True,
    )
    yield Workload(
        "cluster-get-50",
        "cluster: GET, 50 tasks",
        50,
        operations.get,
        cluster=True,
        both_loops=True,
    )
    yield Workload(
        "cluster-set-50",
        "cluster: SET with ex, 50 tasks",
        data.WRITES,
        operations.set_with_expiry,
        cluster=True,
    )
    for name, title, operation in (
        ("pipeline", f"{PIPELINE} GET", operations.pipeline_of(PIPELINE)),
        ("mixed", "50 SET, 50 GET", operations.mixed_pipeline_of(PIPELINE, transaction=False)),
    ):
        yield Workload(
            f"cluster-{name}-{PIPELINE}",
            f"cluster: pipeline of {title}",
            1,
            operation,
            commands=PIPELINE,
            cluster=True,
        )


WORKLOADS = {workload.name: workload for workload in _listed()}

RATES = (1_000, 5_000, 20_000, 50_000)
"""GET per second, offered whether the client keeps up or not."""

AT_RATE = {f"rate-{rate}": rate for rate in RATES}

MEMORY = "memory"
CONNECTIONS = "connections"
CONNECTIONS_COUNT = 100
CONNECTIONS_TITLE = "memory of a client with one connection"
MEMORY_TITLE = "memory of 10,000 waiting tasks"
MEMORY_TASKS = data.VALUES
MEMORY_TARGET_MIB = 40.0

SERVER_LIMIT = "server-limit"
SERVER_LIMIT_TARGETS = {"get-50": 0.5}  # as a part of it

DOCUMENTED_TARGET = 0.85
DOCUMENTED_OF = ("get-50", "set-50")

NAMES = (*WORKLOADS, *AT_RATE, MEMORY, CONNECTIONS, SERVER_LIMIT)
SHORT = (
    "get-1",
    "get-50",
    "get-10000",
    "hgetall-50",
    "pipeline-100",
    "large-8",
    "pubsub-listen",
    "rate-1000",
    "rate-20000",
    SERVER_LIMIT,
)
ONCE = (MEMORY, CONNECTIONS)  # hardly differ from round to round, and take long


def is_cluster(name: str) -> bool:
    return name in WORKLOADS and WORKLOADS[name].cluster
