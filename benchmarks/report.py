"""The tables of a run: speed beside its targets, spread, CPU, latency, memory, server limit."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Callable

from benchmarks.cell import FLOOR, Cell
from benchmarks.clients import CLIENTS, DOCUMENTED, OURS, REDIS_PY
from benchmarks.run import Plan, Run
from benchmarks.summary import Summary, summarize
from benchmarks.tables import Table
from benchmarks.workloads import (
    DOCUMENTED_OF,
    DOCUMENTED_TARGET,
    MEMORY,
    MEMORY_TARGET_MIB,
    MEMORY_TITLE,
    SERVER_LIMIT,
    SERVER_LIMIT_OF,
    SERVER_LIMIT_TARGET,
    SERVER_LIMIT_TITLE,
    WORKLOADS,
)

NOTHING = "-"


def tables(plan: Plan, run: Run) -> list[Table]:
    made = []
    for loop in plan.loops:
        made += list(_Report(plan, run, loop).tables())
    return made


class _Report:
    def __init__(self, plan: Plan, run: Run, loop: str) -> None:
        self.run = run
        self.loop = loop
        self.workloads = [WORKLOADS[name] for name in plan.workloads if name in WORKLOADS]
        self.extras = [name for name in plan.workloads if name not in WORKLOADS]
        self.clients = list(plan.clients)

    def tables(self) -> Iterator[Table]:
        if self.workloads:
            yield self._speed()
            yield self._per_client("Spread: commands per second, low..high", self._spread)
            yield self._per_client("Client CPU per command, µs", self._cpu)
            yield self._per_client(
                "Latency p50 / p99 under that load, µs",
                self._latency,
                "Of one operation: for gather, pipelines and messages the whole batch.",
            )
            yield self._per_client("Peak resident memory, MiB", self._peak)
        others = list(self._others())
        if others:
            yield Table(f"Further targets ({self.loop})", ("", "measured", "target", ""), others)

    def _speed(self) -> Table:
        header = ("workload", *self.clients, "x redis-py", "target", "x best other", "target", "")
        rows = []
        for workload in self.workloads:
            cells = [self._text(workload.name, client, self._rate) for client in self.clients]
            to_redis_py = self._times(workload.name, [REDIS_PY])
            to_best = self._times(
                workload.name, [name for name in self.clients if not CLIENTS[name].ours]
            )
            targets = (workload.times_redis_py, workload.times_best_other)
            rows.append(
                (
                    workload.title,
                    *cells,
                    _times_text(to_redis_py),
                    _target_text(targets[0]),
                    _times_text(to_best),
                    _target_text(targets[1]),
                    _verdict(_reached([to_redis_py, to_best], targets)),
                )
            )
        return Table(f"Commands per second, medians ({self.loop})", header, rows)

    def _per_client(self, title: str, text: Callable[[str, str], str], note: str = "") -> Table:
        rows = [
            (workload.title, *(self._text(workload.name, client, text) for client in self.clients))
            for workload in self.workloads
        ]
        return Table(f"{title} ({self.loop})", ("workload", *self.clients), rows, note)

    def _others(self) -> Iterator[tuple[str, str, str, str]]:
        for name in DOCUMENTED_OF:
            ours, documented = self._median(name, OURS), self._median(name, DOCUMENTED)
            if ours and documented:
                part = documented / ours
                yield (
                    f"{WORKLOADS[name].title}: RedisClient as a part of Redis",
                    f"{part:.2f}",
                    f"{DOCUMENTED_TARGET:g}",
                    _verdict(part >= DOCUMENTED_TARGET),
                )
        if MEMORY in self.extras:
            yield from self._memory()
        if SERVER_LIMIT in self.extras:
            yield from self._server_limit()

    def _memory(self) -> Iterator[tuple[str, str, str, str]]:
        for client in (FLOOR, *self.clients):
            growth = self._median(MEMORY, client, "growth_mib")
            if growth is None:
                continue
            ours = client == OURS
            yield (
                f"{MEMORY_TITLE}: {client}",
                f"{growth:.1f} MiB",
                f"{MEMORY_TARGET_MIB:g} MiB" if ours else "",
                _verdict(growth <= MEMORY_TARGET_MIB) if ours else "",
            )

    def _server_limit(self) -> Iterator[tuple[str, str, str, str]]:
        limits = self.run.limits
        if not limits:
            yield (SERVER_LIMIT_TITLE, "no redis-benchmark", f"{SERVER_LIMIT_TARGET:g}", "")
            return
        pipelined = statistics.median(limit.pipelined for limit in limits)
        single = statistics.median(limit.single for limit in limits)
        yield ("redis-benchmark -t get -c 1 -P 50", f"{pipelined:,.0f}/s", "", "")
        yield ("redis-benchmark -t get -c 1", f"{single:,.0f}/s", "", "")
        ours = self._median(SERVER_LIMIT_OF, OURS)
        if ours:
            part = ours / pipelined
            verdict = _verdict(part >= SERVER_LIMIT_TARGET)
            yield (SERVER_LIMIT_TITLE, f"{part:.2f}", f"{SERVER_LIMIT_TARGET:g}", verdict)

    def _text(self, name: str, client: str, text: Callable[[str, str], str]) -> str:
        cell = Cell(name, client, self.loop)
        if self.run.cells.get(cell):
            return text(name, client)
        return "failed" if cell in self.run.errors else NOTHING

    def _rate(self, name: str, client: str) -> str:
        return f"{self._summary(name, client, 'per_second').median:,.0f}"

    def _spread(self, name: str, client: str) -> str:
        summary = self._summary(name, client, "per_second")
        return f"{summary.low:,.0f}..{summary.high:,.0f}"

    def _cpu(self, name: str, client: str) -> str:
        return f"{self._summary(name, client, 'cpu_us').median:.1f}"

    def _latency(self, name: str, client: str) -> str:
        middle = self._summary(name, client, "p50_us").median
        late = self._summary(name, client, "p99_us").median
        return f"{middle:,.0f} / {late:,.0f}"

    def _peak(self, name: str, client: str) -> str:
        results = self.run.cells[Cell(name, client, self.loop)]
        return f"{statistics.median(result.peak_rss_mib for result in results):.0f}"

    def _summary(self, name: str, client: str, figure: str) -> Summary:
        return summarize(self.run.samples(Cell(name, client, self.loop), figure))

    def _median(self, name: str, client: str, figure: str = "per_second") -> float | None:
        samples = self.run.samples(Cell(name, client, self.loop), figure)
        return statistics.median(samples) if samples else None

    def _times(self, name: str, clients: list[str]) -> float | None:
        """How many times as fast as the fastest of these clients ours is."""
        ours = self._median(name, OURS)
        rates = [rate for rate in (self._median(name, client) for client in clients) if rate]
        return ours / max(rates) if ours and rates else None


def _times_text(times: float | None) -> str:
    return NOTHING if times is None else f"{times:.1f}"


def _target_text(times: float | None) -> str:
    return NOTHING if times is None else f"{times:g}"


def _reached(times: Sequence[float | None], targets: Sequence[float | None]) -> bool | None:
    """Whether all targets are; None when there is none, or nothing to compare with."""
    reached = True
    for found, target in zip(times, targets):
        if found is None or target is None:
            return None
        reached = reached and found >= target
    return reached


def _verdict(reached: bool | None) -> str:
    if reached is None:
        return ""
    return "reached" if reached else "missed"
