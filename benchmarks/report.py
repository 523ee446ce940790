"""The tables of a run: speed beside its targets, spread, CPU, latency, memory, server limit."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Callable, NamedTuple

from benchmarks.cell import FLOOR, Cell
from benchmarks.clients import CLIENTS, DOCUMENTED, OURS, REDIS_PY
from benchmarks.open_loop import percentiles
from benchmarks.run import Plan, Run
from benchmarks.server_limit import LOADS
from benchmarks.summary import Summary, interval_of, ratio, summarize
from benchmarks.tables import Table
from benchmarks.workloads import (
    AT_RATE,
    CONNECTIONS,
    CONNECTIONS_TITLE,
    DOCUMENTED_OF,
    DOCUMENTED_TARGET,
    MEMORY,
    MEMORY_TARGET_MIB,
    MEMORY_TITLE,
    SERVER_LIMIT_TARGETS,
    WORKLOADS,
)

NOTHING = "-"
PER_SECOND, CPU = "per_second", "cpu_us"
KIB = 1024
ERROR_CHARACTERS = 150


class Latency(NamedTuple):
    """At a fixed rate; microseconds, over all rounds together."""

    p50: float
    p99: float
    p999: float
    keeps_up: bool  # in most rounds


class Report:
    """Of what `python -m benchmarks --json` wrote."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.facts: dict[str, str] = content["facts"]
        self.plan = Plan(**content["plan"])
        self.run = Run.from_json(content)
        self.clients = list(self.plan.clients)
        self.loops = [loop for loop in ("asyncio", "uvloop") if self.workloads(loop)]

    # ---- figures ----

    def workloads(self, loop: str) -> list[str]:
        """Those that were run on this loop."""
        tried = (*self.run.cells, *self.run.failures)
        ran = {cell.workload for cell in tried if cell.loop == loop}
        return [name for name in self.plan.workloads if name in WORKLOADS and name in ran]

    def summary(self, name: str, client: str, loop: str, figure: str) -> Summary | None:
        samples = self.run.samples(Cell(name, client, loop), figure)
        return summarize(list(samples.values())) if samples else None

    def times(
        self, name: str, loop: str, clients: Sequence[str], figure: str = PER_SECOND
    ) -> Summary | None:
        """How many times as fast as the fastest of these clients ours is, or as sparing of CPU.

        Of every round the ratio is taken, and of these the mean and the interval.
        """
        ours = self.run.samples(Cell(name, OURS, loop), figure)
        found = []
        for client in clients:
            theirs = self.run.samples(Cell(name, client, loop), figure)
            both = sorted(ours.keys() & theirs.keys())
            if client != OURS and both:
                pair = [ours[n] for n in both], [theirs[n] for n in both]
                found.append(ratio(*pair) if figure == PER_SECOND else ratio(*reversed(pair)))
        return min(found, default=None)

    def latency(self, name: str, client: str) -> Latency | None:
        cell = Cell(name, client, self.plan.loops[0])
        histograms = self.run.samples(cell, "histogram").values()
        if not histograms:
            return None
        together: Counter[int] = Counter()
        for histogram in histograms:
            together.update({int(bucket): count for bucket, count in histogram.items()})
        found = percentiles(together)
        keeps_up = statistics.median(self.run.samples(cell, "keeps_up").values()) >= 0.5
        return Latency(found["p50_us"], found["p99_us"], found["p999_us"], keeps_up)

    def growth_mib(self, name: str, client: str) -> float | None:
        found = self.run.samples(Cell(name, client, self.plan.loops[0]), "growth_mib")
        return next(iter(found.values()), None)

    # ---- tables ----

    def tables(self) -> Iterator[Table]:
        for loop in self.loops:
            yield self.speed(loop)
            interval = interval_of(self.run.rounds)
            if interval:
                yield self._per_client(f"Commands per second: {interval}", loop, self._spread)
            yield self.cpu(loop)
            yield self._per_client(
                "Latency p50 / p99 under that load, µs",
                loop,
                self._loaded_latency,
                "Of one operation: for gather, pipelines and messages the whole batch.",
            )
            yield self._per_client("Peak resident memory, MiB", loop, self._peak)
        if any(name in AT_RATE for name in self.plan.workloads):
            yield self.latencies()
        if self.run.limits:
            yield self.server_limit()
        others = list(self._others())
        if others:
            yield Table("Further targets", ("", "measured", "target", ""), others)

    def speed(self, loop: str) -> Table:
        header = ("workload", *self.clients, "x redis-py", "target", "x best other", "target", "")
        others = [name for name in self.clients if not CLIENTS[name].ours]
        rows = []
        for name in self.workloads(loop):
            workload = WORKLOADS[name]
            to_redis_py = self.times(name, loop, [REDIS_PY])
            to_best = self.times(name, loop, others)
            targets = (workload.times_redis_py, workload.times_best_other)
            rows.append(
                (
                    workload.title,
                    *(self._text(name, client, loop, self._rate) for client in self.clients),
                    times_text(to_redis_py),
                    _target_text(targets[0]),
                    times_text(to_best),
                    _target_text(targets[1]),
                    _verdict(_reached((to_redis_py, to_best), targets)),
                )
            )
        return Table(f"Commands per second ({loop})", header, rows, self.about_ratios())

    def cpu(self, loop: str) -> Table:
        return self._per_client("Client CPU per command, µs", loop, self._cpu)

    def latencies(self) -> Table:
        rows = []
        for name in self.plan.workloads:
            if name not in AT_RATE:
                continue
            cells = [
                self._latency_text(name, client) or self.gap(name, client, self.plan.loops[0])
                for client in self.clients
            ]
            rows.append((f"{AT_RATE[name]:,} GET/s", *cells))
        return Table(
            "Latency p50 / p99 / p99.9 at a fixed rate, µs",
            ("offered", *self.clients),
            rows,
            "From the moment each command was due; (late): the client does not keep up.",
        )

    def _latency_text(self, name: str, client: str) -> str:
        latency = self.latency(name, client)
        if latency is None:
            return ""
        text = f"{latency.p50:,.0f} / {latency.p99:,.0f} / {latency.p999:,.0f}"
        return text if latency.keeps_up else "(late)"

    def memory(self) -> Table:
        rows = []
        for client in (FLOOR, *self.clients):
            cells = [self._memory_text(MEMORY, client, 1, 1)]
            cells.append(self._memory_text(CONNECTIONS, client, KIB, 0))
            if any(cell != NOTHING for cell in cells):
                rows.append((client, *cells))
        header = ("", "10,000 waiting tasks, MiB", "a client with one connection, KiB")
        return Table("Memory", header, rows)

    def _memory_text(self, name: str, client: str, times: int, digits: int) -> str:
        growth = self.growth_mib(name, client)
        if growth is None:
            return self.gap(name, client, self.plan.loops[0])
        return f"{growth * times:,.{digits}f}"

    def server_limit(self) -> Table:
        """What the server's own tool makes of the same load, and which part of that we do."""
        loop = self.plan.loops[0]
        rows = []
        for name, rates in self.run.limits.items():
            ours = self.run.samples(Cell(name, OURS, loop), PER_SECOND)
            both = sorted(ours.keys() & rates.keys())
            part = ratio([ours[n] for n in both], [rates[n] for n in both]) if both else None
            target = SERVER_LIMIT_TARGETS.get(name)
            rows.append(
                (
                    WORKLOADS[name].title,
                    f"`{LOADS[name]}`",
                    f"{summarize(list(rates.values())).mean:,.0f}",
                    self._text(name, OURS, loop, self._rate),
                    times_text(part, 2),
                    _target_text(target),
                    _verdict(_reached([part], [target])),
                )
            )
        header = ("workload", "the server's own tool", "per second", OURS, "part", "target", "")
        return Table("Beside the server's own limit", header, rows)

    def configurations(self) -> str:
        return "\n".join(f"- {name}: {CLIENTS[name].configuration}." for name in self.clients)

    def circumstances(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in self.facts.items())
        counted = list(dict.fromkeys(f"{seconds:.2g}" for seconds in self.run.seconds))
        return f"{rounds_text(self.run.rounds)} of {' and '.join(counted)} s; {facts}"

    def about_ratios(self) -> str:
        """What stands behind a ratio, and whether it has an interval."""
        interval = interval_of(self.run.rounds)
        if not interval:
            return "With one round the ratios have no interval."
        return f"Ratios are taken within each round; in brackets: {interval}."

    def gaps(self) -> list[str]:
        """Why a cell has no figure, or one of fewer rounds."""
        lines = []
        for cell, failures in self.run.failures.items():
            last = failures[-1]
            said = " ".join(last.error.split())[:ERROR_CHARACTERS]
            often = "" if len(failures) == 1 else f" ({len(failures)} times)"
            what = "a wrong reply" if last.wrong else "failed"
            lines.append(f"{cell.workload}, {cell.client}, {cell.loop}: {what}{often}: {said}")
        return lines

    def _per_client(
        self, title: str, loop: str, text: Callable[[str, str, str], str], note: str = ""
    ) -> Table:
        rows = [
            (
                WORKLOADS[name].title,
                *(self._text(name, client, loop, text) for client in self.clients),
            )
            for name in self.workloads(loop)
        ]
        return Table(f"{title} ({loop})", ("workload", *self.clients), rows, note)

    def _others(self) -> Iterator[tuple[str, str, str, str]]:
        loop = self.plan.loops[0]
        for name in DOCUMENTED_OF:
            documented = self.run.samples(Cell(name, DOCUMENTED, loop), PER_SECOND)
            ours = self.run.samples(Cell(name, OURS, loop), PER_SECOND)
            both = sorted(ours.keys() & documented.keys())
            if both:
                part = ratio([documented[n] for n in both], [ours[n] for n in both]).mean
                yield (
                    f"{WORKLOADS[name].title}: RedisClient as a part of Redis",
                    f"{part:.2f}",
                    f"{DOCUMENTED_TARGET:g}",
                    _verdict(part >= DOCUMENTED_TARGET),
                )
        for client in (FLOOR, *self.clients):
            growth = self.growth_mib(MEMORY, client)
            if growth is not None:
                ours = client == OURS
                yield (
                    f"{MEMORY_TITLE}: {client}",
                    f"{growth:.1f} MiB",
                    f"{MEMORY_TARGET_MIB:g} MiB" if ours else "",
                    _verdict(growth <= MEMORY_TARGET_MIB) if ours else "",
                )
        for client in self.clients:
            growth = self.growth_mib(CONNECTIONS, client)
            if growth is not None:
                yield (f"{CONNECTIONS_TITLE}: {client}", f"{growth * KIB:,.0f} KiB", "", "")

    def _text(self, name: str, client: str, loop: str, text: Callable[[str, str, str], str]) -> str:
        cell = Cell(name, client, loop)
        if self.run.cells.get(cell):
            return text(name, client, loop)
        return self.gap(name, client, loop)

    def gap(self, name: str, client: str, loop: str) -> str:
        """What stands in the place of a figure: "wrong", "failed", or that there is none."""
        failures = self.run.failures.get(Cell(name, client, loop))
        if not failures:
            return NOTHING
        return "wrong" if failures[-1].wrong else "failed"

    def _mean(self, name: str, client: str, loop: str, figure: str) -> float:
        found = self.summary(name, client, loop, figure)
        assert found is not None
        return found.mean

    def _rate(self, name: str, client: str, loop: str) -> str:
        return f"{self._mean(name, client, loop, PER_SECOND):,.0f}"

    def _spread(self, name: str, client: str, loop: str) -> str:
        summary = self.summary(name, client, loop, PER_SECOND)
        assert summary is not None
        return f"{summary.low:,.0f}..{summary.high:,.0f}"

    def _cpu(self, name: str, client: str, loop: str) -> str:
        return f"{self._mean(name, client, loop, CPU):.1f}"

    def _loaded_latency(self, name: str, client: str, loop: str) -> str:
        middle = self._mean(name, client, loop, "p50_us")
        late = self._mean(name, client, loop, "p99_us")
        return f"{middle:,.0f} / {late:,.0f}"

    def _peak(self, name: str, client: str, loop: str) -> str:
        results = self.run.cells[Cell(name, client, loop)].values()
        return f"{statistics.median(result.peak_rss_mib for result in results):.0f}"


def rounds_text(rounds: int) -> str:
    return "1 round" if rounds == 1 else f"{rounds} rounds"


def times_text(times: Summary | None, digits: int = 1) -> str:
    if times is None:
        return NOTHING
    if times.low == times.high:
        return f"{times.mean:.{digits}f}"
    return f"{times.mean:.{digits}f} ({times.low:.{digits}f}..{times.high:.{digits}f})"


def _target_text(times: float | None) -> str:
    return NOTHING if times is None else f"{times:g}"


def _reached(times: Sequence[Summary | None], targets: Sequence[float | None]) -> bool | None:
    """Whether all targets are; None when there is none, or nothing to compare with."""
    reached = True
    for found, target in zip(times, targets):
        if found is None or target is None:
            return None
        reached = reached and found.mean >= target
    return reached


def _verdict(reached: bool | None) -> str:
    if reached is None:
        return ""
    return "reached" if reached else "missed"
