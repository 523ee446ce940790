"""The benchmark harness works; how fast anything is, is no test's business."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis.asyncio

from benchmarks import __main__ as command
from benchmarks import callgrind, data, feeds, profile_callgrind
from benchmarks.cell import Cell, WrongCell, run_cell
from benchmarks.clients import CLIENTS, DOCUMENTED, OURS, PUBSUB, QUEUES, REDIS_PY, redis_py
from benchmarks.clients.commands import LISTEN, Commands, Receive
from benchmarks.measure import Durations
from benchmarks.run import Plan, cells_of_round
from benchmarks.server import Address, server
from benchmarks.summary import summarize
from benchmarks.workloads import MEMORY, WORKLOADS

TINY = Durations(0.01, 0.03, 0.01)
NO_COMMANDS = Commands(get=None, set=None, set_options={}, set_reply=None, hgetall=None)  # type: ignore[arg-type]
WHEN_LONG = {"get-10000", MEMORY}


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    with server() as found:
        data.seed(found)
        yield found
        data.clear(found)


@pytest.mark.parametrize("client", [REDIS_PY, OURS])
@pytest.mark.parametrize(
    "workload",
    [
        pytest.param(name, marks=pytest.mark.long if name in WHEN_LONG else ())
        for name in (*WORKLOADS, MEMORY)
    ],
)
def test_every_workload_runs(address: Address, workload: str, client: str) -> None:
    result = run_cell(Cell(workload, client, "asyncio"), address, TINY)
    figure = "before_mib" if workload == MEMORY else "per_second"
    assert result.measured[figure] > 0


@pytest.mark.parametrize("workload", ["get-1", "set-50"])
def test_the_documented_client_runs(address: Address, workload: str) -> None:
    result = run_cell(Cell(workload, DOCUMENTED, "asyncio"), address, TINY)
    assert result.measured["commands"] > 0


@pytest.mark.long
@pytest.mark.parametrize("client", ["coredis", "valkey-glide"])
@pytest.mark.parametrize(
    "workload", ["mixed-100", "transaction-100", *sorted(PUBSUB), *sorted(QUEUES)]
)
def test_other_clients_run(address: Address, workload: str, client: str) -> None:
    if not CLIENTS[client].takes(workload):
        pytest.skip("it has no commands for it")
    reason = CLIENTS[client].missing()
    if reason:
        pytest.skip(reason)
    result = run_cell(Cell(workload, client, "asyncio"), address, TINY)
    assert result.measured["commands"] >= WORKLOADS[workload].commands


def test_uvloop(address: Address) -> None:
    pytest.importorskip("uvloop")
    assert run_cell(Cell("get-50", OURS, "uvloop"), address, TINY).measured["commands"] > 0


def test_a_wrong_value_is_an_error(address: Address) -> None:
    with data.connect(address) as client:
        client.set(data.value_key(0), "wrong")
    try:
        with pytest.raises(WrongCell, match="wrong"):
            run_cell(Cell("get-1", REDIS_PY, "asyncio"), address, TINY)
    finally:
        data.seed(address)


def test_a_lost_message_is_an_error(address: Address) -> None:
    """The next one comes in its place."""

    @asynccontextmanager
    async def losing(channel: str, size: int) -> AsyncIterator[Receive]:
        async with redis.asyncio.Redis(host=address.host, port=address.port) as client:
            async with redis_py.commands(client).receivers[LISTEN](channel, 1) as receive_one:

                async def receive() -> list[bytes]:
                    await receive_one()
                    return [message for _ in range(size) for message in await receive_one()]

                yield receive

    async def main() -> None:
        commands = replace(NO_COMMANDS, receivers={LISTEN: losing})
        async with feeds.published_to(LISTEN)(commands, address) as fed:
            operation = WORKLOADS["pubsub-listen"].operation(fed, 0)
            received, expected = await operation.call(), data.messages()
            assert operation.expected == expected
            assert received == expected[1:] + expected[:1]

    asyncio.run(main())


def test_the_publisher_leaves_the_server_as_it_was(address: Address) -> None:
    with data.connect(address) as client:
        client.config_set(feeds.LIMIT, "pubsub 1000000 500000 30")
        before = client.config_get(feeds.LIMIT)
        run_cell(Cell("pubsub-listen", OURS, "asyncio"), address, TINY)
        assert client.config_get(feeds.LIMIT) == before
        assert client.pubsub_channels() == []


def test_the_queue_is_emptied(address: Address) -> None:
    run_cell(Cell("queue-50", OURS, "asyncio"), address, TINY)
    with data.connect(address) as client:
        assert client.exists(data.QUEUE) == 0


def test_a_failing_producer_is_told(address: Address) -> None:
    async def refuse(key: str, items: list[bytes]) -> int:
        raise ConnectionError("refused")

    async def length(key: str) -> int:
        raise AssertionError("nothing was pushed")

    async def main() -> None:
        commands = replace(NO_COMMANDS, push=refuse, llen=length)
        async with feeds.pushed(commands, address):
            await asyncio.sleep(0)

    with pytest.raises(ConnectionError, match="refused"):
        asyncio.run(main())


def test_the_command_writes_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples, tables = tmp_path / "run.json", tmp_path / "run.md"
    selection = ["--workloads", "get-1,get-50", "--clients", f"{REDIS_PY},{OURS},{DOCUMENTED}"]
    options = ["--rounds", "2", "--seconds", "0.03"]
    files = ["--json", str(samples), "--markdown", str(tables)]
    assert command.main([*selection, *options, *files]) == 0
    printed = capsys.readouterr().out
    assert "x redis-py" in printed
    assert "RedisClient as a part of Redis" in printed
    assert "| GET, 50 tasks |" in tables.read_text(encoding="utf-8")
    cells = json.loads(samples.read_text(encoding="utf-8"))["cells"]
    assert len(cells) == 2 * 3 * 2


def test_a_workload_without_a_target(capsys: pytest.CaptureFixture[str]) -> None:
    selection = ["--workloads", "queue-50", "--clients", f"{REDIS_PY},{OURS}"]
    assert command.main([*selection, "--rounds", "1", "--seconds", "0.03"]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if "items of a queue, 50 consumers" in line)
    assert "missed" not in row
    assert "reached" not in row


def test_unknown_names_are_refused() -> None:
    with pytest.raises(SystemExit, match="unknown name 'get-2'"):
        command.main(["--workloads", "get-2"])


def test_clients_take_turns_to_begin() -> None:
    plan = Plan(["get-1"], [REDIS_PY, OURS], ["asyncio"], rounds=2, seconds=1.0)
    order = [[cell.client for cell in cells_of_round(plan, number)] for number in range(2)]
    assert order == [[REDIS_PY, OURS], [OURS, REDIS_PY]]


def test_summary() -> None:
    assert summarize([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    many = [float(number) for number in range(1, 102)]
    middle, low, high = summarize(many)
    assert middle == 51.0
    assert 1.0 < low < 51.0 < high < 101.0


def test_callgrind_counts_a_callee_once() -> None:
    lines = [
        "ob=(1) /lib/a.so",
        "fl=(1) a.c",
        "fn=(1) outer",
        "10 5",
        "cob=(2) /lib/b.so",
        "cfn=(2) inner'2",
        "calls=3 20",
        "10 700",
        "+1 6",
        "",
        "ob=(2)",
        "fn=(2)",
        "20 700",
    ]
    assert callgrind.self_cost(lines) == {"outer [a.so]": 11, "inner [b.so]": 700}


def test_callgrind_difference_is_per_operation() -> None:
    few, many = Counter(get=100, start=50), Counter(get=300, start=50)
    assert profile_callgrind.difference(few, many, 10) == {"get": 20.0, "start": 0.0}


@pytest.mark.long
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind")
def test_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert profile_callgrind.main(["--few", "100", "--many", "300"]) == 0
    assert "Instructions per command, GET, 50 tasks" in capsys.readouterr().out
