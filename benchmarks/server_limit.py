"""What the server itself can do, as its own benchmark tool sees it over one connection."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from dataclasses import dataclass

from benchmarks.data import VALUE_BYTES
from benchmarks.server import Address

PIPELINE = 50
TOOL = "redis-benchmark"
EXPECTED_PIPELINED = 700_000  # per second; only to choose how many commands fill the time
EXPECTED_SINGLE = 30_000


@dataclass(frozen=True)
class ServerLimit:
    pipelined: float  # GET per second, -c 1 -P 50
    single: float  # GET per second, -c 1


def available() -> bool:
    return shutil.which(TOOL) is not None


def measure_server(address: Address, seconds: float) -> ServerLimit:
    _requests(address, "set", 1, 1)  # the key that `-t get` reads
    return ServerLimit(
        pipelined=_requests(address, "get", PIPELINE, int(EXPECTED_PIPELINED * seconds)),
        single=_requests(address, "get", 1, int(EXPECTED_SINGLE * seconds)),
    )


def _requests(address: Address, test: str, pipeline: int, count: int) -> float:
    where = ["-h", address.host, "-p", str(address.port)]
    load = ["-t", test, "-c", "1", "-P", str(pipeline), "-n", str(count), "-d", str(VALUE_BYTES)]
    done = subprocess.run(
        [TOOL, *where, *load, "--csv"], capture_output=True, text=True, check=True
    )
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    return float(rows[-1]["rps"])
