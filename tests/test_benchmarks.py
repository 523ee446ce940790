"""The benchmark harness works; how fast anything is, is no test's business."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import callgrind, data, profile_callgrind
from benchmarks.cell import Cell, WrongCell, run_cell
from benchmarks.clients import DOCUMENTED, OURS, REDIS_PY
from benchmarks.measure import Durations
from benchmarks.run import Plan, cells_of_round
from benchmarks.server import Address, server
from benchmarks.summary import summarize
from benchmarks.workloads import MEMORY, WORKLOADS

TINY = Durations(0.01, 0.03, 0.01)
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
