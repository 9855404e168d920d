"""Decodes of unequal contexts: how unequal those of a workload are, and what a kernel pays for it.

An attention table is measured with equal contexts. A batch of the same total whose longest context is much
longer keeps some multiprocessors busy after the others are done. Its time lies a *share* of the way
from the batch of mean contexts to one in which all are the longest; a profile measures that share by
the number of decodes and by the part of them that is long. The longest of n contexts follows from the
workload's lengths alone, as an order statistic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class ContextSpread:
    """Contexts of a batch of n decodes, drawn as a steady state draws them."""

    mean_tokens: float
    longest_tokens: NDArray[np.float64]
    """Shape (n + 1,): expected longest context of a batch, by its decodes; entry 0 is the mean."""
    shortest_tokens: NDArray[np.float64]
    """The same for the shortest."""

    def over_mean(self, decodes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Longest context over the mean one."""
        return self.longest_tokens[decodes.astype(int)] / self.mean_tokens

    def long_part(self, decodes: NDArray[np.float64]) -> NDArray[np.float64]:
        """The part of the decodes that is long in a batch of two lengths with this mean, these extremes."""
        n = decodes.astype(int)
        width = self.longest_tokens[n] - self.shortest_tokens[n]
        return np.divide(
            self.mean_tokens - self.shortest_tokens[n], width, out=np.full(len(n), 0.5), where=width > 0
        )


def context_spread(
    input_tokens: NDArray[np.int64], output_tokens: NDArray[np.int64], largest_batch: int
) -> ContextSpread:
    """The spread of contexts of a workload in decode.

    A request of i input and o output tokens is in decode for o steps, with contexts from i to i + o: so a
    decode found at random has the mixture of these uniform distributions with weights o. With its
    distribution function F, E[longest of n] = ∫ 1 − Fⁿ dx and E[shortest] = ∫ (1 − F)ⁿ dx.
    """
    weights = output_tokens / output_tokens.sum()
    tokens = np.arange(int((input_tokens + output_tokens).max()) + 1)
    below = np.zeros(len(tokens))
    for start, length, weight in zip(input_tokens, output_tokens, weights, strict=True):
        below += weight * np.clip((tokens - start) / length, 0.0, 1.0)
    batches = np.arange(1, largest_batch + 1)
    longest = np.array([np.sum(1.0 - below**n) for n in batches])
    shortest = np.array([np.sum((1.0 - below) ** n) for n in batches])
    mean = float(np.sum(1.0 - below))
    return ContextSpread(mean, np.concatenate([[mean], longest]), np.concatenate([[mean], shortest]))


def imbalance_share(skew: pd.DataFrame, decodes: int, long_part: float, mixed: bool) -> float:
    """The measured share of the way to a batch of longest contexts; 0 where it was not measured.

    The median over the profiled shapes (columns of `KernelProfile.skew`) with the nearest number of
    decodes by ratio, pure or beside prefill as `mixed` says, whose long part is the nearest to `long_part`.
    """
    rows = skew[(skew["pc"] > 0) == mixed]
    if decodes < 2 or rows.empty:
        return 0.0
    distance = np.abs(np.log(rows["n"] / decodes))
    rows = rows[distance == distance.min()]
    distance = np.abs(rows["nb"] / rows["n"] - long_part)
    return float(rows[distance == distance.min()]["share"].median())
