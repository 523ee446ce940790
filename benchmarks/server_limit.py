"""What the server itself can do: the same commands, in the same numbers on their way, sent over one
connection by its own benchmark tool, which is C and builds nothing of the replies."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from typing import NamedTuple

from benchmarks import data
from benchmarks.address import Address

TOOL = "redis-benchmark"
TRIAL = 2_000  # commands, to learn how many fill the time


class ToolError(Exception):
    """The tool has failed."""


class Load(NamedTuple):
    at_once: int  # commands on their way
    command: tuple[str, ...]

    def __str__(self) -> str:
        pipeline = f" -P {self.at_once}" if self.at_once > 1 else ""
        return f"{TOOL} -c 1{pipeline} {self.command[0]}"


_GET = ("GET", data.value_key(0))

LOADS = {
    "get-1": Load(1, _GET),
    "get-50": Load(50, _GET),
    "set-50": Load(50, ("SET", data.written_key(0), data.value(0).decode(), "EX", "60")),
    "hgetall-50": Load(50, ("HGETALL", data.hash_key(0))),
    "pipeline-100": Load(100, _GET),
    "large-8": Load(8, ("GET", data.large_key(0))),
}
"""By workload, those that the tool can imitate."""


def available() -> bool:
    return shutil.which(TOOL) is not None


def measure_server(address: Address, load: Load, seconds: float) -> float:
    """Return commands per second; the keys are those of `data.seed`.

    Raises:
        ToolError: the tool has failed.
    """
    return _per_second(address, load, max(TRIAL, int(_per_second(address, load, TRIAL) * seconds)))


def _per_second(address: Address, load: Load, count: int) -> float:
    where = ["-h", address.host, "-p", str(address.port)]
    how = ["-c", "1", "-P", str(load.at_once), "-n", str(count), "--csv"]
    done = subprocess.run([TOOL, *where, *how, *load.command], capture_output=True, text=True)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    if done.returncode or not rows:
        raise ToolError(f"{TOOL} failed: {(done.stderr + done.stdout).strip()}")
    return float(rows[-1]["rps"])
