"""Small statistics with exact definitions: percentiles, Student-t quantiles, confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence interval."""

    value: float
    low: float
    high: float


def relative_half_width(interval: Interval) -> float:
    """Half of an interval's length over its value: the precision of an estimate; infinite where unknown."""
    half = 0.5 * (interval.high - interval.low)
    if half == 0.0:
        return 0.0
    return half / abs(interval.value) if math.isfinite(half) and interval.value != 0.0 else math.inf


def percentile(values: NDArray[np.float64], percent: float) -> float:
    """The smallest value that at least `percent` of all values do not exceed; NaN of nothing."""
    return percentiles(values, [percent])[0]


def percentiles(values: NDArray[np.float64], percents: Sequence[float]) -> list[float]:
    """`percentile` of several percents with one sort: the values of rank ⌈n·percent/100⌉."""
    if len(values) == 0:
        return [math.nan] * len(percents)
    ordered = np.sort(values)
    return [float(ordered[max(math.ceil(len(ordered) * p / 100) - 1, 0)]) for p in percents]


def mean_interval(values: Sequence[float], confidence: float) -> Interval:
    """Mean of independent replications with its Student-t interval.

    One replication says nothing of its spread, so its interval is the whole line. Infinite values (saturated
    runs) make the mean and the upper end infinite; the lower end is then the smallest value.
    """
    sample = np.asarray(values, dtype=np.float64)
    mean = float(np.mean(sample))
    if math.isnan(mean):
        return Interval(math.nan, math.nan, math.nan)
    if math.isinf(mean):
        return Interval(mean, float(sample.min()) if len(sample) > 1 else mean, mean)
    if len(sample) < 2:
        return Interval(mean, -math.inf, math.inf)
    spread = float(np.std(sample, ddof=1)) / math.sqrt(len(sample))
    half = student_t_quantile(0.5 + confidence / 2.0, len(sample) - 1) * spread
    return Interval(mean, mean - half, mean + half)


def student_t_quantile(probability: float, degrees: int) -> float:
    """The t with P(T ≤ t) = `probability` ≥ 0.5, by bisection of the exact distribution function."""
    low, high = 0.0, 1.0
    while student_t_cdf(high, degrees) < probability:
        high *= 2.0
    while high - low > 1e-12 * high:
        middle = 0.5 * (low + high)
        if student_t_cdf(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def student_t_cdf(t: float, degrees: int) -> float:
    """P(T ≤ t), t ≥ 0: the finite series of Abramowitz and Stegun, 26.7.3 (odd) and 26.7.4 (even degrees)."""
    angle = math.atan2(t, math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0
    for j in range(1 + odd, degrees, 2):  # terms with cos^(j - 1), up to cos^(degrees - 2)
        total += term
        term *= cosine * cosine * j / (j + 1)
    area = 2.0 / math.pi * (angle + sine * total) if odd else sine * total
    return 0.5 + 0.5 * area
