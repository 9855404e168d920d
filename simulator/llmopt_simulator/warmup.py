"""Where the measured part of a run begins: a rule instead of a guess.

A run starts empty, so its first requests meet a better system than the later ones. Cutting few of them leaves
a bias, cutting many wastes data. MSER (marginal standard error rule) balances the two: of all cuts it
takes the one whose remaining mean has the smallest standard error, judged as if observations were
independent. MSER-5 applies it to means of five observations (White 1997, "An effective truncation heuristic
for bias reduction in simulation output", Simulation 69(6); White, Cobb, Spratt 2000).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

BATCH: Final = 5
"""Observations in one mean: the 5 of MSER-5."""

FEWEST_BATCHES: Final = 20
"""Below that a standard error says nothing; such a series is not cut."""


def mser(values: NDArray[np.float64], batch: int = BATCH) -> int:
    """How many of the first observations to cut, a multiple of `batch`, at most half of them.

    `values`, shape (n,), are in the order in which they were caused; all finite. A cut of half says that no
    steady part was found: the rule's minimum lies where it may no longer look.
    """
    count = len(values) // batch
    if count < FEWEST_BATCHES:
        return 0
    means = np.asarray(values[: count * batch], np.float64).reshape(count, batch).mean(axis=1)
    centred = means - means.mean()  # the sums below would lose digits otherwise
    left = np.arange(count, 0, -1, dtype=np.float64)
    sums, squares = (np.cumsum(x[::-1])[::-1] for x in (centred, centred**2))
    marginal = (squares - sums**2 / left) / left**2
    return int(np.argmin(marginal[: count // 2 + 1])) * batch
