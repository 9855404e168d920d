"""The load of the busiest expert group over the mean, as a formula of the tokens of a step.

T tokens choose k experts each, so an engine's groups receive M = T·k choices. Group g gets a share P_g of
them in the long run, so the busiest has at least S = groups · max P_g times the mean; chance makes it busier
in small steps. With the choices independent its load is the maximum of a multinomial draw. The law is

    I(M) = 1 + sqrt((S − 1)² + a/M + b/M^1.5 + c/M²),

exact for M to infinity. For equal groups a is about 2 ln(groups) · groups, the maximum of normals. a, b and c
are fitted to the expected maximum of independent binomials, Σ_x 1 − Π_g F_g(x), corrected for the groups'
sum being M; from 8 choices on drawn loads are within 5% of it (tested). All layers draw anew, so a step of
dozens of layers takes the expectation, whatever one layer draws.

Rebalancing is that of DeepSeek's EPLB (github.com/deepseek-ai/EPLB, `eplb.py`): copies go one by one to the
expert with the most load a copy; then, the heaviest first, each copy goes to the lightest group with room.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from llmopt_problems.experts import ExpertUse
from llmopt_problems.models.spec import MoeFfn

Floats = NDArray[np.float64]

_FITTED_CHOICES: Final = (8, 16, 32, 64, 256, 1024, 8192)
"""Choices M of a step at which the law meets the expectation, in least squares of relative errors."""
_DEVIATIONS: Final = 10.0
"""Loads so far above the mean have no probability left."""


@dataclass(frozen=True, slots=True)
class Balance:
    """The constants of the law for one number of groups."""

    static: float
    """S − 1: what the busiest group has beyond the mean in the long run."""
    chance: tuple[float, float, float]
    """a, b, c."""

    def imbalance(self, choices: sp.Expr) -> sp.Expr:
        """I(M)."""
        a, b, c = self.chance
        spread = a / choices + b / choices ** sp.Rational(3, 2) + c / choices**2
        return 1 + sp.sqrt(sp.Max(0, self.static**2 + spread))


def expert_imbalance(use: ExpertUse, ffn: MoeFfn, tokens: sp.Expr, groups: sp.Expr) -> sp.Expr:
    """Load of the busiest of `groups` expert groups over the mean, for `tokens` tokens of the engine.

    Symbolic `groups` may take any value that divides the experts and their copies.
    """
    choices = ffn.experts_per_token * sp.Max(1, tokens)
    if groups.is_Integer:
        return balance(use, ffn.experts, int(groups)).imbalance(choices)
    counts = [n for n in range(1, ffn.experts + 1) if (ffn.experts + use.redundant) % n == 0]
    pieces = [(balance(use, ffn.experts, n).imbalance(choices), sp.Le(groups, n)) for n in counts]
    return sp.Piecewise(*pieces[:-1], (pieces[-1][0], True))


@lru_cache(maxsize=1024)
def balance(use: ExpertUse, experts: int, groups: int) -> Balance:
    """The law's constants for `experts` experts in `groups` equal groups."""
    if groups == 1:
        return Balance(0.0, (0.0, 0.0, 0.0))
    shares = group_shares(use, experts, groups)
    choices = np.array(_FITTED_CHOICES, dtype=np.float64)
    excess = np.array([_expected_excess(shares, count) for count in _FITTED_CHOICES])
    static = float(groups * shares.max() - 1)
    # The groups' loads add up to M, which frees their differences: variances of differences grow so much.
    squares = (excess**2 - static**2) * groups / (groups - 1)
    terms = np.stack([choices**-1.0, choices**-1.5, choices**-2.0], axis=1)
    weight = 1 / (2 * (1 + excess) * np.maximum(excess, 1e-3))
    a, b, c = np.linalg.lstsq(terms * weight[:, None], squares * weight, rcond=None)[0]
    return Balance(static, (float(a), float(b), float(c)))


def group_shares(use: ExpertUse, experts: int, groups: int) -> Floats:
    """Part of all choices that each group of experts receives in the long run, shape (groups,).

    Raises ValueError where experts and copies do not divide over the groups.
    """
    slots = experts + (use.redundant if groups > 1 else 0)
    if slots % groups:
        raise ValueError(f"{slots} experts and copies do not divide over {groups} groups")
    shares = use.shares(experts)
    if use.rebalanced and groups > 1:
        return _packed(_copied(shares, slots), groups)
    return np.asarray(shares).reshape(groups, -1).sum(axis=1)


def _copied(shares: Sequence[float], slots: int) -> list[float]:
    """Load of every copy when each further one goes to the expert with the most load a copy."""
    heap = [(-share, expert, 1) for expert, share in enumerate(shares)]
    heapq.heapify(heap)
    for _ in range(slots - len(shares)):
        load, expert, copies = heap[0]
        heapq.heapreplace(heap, (load * copies / (copies + 1), expert, copies + 1))
    return [-load for load, _, copies in heap for _ in range(copies)]


def _packed(loads: Sequence[float], groups: int) -> Floats:
    """Loads of groups of equal size, the heaviest copy first to the lightest group with room."""
    room, heap, packed = len(loads) // groups, [(0.0, group, 0) for group in range(groups)], np.zeros(groups)
    for load in sorted(loads, reverse=True):
        _, group, held = heapq.heappop(heap)
        packed[group] += load
        if held + 1 < room:
            heapq.heappush(heap, (float(packed[group]), group, held + 1))
    return packed


def _expected_excess(shares: Floats, choices: int) -> float:
    """Expected largest of independent binomials over the mean load, minus 1."""
    kinds, counts = np.unique(np.round(shares, 12), return_counts=True)
    largest = choices * float(shares.max())
    width = _DEVIATIONS * np.sqrt(largest) + _DEVIATIONS
    low, high = max(0, int(largest - width)), min(choices, int(largest + width))
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1.0, choices + 1)))])
    below = np.ones(high - low + 1)
    for share, count in zip(kinds, counts, strict=True):
        below *= _binomial_cdf(choices, float(share), low, high, log_factorial) ** count
    return float((low + np.sum(1 - below)) * len(shares) / choices - 1)


def _binomial_cdf(trials: int, share: float, low: int, high: int, log_factorial: Floats) -> Floats:
    """P(X ≤ x) for x = low … high."""
    if share in (0.0, 1.0):
        return np.full(high - low + 1, 1.0 - share)
    hits = np.arange(high + 1)
    log_pmf = log_factorial[trials] - log_factorial[hits] - log_factorial[trials - hits]
    log_pmf = log_pmf + hits * np.log(share) + (trials - hits) * np.log1p(-share)
    return np.asarray(np.minimum(1.0, np.cumsum(np.exp(log_pmf)))[low:])
