"""What there is to be alerted about, and the same rules for Prometheus."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Optional

from aiecs_redis import _checks as checks
from aiecs_redis._server_info import ServerInfo

__all__ = [
    "Rule",
    "Sample",
    "default_rules",
    "evictions",
    "hit_rate",
    "latency",
    "memory",
    "outage",
    "prometheus_rules",
    "rejected_connections",
    "replication_lag",
]


@dataclass(frozen=True)
class Sample:
    """The server at one moment.

    Attributes:
        at: monotonic seconds.
        server: what it said; None if it said nothing.
        error: why not.
    """

    at: float
    server: ServerInfo | None
    error: str = ""


_LARGEST = 1e300  # no limit of anything, and finite

Measure = Callable[[Optional[Sample], Sample], Optional[float]]


@dataclass(frozen=True)
class Rule:
    """One figure and its limits.

    Args:
        name: a str, unique among the rules of an `Alerts`; for machines.
        measure: called with the `Sample` before (None at first) and this one; returns the
            figure as a float, or None when it is not known. What it raises is logged, and
            counts as not known.
        limit: the rule fires beyond it; in the figure's own unit.
        clear: it is over once the figure is back behind this; the same unit.
        text: a sentence, `{value}` being the figure times `scale`.
        below: it fires below the limit instead of above.
        hold: seconds the figure must stay beyond the limit, or behind `clear`.
        severity: "warning" or "critical".
        scale: the figure is multiplied by this for the sentence (100 for percent).
        promql: the figure as an expression of Prometheus; "" for none.

    Raises:
        TypeError: the name is no str, or `measure` no function.
        ValueError: the name is empty, a number makes no sense, `clear` lies on the wrong side of
            `limit`, or the severity is neither of the two.
    """

    name: str
    measure: Measure
    limit: float
    clear: float
    text: str
    below: bool = False
    hold: float = 0.0
    severity: str = "warning"
    scale: float = 1.0
    promql: str = ""

    def __post_init__(self) -> None:
        checks.filled("name", self.name)
        checks.function(f"{self.name}: measure", self.measure)
        for name in ("limit", "clear", "scale"):
            checks.number(f"{self.name}: {name}", getattr(self, name), -_LARGEST, _LARGEST)
        if self.clear != self.limit and (self.clear < self.limit) == self.below:
            side = "above" if self.below else "below"
            raise ValueError(f"{self.name}: clear={self.clear} has to be {side} {self.limit}")
        if self.severity not in ("warning", "critical"):
            raise ValueError(f"{self.name}: severity={self.severity!r}: give warning or critical")
        checks.seconds(f"{self.name}: hold", self.hold, zero=True)

    def is_beyond(self, value: float) -> bool:
        """Whether this figure makes the rule fire."""
        return value < self.limit if self.below else value > self.limit

    def is_clear(self, value: float) -> bool:
        """Whether this figure ends the alert."""
        return value >= self.clear if self.below else value <= self.clear

    def sentence(self, value: float | None, firing: bool) -> str:
        """What the alert says of a figure (`value`, None: not known) that is `firing` or over."""
        number = (value or 0.0) * self.scale
        shown = self.text.format(value=f"{number:.4g}")
        limit = self.limit if firing else self.clear
        side = "below" if self.below == firing else "above"
        if self.limit == self.clear == 0 and not self.below:
            return shown
        return f"{shown}, {side} {limit * self.scale:.4g}"


# ------------------------------------------------------------------- the rules


def memory(above: float = 0.9, clear: float = 0.85, hold: float = 30.0) -> Rule:
    """Memory in use as a part of maxmemory; says nothing without a maxmemory.

    Args:
        above: fires above this part, 0 to 1.
        clear: is over at this part or less.
        hold: seconds, as `Rule` has them.
    """
    return Rule(
        "memory",
        lambda _, now: now.server.memory_ratio if now.server else None,
        above,
        clear,
        "Memory in use: {value} % of maxmemory",
        hold=hold,
        severity="critical",
        scale=100,
        promql="redis_memory_used_bytes / (redis_memory_max_bytes > 0)",
    )


def hit_rate(
    below: float = 0.8, clear: float = 0.85, hold: float = 300.0, lookups: int = 100
) -> Rule:
    """Part of key look-ups that find their key, between two samples with enough of them.

    Args:
        below: fires below this part, 0 to 1.
        clear: is over at this part or more.
        hold: seconds, as `Rule` has them.
        lookups: with fewer than so many between two samples it says nothing.

    Raises:
        ValueError: a number that makes no sense.
    """
    checks.whole("lookups", lookups, 0)

    def measure(before: Sample | None, now: Sample) -> float | None:
        hits = _increase(before, now, "keyspace_hits")
        misses = _increase(before, now, "keyspace_misses")
        if hits is None or misses is None or hits + misses < max(lookups, 1):
            return None
        return hits / (hits + misses)

    hits, misses = "rate(redis_keyspace_hits_total[5m])", "rate(redis_keyspace_misses_total[5m])"
    return Rule(
        "hit_rate",
        measure,
        below,
        clear,
        "Cache hit rate: {value} %",
        below=True,
        hold=hold,
        scale=100,
        promql=f"{hits} / ({hits} + {misses} > {lookups / 300:.4g})",
    )


def rejected_connections() -> Rule:
    """Connections refused because of maxclients, since the sample before."""
    return Rule(
        "rejected_connections",
        lambda before, now: _increase(before, now, "rejected_connections"),
        0,
        0,
        "{value} connections were refused because of maxclients",
        severity="critical",
        promql="increase(redis_rejected_connections_total[5m])",
    )


def replication_lag(above: float = 10.0, clear: float = 5.0, hold: float = 30.0) -> Rule:
    """Seconds the slowest replica is behind; `above`, `clear` and `hold` are seconds."""
    return Rule(
        "replication_lag",
        lambda _, now: now.server.lag if now.server else None,
        above,
        clear,
        "Replication is {value} s behind",
        hold=hold,
        promql="redis_replication_lag_seconds",
    )


def latency(above: float = 0.1, clear: float = 0.05, hold: float = 30.0) -> Rule:
    """Seconds from PING to PONG; `above`, `clear` and `hold` are seconds."""
    return Rule(
        "latency",
        lambda _, now: now.server.latency if now.server else None,
        above,
        clear,
        "PING takes {value} ms",
        hold=hold,
        scale=1000,
        promql="redis_ping_seconds",
    )


def evictions(above: float = 0.0, clear: float = 0.0, hold: float = 0.0) -> Rule:
    """Keys evicted because of maxmemory: `above` and `clear` are keys a second, `hold` seconds."""
    return Rule(
        "evictions",
        lambda before, now: _rate(before, now, "evicted_keys"),
        above,
        clear,
        "{value} keys a second are evicted because of maxmemory",
        hold=hold,
        promql="rate(redis_evicted_keys_total[5m])",
    )


def outage(hold: float = 0.0) -> Rule:
    """The server does not answer, for `hold` seconds."""

    def measure(_: Sample | None, now: Sample) -> float:
        return 1.0 if now.server is not None else 0.0

    return _Outage(
        "outage",
        measure,
        1,
        1,
        "",
        below=True,
        hold=hold,
        severity="critical",
        promql="redis_up",
    )


class _Outage(Rule):
    def sentence(self, value: float | None, firing: bool) -> str:
        return "The server does not answer" if firing else "The server answers again"


def default_rules() -> list[Rule]:
    """All of them, with their defaults."""
    return [
        outage(),
        memory(),
        rejected_connections(),
        replication_lag(),
        latency(),
        evictions(),
        hit_rate(),
    ]


def _increase(before: Sample | None, now: Sample, name: str) -> float | None:
    if before is None or before.server is None or now.server is None:
        return None
    new, old = now.server.number(name), before.server.number(name)
    return new - old if new >= old else new  # the server was restarted


def _rate(before: Sample | None, now: Sample, name: str) -> float | None:
    more = _increase(before, now, name)
    if more is None or before is None or now.at <= before.at:
        return None
    return more / (now.at - before.at)


# ------------------------------------------------------------- for Prometheus


def prometheus_rules(rules: Iterable[Rule] | None = None, group: str = "redis") -> str:
    """Return the rules as a rules file of Prometheus (YAML), for what our exporter exports.

    Args:
        rules: by default `default_rules()`; those without an expression are left out.
        group: name of the group.

    Hysteresis is Prometheus' own: `for` before an alert, and `keep_firing_for` (2.42 and later)
    behind it.

    Raises:
        TypeError: the group's name is no str.
        ValueError: it is empty.
    """
    checks.filled("group", group)
    lines = ["groups:", f"  - name: {json.dumps(group)}", "    rules:"]
    for rule in default_rules() if rules is None else rules:
        if not rule.promql:
            continue
        name = "Redis" + "".join(word.capitalize() for word in rule.name.split("_"))
        sign = "<" if rule.below else ">"
        text = rule.sentence(None, True)
        if rule.text:
            text = rule.text.replace("{value} %", "{value}").replace("{value} ms", "{value}")
            text = text.format(value=_template(rule))
        lines += [
            f"      - alert: {name}",
            f"        expr: {json.dumps(f'{rule.promql} {sign} {rule.limit:g}')}",
            f"        for: {round(rule.hold)}s",
            *([f"        keep_firing_for: {round(rule.hold)}s"] if rule.hold else []),
            "        labels:",
            f"          severity: {rule.severity}",
            "        annotations:",
            f"          summary: {json.dumps(text)}",
        ]
    return "\n".join(lines) + "\n"


def _template(rule: Rule) -> str:
    """The figure in Prometheus' template language, which has no arithmetic but humanizes."""
    if rule.scale == 100:
        return "{{ $value | humanizePercentage }}"
    if rule.scale == 1000:
        return "{{ $value | humanizeDuration }}"
    return "{{ $value | humanize }}"
