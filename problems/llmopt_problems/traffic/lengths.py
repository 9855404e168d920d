"""Lengths as laws over whole tokens: one table of probabilities, used for drawing and for exact moments.

A `LengthLaw` gives probability `probabilities[i]` to the length `first + i`. Continuous families are rounded
to the nearest token and cut to [1, longest] (normal: truncated), and the law is that of the result, so what
`sample` draws and what `traffic_summary` says agree exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from ..schema.traffic import (
    ConstantLength,
    EmpiricalLength,
    ExponentialLength,
    Length,
    LognormalLength,
    NormalLength,
    UniformLength,
    ZipfLength,
)
from .observed import observed_lengths

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

    def up_to(self, longest: int) -> Floats:
        """Probabilities of the lengths 0, 1, …, `longest`, shape (longest + 1,)."""
        table = np.zeros(longest + 1)
        part = self.probabilities[: max(longest + 1 - self.first, 0)]
        table[self.first : self.first + len(part)] = part
        return table

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """`count` independent lengths, by inversion."""
        return self.pick(rng.random(count))

    def pick(self, uniforms: Floats) -> NDArray[np.int64]:
        """The lengths at which the cumulative probability passes each number of [0, 1)."""
        cumulative = np.cumsum(self.probabilities)
        # Rounding may leave the last sum a hair below 1.
        steps = np.searchsorted(cumulative[:-1], uniforms, side="right")
        return self.first + steps.astype(np.int64)


def length_law(length: Length) -> LengthLaw:
    """The law of a length distribution of the schema; ProblemError for a file of lengths that is broken."""
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
        case NormalLength():
            return _truncated_normal(length)
        case ZipfLength():
            ranks = np.arange(1, length.max - length.min + 2, dtype=np.float64)
            return _weighted(length.min, ranks**-length.exponent)
        case EmpiricalLength():
            return _histogram(*observed_lengths(length))
        case _:
            assert_never(length)


def _edges(longest: int) -> Floats:
    """Where rounding goes up to the lengths 2, 3, …, longest."""
    return np.arange(1, longest, dtype=np.float64) + 0.5


def _lognormal_tail(length: LognormalLength, edges: Floats) -> Floats:
    """P(X > edge), with log-variance ln(1 + cv²) and the log-mean that makes the mean right."""
    variance = math.log1p(length.cv**2)
    scores = (np.log(edges / length.mean) + variance / 2) / math.sqrt(2 * variance)
    return 0.5 * _erfc(scores)


def _rounded(tail: Floats) -> LengthLaw:
    """The law on 1, 2, … from the probabilities to reach 2, 3, …"""
    return LengthLaw(1, -np.diff(tail, prepend=1.0, append=0.0))


def _truncated_normal(length: NormalLength) -> LengthLaw:
    """Probabilities of the cells of width 1 around min … max, scaled to add up to 1."""
    edges = np.arange(length.min, length.longest + 2, dtype=np.float64) - 0.5
    scores = (edges - length.mean) / (math.sqrt(2) * length.cv * length.mean)
    # Differences of the smaller tail keep their digits on both sides of the mean.
    below, above = np.diff(_erfc(-scores)), -np.diff(_erfc(scores))
    return _weighted(length.min, np.where(scores[1:] <= 0, below, above))


def _histogram(lengths: NDArray[np.int64], weights: Floats) -> LengthLaw:
    first = int(lengths.min())
    return _weighted(first, np.bincount(lengths - first, weights).astype(np.float64))


def _weighted(first: int, weights: Floats) -> LengthLaw:
    return LengthLaw(first, weights / weights.sum())


def _erfc(values: Floats) -> Floats:
    return np.fromiter(map(math.erfc, values.tolist()), np.float64, len(values))
