"""The examples of examples/operations run, and say what they are to show."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

SHOWS = {
    "monitoring": ["'status': 'healthy'", "GET          1000", "slow: BLPOP example:nothing"],
    "alerts": ["'rule': 'crowd'", "firing: ['crowd']", "log: Redis alert crowd: "],
    "exporting": ['"status": "ready"', 'redis_up{client="example"} 1.0', 'command="SET"'],
    "tracing": ["SET: {'db.system.name': 'redis'", "GET /users/1: {}"],
}


def test_every_example_is_run():
    names = {path.stem for path in (ROOT / "examples" / "operations").glob("*.py")}
    assert names - {"__init__", "run"} == set(SHOWS)


@pytest.mark.parametrize("name", SHOWS)
def test_example(environment, name):
    if name == "exporting":
        pytest.importorskip("prometheus_client")
    if name == "tracing":
        pytest.importorskip("opentelemetry.sdk")
    done = subprocess.run(
        [sys.executable, "-m", f"examples.operations.{name}"],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for text in SHOWS[name]:
        assert text in done.stdout + done.stderr
