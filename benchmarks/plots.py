"""The plots of a run: speed, concurrency, CPU, latency at fixed rates."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.clients import CLIENTS, DOCUMENTED, OURS
from benchmarks.report import CPU, PER_SECOND, Report, rounds_text
from benchmarks.summary import Summary, interval_of
from benchmarks.svg import COLORS, Drawing, Scale, around, short
from benchmarks.workloads import AT_RATE, SWEEP, WORKLOADS

WIDTH = 860
ROW = 27


def draw_all(found: Report) -> dict[str, str]:
    """By name; those the run has no figures for are left out."""
    speed = "Commands per second (more is better, logarithmic)"
    cpu = "Client CPU per command, µs (less is better, logarithmic)"
    drawings = {
        "speed": _dots(found, speed, PER_SECOND),
        "cpu": _dots(found, cpu, CPU),
        "concurrency": _concurrency(found),
        "latency": _latency(found),
    }
    return {name: drawing.as_text() for name, drawing in drawings.items() if drawing is not None}


def color_of(client: str) -> str:
    return COLORS[list(CLIENTS).index(client)]


def _compared(found: Report) -> list[str]:
    return [client for client in found.clients if client != DOCUMENTED]


def _loop(found: Report) -> str:
    return found.loops[0] if found.loops else ""


def _begun(found: Report, title: str, height: float) -> Drawing:
    """A drawing with its title and the clients' colours."""
    clients = _compared(found)
    drawing = Drawing(WIDTH, round(height), title)
    drawing.text(12, 24, title, "title")
    drawing.legend(12, 48, clients, [color_of(client) for client in clients])
    return drawing


def _dots(found: Report, title: str, figure: str) -> Drawing | None:
    """A row for each workload, a dot for each client, a whisker for its confidence interval."""
    loop, clients = _loop(found), _compared(found)
    rows = []
    for name in found.workloads(loop):
        summaries = {client: found.summary(name, client, loop, figure) for client in clients}
        present = {client: summary for client, summary in summaries.items() if summary}
        if present:
            rows.append((name, present))
    if not rows:
        return None
    intervals = bool(interval_of(found.run.rounds))
    left, right, top = 240, WIDTH - (150 if intervals else 70), 74
    drawing = _begun(found, title, top + ROW * len(rows) + 46)
    bottom = top + ROW * len(rows)
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
        times = found.times(name, loop, clients, figure)
        if times is not None:
            x = WIDTH - (92 if intervals else 12)
            drawing.text(x, y + 4, f"{times.mean:.1f}", "strong", "end")
            if intervals:
                text = f"{times.low:.1f}..{times.high:.1f}"
                drawing.text(WIDTH - 12, y + 4, text, "small", "end")
    drawing.text(12, bottom + 38, _footnote(found, loop), "small")
    return drawing


def _whisker(drawing: Drawing, x1: float, y1: float, x2: float, y2: float) -> None:
    if abs(x2 - x1) + abs(y2 - y1) > 1:
        drawing.line(x1, y1, x2, y2, "whisker")


def _footnote(found: Report, loop: str, means: bool = True) -> str:
    facts, rounds = found.facts, found.run.rounds
    made = rounds_text(rounds)
    if means and rounds > 1:
        made = f"means of {made}, whiskers: {interval_of(rounds)}"
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

    def curve(self, client: str, points: Sequence[tuple[float, Summary | float]]) -> None:
        """Dots that are joined; a summary has a whisker."""
        color = color_of(client)
        places = [(self.x(x), self.y(_middle(y))) for x, y in points]
        self.drawing.path(places, color, width=3 if client == OURS else 2)
        for (x, y), (left, top) in zip(points, places):
            if isinstance(y, Summary):
                _whisker(self.drawing, left, self.y(y.low), left, self.y(y.high))
            self.drawing.dot(left, top, color, f"{client}, {x:,.0f}: {_middle(y):,.0f}")


def _middle(value: Summary | float) -> float:
    return value.mean if isinstance(value, Summary) else value


def _concurrency(found: Report) -> Drawing | None:
    loop = _loop(found)
    ran = [tasks for tasks in SWEEP if f"get-{tasks}" in found.workloads(loop)]
    if len(ran) < 2:
        return None
    clients = _compared(found)
    title = "GET per second, by the number of tasks (both logarithmic)"
    lines: dict[str, list[tuple[float, Summary]]] = {}
    for client in clients:
        summaries = [
            (tasks, found.summary(f"get-{tasks}", client, loop, PER_SECOND)) for tasks in ran
        ]
        lines[client] = [(tasks, summary) for tasks, summary in summaries if summary]
    values = [summary.mean for points in lines.values() for _, summary in points]
    if not values:
        return None
    height, left, top, right, bottom = 430, 60, 74, WIDTH - 24, 360
    drawing = _begun(found, title, height)
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
        panel.curve(client, points)
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
    drawing = _begun(found, title, height)
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
                (AT_RATE[name], latencies[client, name][number])
                for name in rates
                if (client, name) in latencies
            ]
            panel.curve(client, points)
    drawing.text(WIDTH / 2, bottom + 36, "GET per second offered", "small", "middle")
    drawing.text(
        12,
        height - 30,
        "From the moment each command was due. A line ends where its client does not keep up.",
        "small",
    )
    drawing.text(12, height - 12, _footnote(found, found.plan.loops[0], means=False), "small")
    return drawing
