"""Writes a run into the documentation: tables between markers, plots, all samples beside them.

<!-- benchmarks:NAME -->
replaced by the table of that name
<!-- /benchmarks -->
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Callable

from benchmarks import plots
from benchmarks.clients import DOCUMENTED, OURS, REDIS_PY
from benchmarks.report import Report, times_text
from benchmarks.server_limit import LOADS
from benchmarks.summary import summarize
from benchmarks.tables import Table
from benchmarks.workloads import WORKLOADS

FOLDER = "docs/performance"
SAMPLES = "results.json"
PAGES = ("README.md", "docs/performance.md")
MARKED = re.compile(r"(<!-- benchmarks:([\w-]+) -->\n).*?(<!-- /benchmarks -->)", re.DOTALL)


class UnknownBlock(Exception):
    """A page asks for a table that there is none of."""


def publish(found: Report, root: Path) -> None:
    """Write the samples and plots into FOLDER, and the tables into PAGES, of the repository."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    samples = json.dumps(found.content, indent=None, separators=(",", ":"))
    (folder / SAMPLES).write_text(samples.replace('{"workload"', '\n{"workload"') + "\n", "utf-8")
    write_plots(found, folder)
    for name in PAGES:
        page = root / name
        page.write_text(fill(page.read_text("utf-8"), found), "utf-8")


def write_plots(found: Report, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawing in plots.draw_all(found).items():
        (folder / f"{name}.svg").write_text(drawing, "utf-8")


def fill(page: str, found: Report) -> str:
    """The page with what stands between its markers replaced.

    Raises:
        UnknownBlock: for a marker with another name than those of BLOCKS.
    """

    def block(match: re.Match[str]) -> str:
        name = match.group(2)
        if name not in BLOCKS:
            raise UnknownBlock(f"benchmarks:{name} is none of {', '.join(BLOCKS)}")
        return f"{match.group(1)}{BLOCKS[name](found)}\n{match.group(3)}"

    return MARKED.sub(block, page)


# ---- the blocks ----


def _speed(found: Report) -> str:
    """The shorter table, for the README."""
    loop = found.loops[0]
    clients = [client for client in found.clients if client != DOCUMENTED]
    others = [client for client in clients if client != OURS]
    rows = []
    for name in found.workloads(loop):
        rates = {client: found.summary(name, client, loop, "per_second") for client in clients}
        times = [found.times(name, loop, [REDIS_PY]), found.times(name, loop, others)]
        cells = [
            found.gap(name, client, loop)
            if rate is None
            else _emphasized(f"{rate.mean:,.0f}", client == OURS)
            for client, rate in rates.items()
        ]
        rows.append((WORKLOADS[name].title, *cells, *map(times_text, times)))
    header = ("operations per second", *clients, "x redis-py", "x best other")
    return _bare(Table("", header, rows)) + "\n\n" + _made(found)


def _emphasized(text: str, strongly: bool) -> str:
    return f"**{text}**" if strongly else text


def _made(found: Report) -> str:
    facts = found.facts
    rounds = found.run.rounds
    means = "One round" if rounds == 1 else f"Means of {rounds} interleaved rounds"
    lines = [
        f"{means}, a fresh process for each cell, on {facts['cores']} cores shared with the "
        f"server: Redis {facts['redis-server']}, {facts['python']}, redis-py "
        f"{facts.get('redis', '?')} with hiredis, {facts['date']}. {found.about_ratios()}"
    ]
    limits = {
        name: summarize(list(rates.values())).mean for name, rates in found.run.limits.items()
    }
    if "get-50" in limits and "get-1" in limits:
        lines.append(
            f"In the same run `{LOADS['get-50']}` made {limits['get-50']:,.0f}/s, and "
            f"`{LOADS['get-1']}` without pipelining {limits['get-1']:,.0f}/s."
        )
    return " ".join(lines)


def _bare(table: Table) -> str:
    return table.as_markdown().partition("\n\n")[2]


def _full_speed(found: Report) -> str:
    return "\n\n".join(found.speed(loop).as_markdown() for loop in found.loops)


def _cpu(found: Report) -> str:
    return "\n\n".join(found.cpu(loop).as_markdown() for loop in found.loops)


BLOCKS: dict[str, Callable[[Report], str]] = {
    "speed": _speed,
    "all-speed": _full_speed,
    "cpu": _cpu,
    "latency": lambda found: found.latencies().as_markdown(),
    "limit": lambda found: found.server_limit().as_markdown(),
    "memory": lambda found: found.memory().as_markdown(),
    "made": _made,
    "clients": lambda found: found.configurations(),
    "circumstances": lambda found: found.circumstances(),
    "gaps": lambda found: "\n".join(f"- {line}" for line in found.gaps()) or "No cell failed.",
}
