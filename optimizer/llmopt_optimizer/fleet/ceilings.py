"""Ceilings: rates that no group of a size can carry, by the optimistic reading of the laws.

Bounds know of every rate which is the smallest group that may carry it. The rates climb a ladder of equal
factors, and rungs between two with the same answer need not be asked. A ceiling is the first rung that is too
high for a size, so it is above what any simulation of such a group can do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from llmopt_optimizer.fleet.lineup import Lineup

RUNG = 1.05
"""Factor between two rates; a ceiling is by at most that much higher than the bounds say."""
LARGEST_RATE_PER_S = 1e6


@dataclass(slots=True)
class Ladder:
    """The smallest groups that may carry each rung, asked for when they are needed."""

    base_per_s: float
    smallest_at: Callable[[float], float]
    """Accelerators of the smallest group that may carry a rate; infinite when none may."""
    deadline: float | None
    known: dict[int, float] = field(default_factory=dict)

    def rate(self, rung: int) -> float:
        """Requests a second at a rung."""
        return self.base_per_s * RUNG**rung

    def at(self, rung: int) -> float:
        """What `smallest_at` says of a rung, asked once."""
        if rung not in self.known:
            self.known[rung] = self.smallest_at(self.rate(rung))
        return self.known[rung]

    def fill(self, low: int, high: int) -> None:
        """Know every rung between two known ones, as far as there is time."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return
        if high - low > 1 and self.at(low) != self.at(high):
            middle = (low + high) // 2
            self.at(middle)
            self.fill(low, middle)
            self.fill(middle, high)

    def ceiling(self, gpus: int) -> float:
        """The lowest rung that is known to be too high for a group of so many accelerators."""
        return min((self.rate(rung) for rung, least in self.known.items() if least > gpus), default=inf)


def ceilings(
    lineup: Lineup, base_per_s: float, largest: int, deadline: float | None = None
) -> dict[int, float]:
    """Of every size up to `largest`, a rate that no group of that size carries; infinite where unknown.

    `base_per_s` is a rate that the smallest groups are known to carry or nearly so.
    """
    ladder = Ladder(base_per_s, lambda rate: _smallest(lineup, rate), deadline)
    top = 1
    while ladder.at(top) <= largest and ladder.rate(top) < LARGEST_RATE_PER_S:
        if deadline is not None and time.monotonic() >= deadline:
            break
        top *= 2
    ladder.at(0)
    ladder.fill(0, top)
    return {gpus: ladder.ceiling(gpus) for gpus in range(1, largest + 1)}


def _smallest(lineup: Lineup, rate_per_s: float) -> float:
    openings = lineup.openings_at(rate_per_s)
    return float(openings.costs[:, 0].min()) if len(openings) else inf
