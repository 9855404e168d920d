"""How tokens use the experts of a mixture, and what an engine does against their imbalance.

A token chooses k of E experts. `shares` says how often each is chosen, of all choices: equally, by a power of
its rank in popularity (Zipf; which expert has which rank is drawn once), or as counted. With rebalancing the
engine keeps copies of busy experts and places all so that groups of experts have equal loads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Literal

Popularity = Literal["uniform", "zipf", "measured"]

_ORDER_SEED = 0


@dataclass(frozen=True, slots=True)
class ExpertUse:
    """Popularity of the experts of every layer, and their placement."""

    popularity: Popularity = "uniform"
    exponent: float = 0.0
    """Zipf: the expert of rank i is chosen with weight i^-exponent."""
    counts: tuple[float, ...] = ()
    """Measured: how often each expert was chosen, in the order of the model."""
    rebalanced: bool = False
    """Whether copies and places follow the popularity (EPLB), or groups are cut in the model's order."""
    redundant: int = 0
    """Copies beyond one of each expert, in all groups together (SGLang `--ep-num-redundant-experts`)."""

    def shares(self, experts: int) -> tuple[float, ...]:
        """Of each of `experts` experts, its part of all choices; they add up to 1.

        Raises ValueError where as many counts are not given.
        """
        if self.popularity == "measured":
            if len(self.counts) != experts:
                raise ValueError(f"{len(self.counts)} counts for {experts} experts: give one for each")
            return _normalized(self.counts)
        exponent = self.exponent if self.popularity == "zipf" else 0.0
        weights = [rank**-exponent for rank in range(1, experts + 1)]
        Random(_ORDER_SEED).shuffle(weights)
        return _normalized(weights)


def _normalized(weights: list[float] | tuple[float, ...]) -> tuple[float, ...]:
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)
