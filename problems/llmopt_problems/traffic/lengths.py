"""Lengths as laws over whole tokens: one table of probabilities, used for drawing and for exact moments.

A `LengthLaw` gives probability `probabilities[i]` to the length `first + i`. Continuous families are rounded
to the nearest token and cut to [1, longest], and the law is that of the result, so what `sample` draws and
what `traffic_summary` says agree exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from ..schema.traffic import ConstantLength, ExponentialLength, Length, LognormalLength, UniformLength

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LengthLaw:
    """Probabilities of consecutive lengths, in tokens."""

    first: int
    probabilities: Floats
    """Shape (longest - first + 1,); sums to 1."""

    @property
    def longest(self) -> int:
        """Largest length, in tokens."""
        return self.first + len(self.probabilities) - 1

    def moment(self, order: int) -> float:
        """Mean of the length to the power `order`."""
        lengths = np.arange(self.first, self.longest + 1, dtype=np.float64)
        return float(self.probabilities @ lengths**order)

    def at_least(self, tokens: int) -> float:
        """Probability of a length of `tokens` or more."""
        return float(self.probabilities[max(tokens - self.first, 0) :].sum())

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """`count` independent lengths, by inversion."""
        cumulative = np.cumsum(self.probabilities)
        # Rounding may leave the last sum a hair below 1.
        steps = np.searchsorted(cumulative[:-1], rng.random(count), side="right")
        return self.first + steps.astype(np.int64)


def length_law(length: Length) -> LengthLaw:
    """The law of a length distribution of the schema."""
    match length:
        case ConstantLength():
            return LengthLaw(length.value, np.ones(1))
        case UniformLength():
            choices = length.max - length.min + 1
            return LengthLaw(length.min, np.full(choices, 1 / choices))
        case LognormalLength():
            return _rounded(_lognormal_tail(length, _edges(length.longest)))
        case ExponentialLength():
            return _rounded(np.exp(-_edges(length.longest) / length.mean))
        case _:
            assert_never(length)


def _edges(longest: int) -> Floats:
    """Where rounding goes up to the lengths 2, 3, …, longest."""
    return np.arange(1, longest, dtype=np.float64) + 0.5


def _lognormal_tail(length: LognormalLength, edges: Floats) -> Floats:
    """P(X > edge), with log-variance ln(1 + cv²) and the log-mean that makes the mean right."""
    variance = math.log1p(length.cv**2)
    scores = (np.log(edges / length.mean) + variance / 2) / math.sqrt(2 * variance)
    return np.fromiter((0.5 * math.erfc(score) for score in scores), np.float64, len(scores))


def _rounded(tail: Floats) -> LengthLaw:
    """The law on 1, 2, … from the probabilities to reach 2, 3, …"""
    return LengthLaw(1, -np.diff(tail, prepend=1.0, append=0.0))
