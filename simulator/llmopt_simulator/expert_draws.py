"""The imbalance of expert groups, drawn: tokens choose experts, the busiest group has so many choices.

Every layer of every step draws anew. Drawn are layers of a step of mean size; the busiest group's load is
nearly a line in the tokens, so the mean of a run's steps is close to that of their mean size.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from llmopt_simulator.service import ExpertGroups

_LAYERS: Final = 256
"""Layers drawn for a run."""
_STREAM: Final = 2
"""Of the run's seed, beside those of router and speculation."""


def drawn_imbalance(groups: ExpertGroups | None, tokens: float, seed: int) -> float:
    """Mean load of the busiest group over the mean load, in layers with `tokens` tokens.

    NaN without expert groups or tokens.
    """
    choices = round(tokens * groups.choices_per_token) if groups is not None and tokens > 0 else 0
    if groups is None or choices == 0:
        return math.nan
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAM,)))
    loads = rng.multinomial(choices, groups.shares, size=_LAYERS)
    return float(loads.max(axis=1).mean() * len(groups.shares) / choices)
