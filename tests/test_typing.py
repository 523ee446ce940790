"""What type checkers see: programs without mistakes, mistakes, and the stubs of _native.

The programs are checked by mypy --strict and by pyright in its strict mode.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import redis

ROOT = Path(__file__).parent.parent
MISTAKES = ROOT / "tests" / "mistyped" / "programs.py"

pytestmark = pytest.mark.long

newest_redis = pytest.mark.skipif(
    tuple(map(int, redis.__version__.split(".")[:2])) < (8, 1),
    reason="the stubs name classes that this redis-py does not have",
)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec(arguments[0].partition(".")[0]) is None:
        pytest.skip(f"{arguments[0]} is not installed: pip install -e .[dev]")
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def pyright() -> tuple[str, ...]:
    arguments = ("pyright", "--pythonpath", sys.executable)
    try:
        done = run(*arguments, "--version")
    except subprocess.TimeoutExpired:
        pytest.skip("pyright cannot be downloaded")
    if done.returncode:
        pytest.skip(f"pyright does not run here: {done.stdout[-200:]}")
    return arguments


def marked_lines() -> list[int]:
    lines = MISTAKES.read_text().splitlines()
    return [number for number, line in enumerate(lines, 1) if line.endswith("# wrong")]


def test_programs_with_mypy() -> None:
    """The package itself is checked below, with the newest mypy and redis-py."""
    done = run("mypy", "tests/typing")
    assert re.search(r"^(Success|Found \d+ error)", done.stdout, re.MULTILINE), done.stdout
    assert not re.search(r"^tests/", done.stdout, re.MULTILINE), done.stdout


def test_mistakes_with_mypy() -> None:
    done = run("mypy", str(MISTAKES))
    found = re.findall(r"programs\.py:(\d+): error:", done.stdout)
    assert sorted({int(number) for number in found}) == marked_lines(), done.stdout


@newest_redis
def test_package_with_mypy() -> None:
    done = run("mypy")
    assert done.returncode == 0, done.stdout


@newest_redis
def test_package_and_programs_with_pyright(pyright: tuple[str, ...]) -> None:
    done = run(*pyright)
    assert done.returncode == 0, done.stdout
    assert "0 errors" in done.stdout


def test_mistakes_with_pyright(pyright: tuple[str, ...]) -> None:
    done = run(*pyright, "--outputjson", str(MISTAKES))
    found = [
        item["range"]["start"]["line"] + 1
        for item in json.loads(done.stdout)["generalDiagnostics"]
        if item["severity"] == "error" and item["file"] == str(MISTAKES)
    ]
    assert sorted(set(found)) == marked_lines(), done.stdout


@newest_redis
def test_all_public_types_are_known(pyright: tuple[str, ...]) -> None:
    """None is missing, and none is left to each type checker to infer."""
    done = run(
        *("pyright", "--verifytypes", "aiecs_redis", "--ignoreexternal", "--outputjson"),
        # It does not heed --pythonpath.
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        VIRTUAL_ENV=sys.prefix,
        PYTHONPATH=str(ROOT),
    )
    report = json.loads(done.stdout)["typeCompleteness"]
    assert len(report["symbols"]) > 500
    assert [
        (symbol["name"], [item["message"] for item in symbol["diagnostics"]])
        for symbol in report["symbols"]
        if symbol["isTypeAmbiguous"] or not symbol["isTypeKnown"]
    ] == []


@newest_redis
def test_stubs_of_native() -> None:
    done = run("mypy.stubtest", "aiecs_redis._native")
    assert done.returncode == 0, done.stdout
