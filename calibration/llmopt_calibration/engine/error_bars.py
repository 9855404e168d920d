"""How far a predicted TPOT may be off: the distribution of measured over predicted on pairs never fitted.

A bound on a latency is kept with some probability, not for sure. Measured over predicted of pairs that were
held out says which: a prediction p keeps a bound B when the ratio stays below B / p.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]
PERCENT = tuple(range(5, 100, 5))
"""Of the quantiles that data files keep."""


@dataclass(frozen=True, slots=True, eq=False)
class ErrorDistribution:
    """Sorted ratios of measured over predicted with the probability of a ratio no larger."""

    ratios: Numbers
    probabilities: Numbers

    def probability_below(self, ratio: ArrayLike) -> Numbers:
        """Probability that measured over predicted is at most `ratio`: 0 below the least that was seen."""
        found = np.interp(np.log(np.asarray(ratio, float)), np.log(self.ratios), self.probabilities, left=0.0)
        return np.asarray(found, float)

    def quantile(self, probability: float) -> float:
        """The ratio that is exceeded with probability 1 - `probability`."""
        return float(np.interp(probability, self.probabilities, self.ratios))

    def summary(self) -> dict[str, float]:
        """Its quantiles at `PERCENT`, by name, for a data file."""
        return {str(percent): self.quantile(percent / 100) for percent in PERCENT}


def summarised(quantiles: Mapping[str, float]) -> ErrorDistribution:
    """The distribution of a `summary`, straight between its quantiles."""
    pairs = sorted((int(percent) / 100, float(ratio)) for percent, ratio in quantiles.items())
    return ErrorDistribution(np.array([ratio for _, ratio in pairs]), np.array([p for p, _ in pairs]))


def error_distribution(ratio: Numbers, pair: NDArray[np.str_]) -> ErrorDistribution:
    """The distribution of measured over predicted, every pair weighing the same."""
    order = np.argsort(ratio, kind="stable")
    share = 1 / pd.Series(pair).groupby(pair).transform("size").to_numpy(float)[order]
    return ErrorDistribution(ratio[order], np.cumsum(share) / share.sum())
