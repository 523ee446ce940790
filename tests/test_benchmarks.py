"""The benchmark harness works; how fast anything is, is no test's business."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable
from xml.etree import ElementTree

import pytest
import redis.asyncio

from benchmarks import __main__ as command
from benchmarks import (
    callgrind,
    cell,
    data,
    feeds,
    instructions,
    open_loop,
    profile_callgrind,
    profile_cpu,
    publish,
    report,
    server_limit,
    ticker,
    toolkit,
)
from benchmarks.address import Address
from benchmarks.cell import Cell, Result, WrongCell, measure_here, run_cell
from benchmarks.clients import (
    CLIENTS,
    CLUSTER,
    DOCUMENTED,
    OURS,
    PUBSUB,
    QUEUES,
    REDIS_PY,
    redis_py,
)
from benchmarks.clients.commands import LISTEN, Commands, Receive
from benchmarks.measure import Durations
from benchmarks.run import Costs, Failure, Plan, Run, cells_of_round
from benchmarks.server import cluster, server
from benchmarks.summary import ratio, summarize
from benchmarks.workloads import AT_RATE, CONNECTIONS, MEMORY, WORKLOADS, is_cluster

TINY = Durations(0.01, 0.03, 0.01, 0.05)
NO_COMMANDS = Commands(get=None, set=None, set_options={}, set_reply=None, hgetall=None)  # type: ignore[arg-type]
WHEN_LONG = {"get-10000", "rate-50000", MEMORY}


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    with server() as found:
        data.seed(found)
        yield found
        data.clear(found)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Address]:
    with cluster() as found:
        data.seed_cluster(found)
        yield found


@pytest.mark.parametrize("client", [REDIS_PY, OURS])
@pytest.mark.parametrize(
    "workload",
    [
        pytest.param(name, marks=pytest.mark.long if name in WHEN_LONG else ())
        for name in (*WORKLOADS, *AT_RATE, MEMORY, CONNECTIONS)
        if not is_cluster(name)
    ],
)
def test_every_workload_runs(address: Address, workload: str, client: str) -> None:
    measured = measure_here(Cell(workload, client, "asyncio"), address, TINY)
    figures = {MEMORY: "before_mib", CONNECTIONS: "before_mib"}
    figure = figures.get(workload, "samples" if workload in AT_RATE else "per_second")
    assert measured[figure] > 0


@pytest.mark.parametrize("client", [REDIS_PY, OURS])
@pytest.mark.parametrize("workload", sorted(CLUSTER))
def test_every_workload_of_a_cluster_runs(nodes: Address, workload: str, client: str) -> None:
    if not CLIENTS[client].takes(workload):
        pytest.skip("it has no cluster class")
    assert measure_here(Cell(workload, client, "asyncio"), nodes, TINY)["per_second"] > 0


@pytest.mark.parametrize("row", list(toolkit.ROWS))
def test_costs_of_the_toolkit(address: Address, row: str) -> None:
    if row in ("otel", "stopped"):
        pytest.importorskip("opentelemetry.sdk")
    try:
        asyncio.run(toolkit.run(row, address, 100))
    finally:
        toolkit.clean(address)
    with redis.Redis(address.host, address.port) as admin:
        assert not list(admin.scan_iter(f"{toolkit.PREFIX}*"))


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


@pytest.mark.parametrize("client", list(CLIENTS))
def test_a_process_imports_its_own_client_only(client: str) -> None:
    if CLIENTS[client].missing():
        pytest.skip(CLIENTS[client].missing())
    load = f"benchmarks.cell, sys; benchmarks.cell.CLIENTS[{client!r}].connect()"
    script = f"import {load}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    packages = {known.package for known in CLIENTS.values()}
    allowed = {CLIENTS[client].package} | ({"redis"} if CLIENTS[client].ours else set())
    assert packages & set(done.stdout.split()) == allowed, done.stderr


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
        measure_here(Cell("pubsub-listen", OURS, "asyncio"), address, TINY)
        assert client.config_get(feeds.LIMIT) == before
        assert client.pubsub_channels() == []


def test_the_queue_is_emptied(address: Address) -> None:
    measure_here(Cell("queue-50", OURS, "asyncio"), address, TINY)
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
    options = ["--rounds", "1", "--seconds", "0.03"]
    files = ["--json", str(samples), "--markdown", str(tables)]
    assert command.main([*selection, *options, *files]) == 0
    printed = capsys.readouterr().out
    assert "x redis-py" in printed
    assert "RedisClient as a part of Redis" in printed
    assert "| GET, 50 tasks |" in tables.read_text(encoding="utf-8")
    cells = json.loads(samples.read_text(encoding="utf-8"))["cells"]
    assert len(cells) == 2 * 3


def test_a_workload_without_a_target(capsys: pytest.CaptureFixture[str]) -> None:
    selection = ["--workloads", "queue-50", "--clients", f"{REDIS_PY},{OURS}"]
    assert command.main([*selection, "--rounds", "1", "--seconds", "0.03"]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if "items of a queue, 50 consumers" in line)
    assert "missed" not in row
    assert "reached" not in row


def test_a_run_is_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples, plots = tmp_path / "run.json", tmp_path / "plots"
    selection = ["--workloads", "get-1,get-10,rate-1000,rate-5000,server-limit"]
    selection += ["--clients", f"{REDIS_PY},{OURS}", "--rounds", "2", "--seconds", "0.03"]
    assert command.main([*selection, "--json", str(samples), "--plots", str(plots)]) == 0
    drawings = sorted(plots.glob("*.svg"))
    assert [drawing.stem for drawing in drawings] == ["concurrency", "cpu", "latency", "speed"]
    for drawing in drawings:
        assert ElementTree.parse(drawing).getroot().tag.endswith("svg")
        assert "prefers-color-scheme: dark" in drawing.read_text(encoding="utf-8")

    content = json.loads(samples.read_text(encoding="utf-8"))
    assert Run.from_json(content).as_json() == {
        name: value for name, value in content.items() if name not in ("facts", "plan")
    }
    found = report.Report(content)
    page = "before\n<!-- benchmarks:speed -->\nold\n<!-- /benchmarks -->\nafter\n"
    filled = publish.fill(page, found)
    assert "| GET, 1 task |" in filled
    assert "old" not in filled
    assert filled.startswith("before\n")
    assert filled.endswith("-->\nafter\n")
    assert publish.fill(filled, found) == filled
    for name in publish.BLOCKS:
        assert publish.BLOCKS[name](found)
    beside = "| GET, 1 task | `redis-benchmark -c 1 GET` |" in publish.BLOCKS["limit"](found)
    assert beside == server_limit.available()
    with pytest.raises(publish.UnknownBlock, match="benchmarks:sped is none of"):
        publish.fill("<!-- benchmarks:sped -->\n<!-- /benchmarks -->", found)

    capsys.readouterr()
    assert command.main(["--render", str(samples)]) == 0
    assert "GET/s" in capsys.readouterr().out


def test_no_further_round_than_there_is_time_for(capsys: pytest.CaptureFixture[str]) -> None:
    selection = ["--workloads", "get-1", "--clients", OURS, "--rounds", "9", "--seconds", "0.03"]
    assert command.main([*selection, "--minutes", "0.001"]) == 0
    printed = capsys.readouterr().out
    assert "1 round of 0.03 s" in printed
    assert "With one round the ratios have no interval." in printed


def a_run(rates: dict[str, list[float]]) -> report.Report:
    """Of get-1, with so many commands per second of each client in each round."""
    done = Run(seconds=[0.6] * len(next(iter(rates.values()))))
    for client, samples in rates.items():
        for number, rate in enumerate(samples):
            figures = {"per_second": rate, "cpu_us": 1e6 / rate, "p50_us": 1.0, "p99_us": 2.0}
            done.add(Cell("get-1", client, "asyncio"), number, Result(figures, 40.0))
    plan = Plan(["get-1"], list(rates), ["asyncio"], rounds=len(done.seconds), seconds=0.6)
    facts = dict.fromkeys(["cores", "python", "redis-server", "date"], "x")
    return report.Report({"facts": facts, "plan": vars(plan), **done.as_json()})


def test_what_is_said_of_intervals() -> None:
    ours, theirs = [20.0, 2.0, 22.0, 20.0], [10.0, 1.0, 10.0, 10.0]
    one, two, four = (a_run({REDIS_PY: theirs[:n], OURS: ours[:n]}) for n in (1, 2, 4))
    table = publish.BLOCKS["speed"](one)
    assert "| GET, 1 task | 10 | **20** | 2.0 | 2.0 |" in table
    assert "One round, a fresh process for each cell, on x cores" in table
    assert "x. With one round the ratios have no interval." in table
    assert "in brackets: the least and the most of 2 rounds." in publish.BLOCKS["speed"](two)
    table = publish.BLOCKS["speed"](four)
    assert "Means of 4 interleaved rounds, a fresh process for each cell" in table
    assert "in brackets: 95 % confidence." in table
    # That a round was ten times as slow for both is no part of the ratio's interval.
    assert "| 2.0 (1.9..2.2) | 2.0 (1.9..2.2) |" in table
    assert four.times("get-1", "asyncio", [REDIS_PY], "cpu_us") == pytest.approx(
        four.times("get-1", "asyncio", [REDIS_PY])
    )


def test_rounds_count_for_less_when_time_is_short() -> None:
    took = {Cell("get-1", OURS, "asyncio"): 2.45, Cell("rate-1000", OURS, "asyncio"): 3.2}
    took[Cell(MEMORY, OURS, "asyncio")] = 30.0  # in the first round only
    costs = Costs.of(took, 1.0)
    assert costs == pytest.approx((2.0, 1.45 + 2.2))
    assert costs.of_round(0.5) == pytest.approx(2.0 + 0.5 * 3.65)
    assert costs.counting_in(costs.of_round(0.3)) == pytest.approx(0.3)
    assert costs.counting_in(1.9) < 0


@contextlib.contextmanager
def striking(client: str, number: int) -> Iterator[list[int]]:
    """Send a signal to each process that measures the client, and tell which got it."""
    children = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children")
    struck: list[int] = []
    over = threading.Event()

    def strike() -> None:
        while not over.wait(0.002):
            for pid in map(int, children.read_text().split()):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # gone meanwhile
                    words = Path(f"/proc/{pid}/cmdline").read_text()
                    measures = "benchmarks.cell" in words and f'"client": "{client}"' in words
                    if measures and pid not in struck:
                        os.kill(pid, number)
                        struck.append(pid)

    thread = threading.Thread(target=strike)
    thread.start()
    try:
        yield struck
    finally:
        over.set()
        thread.join()


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks for children in /proc")


@needs_proc
def test_a_client_that_is_killed_is_a_gap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = tmp_path / "run.json"
    selection = ["--workloads", "get-1,rate-1000", "--clients", f"{REDIS_PY},{OURS}"]
    more = ["--rounds", "2", "--seconds", "0.03", "--json", str(samples)]
    with striking(REDIS_PY, signal.SIGKILL) as struck:
        assert command.main([*selection, *more, "--plots", str(tmp_path)]) == 0
    assert len(struck) == 4  # the next round tries again
    lines = capsys.readouterr().out.splitlines()
    assert "  failed  " in next(line for line in lines if "GET, 1 task" in line)
    found = report.Report(json.loads(samples.read_text("utf-8")))
    told = f"- get-1, {REDIS_PY}, asyncio: failed (2 times): killed by signal 9"
    assert told in publish.BLOCKS["gaps"](found)
    assert "| 1,000 GET/s | failed | " in publish.BLOCKS["latency"](found)
    assert len(found.run.samples(Cell("get-1", OURS, "asyncio"), "per_second")) == 2


@needs_proc
def test_a_client_that_does_not_come_to_an_end_is_a_gap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell, "PROCESS_SECONDS", 1.0)
    samples = tmp_path / "run.json"
    selection = ["--workloads", "get-1", "--clients", REDIS_PY, "--rounds", "2"]
    with striking(REDIS_PY, signal.SIGSTOP) as struck:
        assert command.main([*selection, "--json", str(samples), "--plots", str(tmp_path)]) == 0
    assert len(struck) == 1  # not tried again
    assert f"get-1, {REDIS_PY}, asyncio: failed: no result after 1" in capsys.readouterr().out
    found = report.Report(json.loads(samples.read_text("utf-8")))
    assert "| GET, 1 task | failed | - | - |" in publish.BLOCKS["speed"](found)
    assert list(tmp_path.glob("*.svg")) == []  # nothing to draw


def test_a_client_that_was_wrong_once_has_no_figures(tmp_path: Path) -> None:
    wrong = Cell("get-1", REDIS_PY, "asyncio")
    content = a_run({REDIS_PY: [10.0, 10.0], OURS: [20.0, 20.0]}).content
    done = Run.from_json(content)
    done.fail(wrong, Failure(1, "b'x' instead of b'y'", wrong=True))
    found = report.Report({**content, **done.as_json()})
    assert "| GET, 1 task | wrong | **20** | - | - |" in publish.BLOCKS["speed"](found)
    assert publish.BLOCKS["gaps"](found).startswith(
        "- get-1, redis-py, asyncio: a wrong reply: b'x'"
    )
    assert done.given_up(wrong)
    for name in publish.BLOCKS:
        assert publish.BLOCKS[name](found) or name == "limit"


def test_a_wrong_reply_is_told_and_all_else_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def seed(address: Address, seed: Callable[[Address], None] = data.seed) -> None:
        seed(address)
        with data.connect(address) as client:
            client.set(data.value_key(0), "wrong")

    monkeypatch.setattr(data, "seed", seed)
    selection = ["--workloads", "get-1,set-50", "--clients", OURS, "--rounds", "2"]
    assert command.main([*selection, "--seconds", "0.03"]) == 1
    said, progress = capsys.readouterr()
    assert f"get-1, {OURS}, asyncio: a wrong reply: b'wrong' instead of b'value 0" in said
    assert progress.count(f"get-1 {OURS} asyncio") == 1  # not tried again
    assert progress.count(f"set-50 {OURS} asyncio: ") == 2


def test_unknown_names_are_refused() -> None:
    with pytest.raises(SystemExit, match="unknown name 'get-2'"):
        command.main(["--workloads", "get-2"])


def test_clients_take_turns_to_begin() -> None:
    plan = Plan(["get-1"], [REDIS_PY, OURS], ["asyncio"], rounds=2, seconds=1.0)
    order = [[cell.client for cell in cells_of_round(plan, number)] for number in range(2)]
    assert order == [[REDIS_PY, OURS], [OURS, REDIS_PY]]


def test_a_workload_may_run_on_a_further_loop() -> None:
    plan = Plan(["get-1", "get-10"], [OURS], ["asyncio"], rounds=1, seconds=1.0, further_loop=True)
    loops = [(cell.workload, cell.loop) for cell in cells_of_round(plan, 0)]
    assert loops == [("get-1", "asyncio"), ("get-1", "uvloop"), ("get-10", "asyncio")]


def test_summary() -> None:
    assert summarize([8.0]) == pytest.approx((8.0, 8.0, 8.0))
    assert summarize([8.0, 2.0]) == pytest.approx((4.0, 2.0, 8.0))
    # The logarithms have mean log(4) and standard deviation log(2); t is 4.303.
    half = 2 ** (4.303 / 3**0.5)
    assert summarize([2.0, 4.0, 8.0]) == pytest.approx((4.0, 4.0 / half, 4.0 * half))


def test_a_ratio_is_that_of_each_round() -> None:
    """A round in which everything took ten times as long changes nothing."""
    assert ratio([100.0, 10.0, 100.0], [50.0, 5.0, 50.0]) == pytest.approx((2.0, 2.0, 2.0))


def test_a_stall_is_charged_to_every_command_that_was_due() -> None:
    """200 commands per second for a second, of which the tenth stops the loop for half of it."""
    calls = 0

    async def get(key: str) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 10:
            time.sleep(0.5)
        return data.value(int(key.rpartition(":")[2]))

    found = asyncio.run(open_loop.measure_at_rate(get, 200, 0.0, 1.0))
    assert found.samples == 200
    assert found.unanswered == 0
    assert found.worst_us == pytest.approx(500_000, rel=0.2)
    assert found.p50_us < found.p90_us < found.p99_us
    # About 100 were due meanwhile, the last of them just before it ended.
    assert 300_000 < found.p90_us < 500_000


def test_a_client_that_never_answers_is_late() -> None:
    async def get(key: str) -> bytes:
        if key != data.value_key(0):
            await asyncio.get_running_loop().create_future()
        return data.value(0)

    open_loop_seconds, open_loop.DRAIN_SECONDS = open_loop.DRAIN_SECONDS, 0.1
    try:
        found = asyncio.run(open_loop.measure_at_rate(get, 100, 0.0, 0.1))
    finally:
        open_loop.DRAIN_SECONDS = open_loop_seconds
    assert not found.keeps_up
    assert found.unanswered == 9
    assert found.samples == 10


def test_a_client_that_will_never_catch_up_is_given_up() -> None:
    async def get(key: str) -> bytes:
        if key != data.value_key(0):
            await asyncio.get_running_loop().create_future()
        return data.value(0)

    start = time.monotonic()
    found = asyncio.run(open_loop.measure_at_rate(get, 20_000, 10.0, 60.0))
    assert time.monotonic() - start < 35  # of 70
    assert not found.keeps_up
    assert found.unanswered > 20_000 * open_loop.BACKLOG_SECONDS
    assert found.samples == found.unanswered


@pytest.mark.parametrize("tick", [ticker.ticking, ticker._timer])
def test_ticks_are_counted_while_the_loop_is_busy(tick: Callable[..., Any]) -> None:
    ticks: list[int] = []

    async def main() -> None:
        with tick(time.monotonic() + 0.01, 0.01, ticks.append):
            await asyncio.sleep(0.03)
            time.sleep(0.1)
            await asyncio.sleep(0.02)
            assert max(ticks) >= 9
        found = len(ticks)
        await asyncio.sleep(0.03)
        assert len(ticks) == found

    asyncio.run(main())


def test_percentiles() -> None:
    buckets = open_loop.histogram([100e-6] * 98 + [1e-3] * 2)
    found = open_loop.percentiles(buckets + open_loop.histogram([100e-6] * 100))
    assert found["p50_us"] == pytest.approx(100, rel=0.02)
    assert found["p99_us"] == pytest.approx(100, rel=0.02)
    assert found["p999_us"] == pytest.approx(1000, rel=0.02)


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


def test_a_function_that_grew_is_named() -> None:
    before = {"get-1": {"encode": 500.0, "parse": 400.0, "drain": 100.0}}
    now = {"get-1": {"encode": 500.5, "parse": 430.0, "check": 20.0, "drain": 99.0}}
    tables, grown = instructions.compare(before, now)
    assert grown == ["get-1"]
    assert tables[0].rows == [("get-1", "1,000", "1,050", "+5.0%")]
    assert tables[1].rows == [
        ("get-1: parse", "400.0", "430.0", "+30.0"),
        ("get-1: check", "new", "20.0", "+20.0"),
    ]
    _, grown = instructions.compare(before, before)
    assert grown == []


def test_counts_are_of_the_core_alone() -> None:
    core = {"f [_native.x.so]": 20, "f.part.0 [_native.x.so]": 5}
    costs = Counter({"get [libpython.so]": 100, **core})
    assert instructions.per_command(costs, 10) == {"f": 2.5}


@pytest.mark.long
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind")
def test_instructions_are_counted() -> None:
    with instructions.servers() as addresses:
        found = instructions.count(instructions.ROOT, addresses)
    assert list(found) == list(instructions.COUNTED)
    for functions in found.values():
        assert 100 < sum(functions.values()) < 100_000
    assert "ar_conn_send" in found["get-1"]


def test_samples_of_perf_are_told_apart() -> None:
    lines = """
\tffffffff8 tcp_write_xmit ([kernel.kallsyms])
\tffffffff8 __x64_sys_sendmsg ([kernel.kallsyms])
\t   7f0000 __libc_sendmsg (/usr/lib/libc.so.6)

\tffffffff8 copy_to_user ([kernel.kallsyms])
\tffffffff8 do_syscall_64 ([kernel.kallsyms])
\t   7f0000 __GI___readv (/usr/lib/libc.so.6)

\tffffffff8 handle_mm_fault ([kernel.kallsyms])
\t   7f0000 memcpy (/usr/lib/libc.so.6)

\t   7f0000 redisReaderGetReply (/x/_native.cpython-311-x86_64-linux-gnu.so)

\t   7f0000 ar_conn_send (/x/_native.cpython-311-x86_64-linux-gnu.so)
\t   7f0000 _PyEval_EvalFrameDefault (/usr/lib/libpython3.11.so.1.0)
""".splitlines()
    assert profile_cpu.count_parts(lines) == {
        profile_cpu.SENDING: 1,
        profile_cpu.RECEIVING: 1,
        profile_cpu.OTHER_KERNEL: 1,
        profile_cpu.HIREDIS: 1,
        profile_cpu.CORE: 1,
    }


@pytest.mark.long
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="needs valgrind")
def test_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert profile_callgrind.main(["--few", "100", "--many", "300"]) == 0
    assert "Instructions per command, GET, 50 tasks" in capsys.readouterr().out
