"""Samples of several rounds in three figures."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from typing import NamedTuple

RESAMPLES = 2_000
CONFIDENCE = 0.95
BOOTSTRAP_FROM = 8  # with fewer samples a resampled median says no more than the range does


class Summary(NamedTuple):
    median: float
    low: float  # min, or the lower end of the bootstrap interval of the median
    high: float


def summarize(samples: Sequence[float]) -> Summary:
    """Median with min and max; from eight samples on, with its bootstrap 95 % interval."""
    median = statistics.median(samples)
    if len(samples) < BOOTSTRAP_FROM:
        return Summary(median, min(samples), max(samples))
    dice = random.Random(len(samples))
    medians = sorted(
        statistics.median(dice.choices(samples, k=len(samples))) for _ in range(RESAMPLES)
    )
    tail = int(RESAMPLES * (1 - CONFIDENCE) / 2)
    return Summary(median, medians[tail], medians[-tail - 1])
