"""What a type checker sees: the programs in tests/typing, and the stubs against the module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import redis

pytest.importorskip("mypy")

ROOT = Path(__file__).parent.parent

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(redis.__version__ < "8", reason="older redis-py's annotations differ"),
]


def run(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout


def test_programs() -> None:
    run("mypy", "tests/typing")


def test_package() -> None:
    run("mypy")


def test_stubs() -> None:
    run("mypy.stubtest", "aiecs_redis._native")
