"""Confidence intervals of percentiles that are themselves observed values.

The p-th percentile of n values is the one of rank ⌈np⌉. How far its rank may be off is a question about a
proportion, the share of values below the percentile, and a proportion has a known or easily estimated
variance. So the ends of the interval are order statistics too: no density is estimated, the interval is as
skewed as the tail is, and it never leaves the data's range.

Independent values: the rank is binomial, the interval exact. Values of one long run are dependent; there the
variance of the proportion comes from batch means of the indicator "below the percentile" (Heidelberger
and Lewis 1984, "Quantile estimation in dependent sequences", Operations Research 32(1), with the batch means
of Schmeiser 1982 in place of the spectrum).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmopt_simulator.intervals import Interval, mean_interval, percentile, student_t_quantile

BATCHES: Final = 20
"""Batches of a long run: 10 to 30 lose little (Schmeiser 1982), and fewer are longer, so more independent."""


def independent_percentile(values: NDArray[np.float64], percent: float, confidence: float) -> Interval:
    """The percentile of independent values with its exact, distribution-free interval.

    The interval runs from the largest rank l and to the smallest rank u with P(B < l) and P(B ≥ u) each at
    most half of 1 − confidence, B binomial (David and Nagaraja 2003, equation 7.1.1); an end that no rank
    provides is infinite.
    """
    ordered = np.sort(values)
    tail = (1.0 - confidence) / 2.0
    below = np.cumsum(_binomial(len(ordered), percent / 100.0))
    low = int(np.searchsorted(below, tail, side="right"))  # P(B ≤ low - 1) ≤ tail, so rank `low` will do
    high = int(np.searchsorted(below, 1.0 - tail, side="left")) + 1  # P(B ≤ high - 1) ≥ 1 - tail
    return Interval(percentile(ordered, percent), _ranked(ordered, low), _ranked(ordered, high))


def batched_percentile(
    values: NDArray[np.float64], percent: float, confidence: float, batches: int = BATCHES
) -> Interval:
    """The percentile of one long run's values in order, shape (n,), and its interval over batches.

    The half-width in ranks is n·t·S/√batches, S the deviation of the batches' shares below the percentile.
    Fewer than two values a batch say nothing: the interval is then the whole line.
    """
    size = len(values) // batches
    if size < 2:
        return Interval(percentile(values, percent), -math.inf, math.inf)
    kept = values[len(values) - size * batches :]
    ordered, share = np.sort(kept), percent / 100.0
    middle = percentile(kept, percent)
    shares = (kept <= middle).reshape(batches, size).mean(axis=1)
    spread = math.sqrt(float(np.var(shares, ddof=1)) / batches)
    half = student_t_quantile(0.5 + confidence / 2.0, batches - 1) * spread
    low, high = (math.ceil(len(kept) * (share + side * half)) for side in (-1.0, 1.0))
    return Interval(middle, _ranked(ordered, low), _ranked(ordered, max(high, 1)))


def batched_mean(values: NDArray[np.float64], confidence: float, batches: int = BATCHES) -> Interval:
    """The mean of one long run's values in order with its Student-t interval over batch means."""
    size = len(values) // batches
    if size < 1:
        return Interval(float(np.mean(values)) if len(values) else math.nan, -math.inf, math.inf)
    kept = values[len(values) - size * batches :]
    return mean_interval(kept.reshape(batches, size).mean(axis=1).tolist(), confidence)


def batch_correlation(values: NDArray[np.float64], batches: int = BATCHES) -> float:
    """Correlation of neighbouring batch means: near 0 where batches are long enough to be trusted.

    Above about 2/√batches the run is too short for its intervals.
    """
    size = len(values) // batches
    if size < 1 or batches < 3:
        return math.nan
    means = values[len(values) - size * batches :].reshape(batches, size).mean(axis=1)
    centred = means - means.mean()
    variance = float(np.sum(centred**2))
    return float(np.sum(centred[1:] * centred[:-1])) / variance if variance > 0.0 else 0.0


def _ranked(ordered: NDArray[np.float64], rank: int) -> float:
    """The value of a rank counted from 1; infinite where there is none."""
    if rank < 1:
        return -math.inf
    return float(ordered[rank - 1]) if rank <= len(ordered) else math.inf


def _binomial(trials: int, chance: float) -> NDArray[np.float64]:
    """P(B = 0 … trials), by logarithms so that long samples do not underflow to nothing."""
    k = np.arange(trials + 1, dtype=np.float64)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    choose = log_factorial[-1] - log_factorial - log_factorial[::-1]
    return np.asarray(np.exp(choose + k * math.log(chance) + (trials - k) * math.log1p(-chance)))
