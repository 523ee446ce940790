"""The table of docs/reliability.md: which cases there are, and writing what was measured."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import redis

from aiecs_redis.testing import find_server

BEGIN = "<!-- measured: begin (written by `make reliability`) -->"
END = "<!-- measured: end -->"
OURS, REDIS_PY = "aiecs_redis", "redis-py"

CASES = {
    "oracle": "Reply oracle: cancels and timeouts in every phase",
    "oracle-late": "Reply oracle: `socket_timeout` expires, replies come late",
    "kill": "`kill -9` under 1,000 INCR tasks, `appendfsync always`",
    "pops": "Cancelled BLPOP",
    "replay": "Replay by category and cut point",
    "replay-retry": "Replay with an explicit `retry=`",
    "sigstop": "Server stopped (SIGSTOP): deadline",
    "half-open": "Half-open TCP, all packets dropped: deadline",
    "trickle": "One byte a second: deadline",
    "no-reading": "Server stops reading, 10,000 x 1 MB queued",
    "errors": "Server errors x single, pipeline, MULTI, pub/sub",
    "loading": "Server loading its data: waited for",
    "two-connections": "`max_connections=2`, 10,000 tasks, one blocking",
    "bulk": "128 MB GET, 100 BLPOP, 64 MB SET in flight: PING",
    "tls": "TLS matrix",
    "rotation": "Password rotation under load",
    "secrets": "Secrets in repr, log, exception",
    "outage": "Total outage, 1,000 clients",
    "outage-breaker": "Total outage, 1,000 clients with a circuit breaker",
    "recovery": "Server killed and started, 1,000 clients: the way back",
    "recovery-breaker": "The same with a circuit breaker",
    "cluster-slots": "Cluster: slots moved under load",
    "cluster-failovers": "Cluster: failovers, forced failovers, `kill -9` under load",
    "cluster-pause": "Cluster: masters stopped for a moment (SIGSTOP) under load",
    "cluster-ports": "Cluster: nodes back at other ports under load",
    "cluster-all": "Cluster: slots moved, masters replaced, nodes at other ports in turns",
    "sentinel-failovers": "Sentinel: failovers, `kill -9`, SIGSTOP of the master under load",
}


class Figures:
    """Collects one text for each case and client."""

    def __init__(self) -> None:
        self.measured: dict[str, dict[str, str]] = {}

    def add(self, case: str, text: str, client: str = OURS) -> None:
        assert case in CASES, case
        self.measured.setdefault(case, {})[client] = text

    def write(self, path: Path) -> None:
        """Replace the part between the markers; what was not run keeps its cell."""
        before, _, rest = path.read_text().partition(BEGIN)
        old, _, after = rest.partition(END)
        kept = {}
        for line in old.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            if line.startswith("| ") and len(cells) == 3:
                kept[cells[0]] = {OURS: cells[1], REDIS_PY: cells[2]}
        lines = [BEGIN, "", _machine(), "", f"| Case | {OURS} | {REDIS_PY} |", "|---|---|---|"]
        for case, title in CASES.items():
            found = {**kept.get(title, {}), **self.measured.get(case, {})}
            if found:
                lines.append(f"| {title} | {found.get(OURS, '')} | {found.get(REDIS_PY, '')} |")
        path.write_text(before + "\n".join([*lines, "", END]) + after)


def _machine() -> str:
    program = find_server() or "redis-server"
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    server = version.split("v=")[1].split()[0] if "v=" in version else "?"
    return (
        f"CPython {platform.python_version()}, redis-server {server}, redis-py "
        f"{redis.__version__}, {platform.system()} {platform.machine()}, {os.cpu_count()} "
        "processors shared with the server."
    )
