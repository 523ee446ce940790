"""Where and with what a run was made."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

from benchmarks import data
from benchmarks.address import Address
from benchmarks.clients import Client


def describe(address: Address, clients: list[Client]) -> dict[str, str]:
    with data.connect(address) as client:
        server = client.info("server")
    facts = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "redis-server": str(server["redis_version"]),
    }
    distributions = ["uvloop", "aiecs-redis"]
    for client_ in clients:
        distributions += client_.distributions
    for name in distributions:
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
