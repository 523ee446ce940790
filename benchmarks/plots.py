"""The plots of a run: speed, concurrency, CPU, latency at fixed rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Optional

from benchmarks.clients import CLIENTS, DOCUMENTED, OURS
from benchmarks.report import Report
from benchmarks.summary import INTERVAL_FROM, Summary
from benchmarks.svg import COLORS, Drawing, Scale, around, short
from benchmarks.workloads import AT_RATE, SWEEP, WORKLOADS

WIDTH = 860
ROW = 27
Figure = Callable[[str, str], Optional[Summary]]


def draw_all(found: Report) -> dict[str, str]:
    """By name; those the run has no figures for are left out."""
    drawings = {
        "speed": _speed(found),
        "cpu": _cpu(found),
        "concurrency": _concurrency(found),
        "latency": _latency(found),
    }
    return {name: drawing.as_text() for name, drawing in drawings.items() if drawing is not None}


def color_of(client: str) -> str:
    return COLORS[list(CLIENTS).index(client)]


def _compared(found: Report) -> list[str]:
    return [client for client in found.clients if client != DOCUMENTED]


def _speed(found: Report) -> Drawing | None:
    loop = found.loops[0] if found.loops else ""
    return _dots(
        found,
        "Commands per second (more is better, logarithmic)",
        loop,
        lambda name, client: found.summary(name, client, loop, "per_second"),
        _fastest_over,
    )


def _cpu(found: Report) -> Drawing | None:
    loop = found.loops[0] if found.loops else ""
    return _dots(
        found,
        "Client CPU per command, µs (less is better, logarithmic)",
        loop,
        lambda name, client: found.summary(name, client, loop, "cpu_us"),
        _least_under,
    )


def _fastest_over(ours: float, theirs: Sequence[float]) -> float:
    return ours / max(theirs)


def _least_under(ours: float, theirs: Sequence[float]) -> float:
    return min(theirs) / ours


def _dots(
    found: Report,
    title: str,
    loop: str,
    figure: Figure,
    times: Callable[[float, Sequence[float]], float],
) -> Drawing | None:
    """A row for each workload, a dot for each client, a whisker for its confidence interval."""
    clients = _compared(found)
    rows = []
    for name in found.workloads(loop):
        summaries = {client: figure(name, client) for client in clients}
        present = {client: summary for client, summary in summaries.items() if summary}
        if present:
            rows.append((name, present))
    if not rows:
        return None
    left, right, top = 215, WIDTH - 70, 74
    drawing = Drawing(WIDTH, top + ROW * len(rows) + 46, title)
    bottom = top + ROW * len(rows)
    drawing.text(12, 24, title, "title")
    drawing.legend(12, 48, clients, [color_of(client) for client in clients])
    drawing.text(WIDTH - 12, 48, "x best other", "small", "end")
    scale = around(
        [summary.mean for _, present in rows for summary in present.values()], left, right
    )
    for tick in scale.ticks():
        drawing.line(scale(tick), top - 8, scale(tick), bottom)
        drawing.text(scale(tick), bottom + 18, short(tick), "small", "middle")
    for number, (name, present) in enumerate(rows):
        y = top + ROW * number + ROW / 2
        drawing.line(left, y, right, y)
        drawing.text(left - 10, y + 4, WORKLOADS[name].title, anchor="end")
        for client, summary in present.items():
            tip = f"{client}: {summary.mean:,.1f} ({summary.low:,.1f}..{summary.high:,.1f})"
            _whisker(drawing, scale(summary.low), y, scale(summary.high), y)
            radius = 6 if client == OURS else 4.5
            drawing.dot(scale(summary.mean), y, color_of(client), tip, radius)
        theirs = [summary.mean for client, summary in present.items() if client != OURS]
        if OURS in present and theirs:
            ratio = times(present[OURS].mean, theirs)
            drawing.text(WIDTH - 12, y + 4, f"{ratio:.1f}", "strong", "end")
    drawing.text(12, bottom + 38, _footnote(found, loop), "small")
    return drawing


def _whisker(drawing: Drawing, x1: float, y1: float, x2: float, y2: float) -> None:
    if abs(x2 - x1) + abs(y2 - y1) > 1:
        drawing.line(x1, y1, x2, y2, "whisker")


def _footnote(found: Report, loop: str) -> str:
    facts, rounds = found.facts, found.run.rounds
    whiskers = "95 % confidence" if rounds >= INTERVAL_FROM else "the least and the most"
    made = f"means of {rounds} rounds, whiskers: {whiskers}" if rounds > 1 else "one round"
    return (
        f"{loop}; {made}; {facts['cores']} "
        f"cores with the server, {facts['python']}, Redis {facts['redis-server']}, {facts['date']}"
    )


class _Panel:
    """Axes of a line chart, both logarithmic."""

    def __init__(
        self, drawing: Drawing, place: tuple[float, float, float, float], x: Scale, y: Scale
    ) -> None:
        left, _, right, bottom = place
        self.drawing, self.x, self.y = drawing, x, y
        for tick in y.ticks():
            drawing.line(left, y(tick), right, y(tick))
            drawing.text(left - 6, y(tick) + 4, short(tick), "small", "end")
        drawing.line(left, bottom, right, bottom)
        self.bottom = bottom

    def mark(self, value: float) -> None:
        self.drawing.text(self.x(value), self.bottom + 16, short(value), "small", "middle")


def _concurrency(found: Report) -> Drawing | None:
    loop = found.loops[0] if found.loops else ""
    ran = [tasks for tasks in SWEEP if f"get-{tasks}" in found.workloads(loop)]
    if len(ran) < 2:
        return None
    clients = _compared(found)
    title = "GET per second, by the number of tasks (both logarithmic)"
    lines: dict[str, list[tuple[int, Summary]]] = {}
    for client in clients:
        summaries = [
            (tasks, found.summary(f"get-{tasks}", client, loop, "per_second")) for tasks in ran
        ]
        lines[client] = [(tasks, summary) for tasks, summary in summaries if summary]
    height, left, top, right, bottom = 430, 60, 74, WIDTH - 24, 360
    drawing = Drawing(WIDTH, height, title)
    drawing.text(12, 24, title, "title")
    drawing.legend(12, 48, clients, [color_of(client) for client in clients])
    values = [summary.mean for points in lines.values() for _, summary in points]
    panel = _Panel(
        drawing,
        (left, top, right, bottom),
        Scale(ran[0], ran[-1], left + 20, right - 30),
        around(values, bottom, top),
    )
    for tasks in ran:
        panel.mark(tasks)
    drawing.text((left + right) / 2, bottom + 34, "tasks", "small", "middle")
    for client, points in lines.items():
        places = [(panel.x(tasks), panel.y(summary.mean)) for tasks, summary in points]
        drawing.path(places, color_of(client), width=3 if client == OURS else 2)
        for (tasks, summary), (x, y) in zip(points, places):
            _whisker(drawing, x, panel.y(summary.low), x, panel.y(summary.high))
            drawing.dot(x, y, color_of(client), f"{client}, {tasks:,}: {summary.mean:,.0f}/s")
    drawing.text(12, height - 12, _footnote(found, loop), "small")
    return drawing


def _latency(found: Report) -> Drawing | None:
    rates = [name for name in found.plan.workloads if name in AT_RATE]
    clients = _compared(found)
    latencies = {
        (client, name): latency
        for client in clients
        for name in rates
        if (latency := found.latency(name, client)) is not None and latency.keeps_up
    }
    if len(rates) < 2 or not latencies:
        return None
    title = "Latency at a fixed offered rate, µs (less is better, both logarithmic)"
    height, top, bottom, gap = 412, 94, 320, 46
    drawing = Drawing(WIDTH, height, title)
    drawing.text(12, 24, title, "title")
    drawing.legend(12, 48, clients, [color_of(client) for client in clients])
    panels = (("median", 0), ("99 %", 1), ("99.9 %", 2))
    width = (WIDTH - 30 - gap * len(panels)) / len(panels)
    values = [value for latency in latencies.values() for value in latency[:3]]
    offered = [AT_RATE[name] for name in rates]
    for label, number in panels:
        left = gap + number * (width + gap)
        right = left + width
        drawing.text((left + right) / 2, top - 16, label, "strong", "middle")
        panel = _Panel(
            drawing,
            (left, top, right, bottom),
            Scale(min(offered), max(offered), left + 12, right - 12),
            around(values, bottom, top),
        )
        for rate in offered:
            panel.mark(rate)
        for client in clients:
            points = [
                (panel.x(AT_RATE[name]), panel.y(latencies[client, name][number]))
                for name in rates
                if (client, name) in latencies
            ]
            drawing.path(points, color_of(client), width=3 if client == OURS else 2)
            for x, y in points:
                drawing.dot(x, y, color_of(client))
    drawing.text(WIDTH / 2, bottom + 36, "GET per second offered", "small", "middle")
    drawing.text(
        12,
        height - 30,
        "From the moment each command was due. A line ends where its client does not keep up.",
        "small",
    )
    drawing.text(12, height - 12, _footnote(found, found.plan.loops[0]), "small")
    return drawing
