"""Samples of several rounds in three figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

# Student's t for 95 %, by degrees of freedom from 1 on.
T_95 = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160)
T_95_BEYOND = 2.0
INTERVAL_FROM = 3


class Summary(NamedTuple):
    mean: float  # geometric
    low: float  # of the 95 % confidence interval; of fewer than three samples, the least
    high: float


def summarize(samples: Sequence[float]) -> Summary:
    """Geometric mean and its 95 % confidence interval, by Student's t over the logarithms.

    What is compared are ratios, so that twice as fast and half as fast have to weigh the same.
    """
    logarithms = [math.log(sample) for sample in samples]
    middle = statistics.fmean(logarithms)
    if len(logarithms) < INTERVAL_FROM:
        return Summary(math.exp(middle), min(samples), max(samples))
    freedom = len(logarithms) - 1
    t = T_95[freedom - 1] if freedom <= len(T_95) else T_95_BEYOND
    half = t * statistics.stdev(logarithms) / math.sqrt(len(logarithms))
    return Summary(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def interval_of(rounds: int) -> str:
    """What `low` and `high` of so many rounds are."""
    if rounds < 2:
        return ""
    if rounds < INTERVAL_FROM:
        return f"the least and the most of {rounds} rounds"
    return "95 % confidence"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Summary:
    """How many times theirs ours is, round by round: what slowed a whole round down cancels out."""
    return summarize([our / their for our, their in zip(ours, theirs)])
