"""A bar chart as SVG, without a library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

__all__ = ["Bar", "svg"]

_COLOURS = ("#1f77b4", "#b9c4cf", "#8c6bb1", "#74a892")
_LEFT, _WIDTH, _ROW, _GAP, _TOP = 190, 480, 22, 14, 70


@dataclass(frozen=True)
class Bar:
    """A group of bars.

    Attributes:
        name: its label.
        values: one for each series, none negative.
    """

    name: str
    values: Sequence[float]


def svg(title: str, series: Sequence[str], groups: Sequence[Bar]) -> str:
    """Draw groups of horizontal bars, all to one scale.

    Args:
        title: above the chart.
        series: what the bars of a group stand for, at most four.
        groups: from top to bottom.

    Raises:
        ValueError: more series than colours, or a group with another number of values.
    """
    if len(series) > len(_COLOURS) or any(len(one.values) != len(series) for one in groups):
        raise ValueError(f"a chart has 1 to {len(_COLOURS)} series, and a value for each")
    most = max((value for one in groups for value in one.values), default=0.0) or 1.0
    height = _TOP + len(groups) * (_ROW * len(series) + _GAP)
    total = _LEFT + _WIDTH + 110
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {height}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{total}" height="{height}" fill="white"/>',
        f'<text x="16" y="26" font-size="16" font-weight="bold">{escape(title)}</text>',
    ]
    left = _LEFT
    for name, colour in zip(series, _COLOURS):
        parts.append(f'<rect x="{left}" y="40" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{left + 18}" y="51">{escape(name)}</text>')
        left += 40 + 8 * len(name)
    y = _TOP
    for one in groups:
        middle = y + _ROW * len(series) / 2 + 4
        parts.append(
            f'<text x="{_LEFT - 10}" y="{middle}" text-anchor="end">{escape(one.name)}</text>'
        )
        for value, colour in zip(one.values, _COLOURS):
            width = round(value / most * _WIDTH, 1)
            parts.append(
                f'<rect x="{_LEFT}" y="{y + 2}" width="{width}" height="{_ROW - 4}" '
                f'fill="{colour}"/>'
            )
            parts.append(f'<text x="{_LEFT + width + 6}" y="{y + 15}">{value:,.0f}</text>')
            y += _ROW
        y += _GAP
    return "\n".join([*parts, "</svg>"]) + "\n"
