"""Charts as SVG, written by hand: no library, and readable on a light and on a dark page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

# Told apart also by those who see no red or green; each is readable on white and on near-black.
COLORS = ("#d1495b", "#8d6cab", "#2e86ab", "#c98a1b", "#2a9d5c", "#7a7a7a", "#5f9ea0", "#b5651d")

STYLE = """
text { font: 12px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #24292f; }
.title { font-size: 15px; font-weight: 600; }
.small { font-size: 11px; fill: #57606a; }
.strong { font-weight: 600; }
.grid { stroke: #d0d7de; stroke-width: 1; }
.whisker { stroke: #24292f; stroke-width: 1.2; fill: none; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .small { fill: #9da7b3; }
  .grid { stroke: #3d444d; }
  .whisker { stroke: #e6edf3; }
}
"""


class Drawing:
    """An SVG of so many pixels, transparent so that the page shows through."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width = width
        self.height = height
        self._title = title
        self._parts: list[str] = []

    def text(
        self, x: float, y: float, text: str, kind: str = "", anchor: str = "start", rotate: int = 0
    ) -> None:
        turned = f' transform="rotate({rotate} {x:.1f} {y:.1f})"' if rotate else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}"{turned}>'
            f"{escape(text)}</text>"
        )

    def rectangle(
        self, x: float, y: float, width: float, height: float, color: str, tip: str = ""
    ) -> None:
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" '
            f'fill="{color}"><title>{escape(tip)}</title></rect>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "grid") -> None:
        self._parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'
        )

    def path(
        self, points: Sequence[tuple[float, float]], color: str, dashes: str = "", width: float = 2
    ) -> None:
        if len(points) > 1:
            text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            self._parts.append(
                f'<polyline points="{text}" fill="none" stroke="{color}" stroke-width="{width}" '
                f'stroke-dasharray="{dashes}" stroke-linejoin="round"/>'
            )

    def dot(self, x: float, y: float, color: str, tip: str = "", radius: float = 3.5) -> None:
        self._parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color}">'
            f"<title>{escape(tip)}</title></circle>"
        )

    def legend(self, x: float, y: float, names: Sequence[str], colors: Sequence[str]) -> None:
        for name, color in zip(names, colors):
            self.rectangle(x, y - 9, 11, 11, color)
            self.text(x + 16, y, name)
            x += 34 + 7.0 * len(name)

    def as_text(self) -> str:
        title = escape(self._title)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" role="img" aria-label="{title}">\n'
            f"<title>{title}</title>\n<style>{STYLE}</style>\n"
            + "\n".join(self._parts)
            + "\n</svg>\n"
        )


class Scale:
    """Values to pixels, logarithmically."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low = low
        self.high = high
        self._start = start
        self._end = end

    def __call__(self, value: float) -> float:
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self._start + min(max(part, 0.0), 1.0) * (self._end - self._start)

    def ticks(self) -> list[float]:
        """The powers of ten in it."""
        first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        return [10.0**power for power in range(first, last + 1)]


def around(values: Sequence[float], start: float, end: float) -> Scale:
    """A scale whose ends are powers of ten, or half of ten, around the values."""
    low, high = min(values), max(values)
    floor = 10.0 ** math.floor(math.log10(low))
    if low >= floor * 5:
        floor *= 5
    ceiling = 10.0 ** math.ceil(math.log10(high))
    if high <= ceiling / 2:
        ceiling /= 2
    return Scale(floor, max(ceiling, floor * 2), start, end)


def short(number: float) -> str:
    """1.2M, 350k, 17, 2.5."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if number >= limit:
            scaled = number / limit
            return (
                f"{scaled:.0f}{unit}"
                if scaled >= 100 or scaled % 1 < 0.05
                else f"{scaled:.1f}{unit}"
            )
    return f"{number:.0f}" if number >= 10 or number % 1 == 0 else f"{number:.1f}"
