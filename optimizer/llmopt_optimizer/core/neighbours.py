"""Roots of many rows at once where rows are neighbours: each differs from the next in one number.

When the right-hand side of `x = g(x)` rises from row to row, so does its smallest root. Every `STRIDE`th row
is solved from below (`states`); the roots of the rows between lie between theirs, in brackets that are mostly
so narrow that false position ends in a few steps. Rows whose bracket is wide or missing are solved from
below too, from the root of the row before. As with the samples of `states`, two more roots within a narrow
bracket could be missed, which `certify` would show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .lowering import Floats
from .states import ROOT_TOLERANCE, RootFunction, smallest_roots

STRIDE = 16
WIDEST = 1.5
"""Brackets whose ends differ by a larger factor are not trusted to hold one root only."""
MOST_STEPS = 60
CLOSE = 2 * ROOT_TOLERANCE
"""Relative residual, or width of a bracket, that ends a search: a few roundings."""
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Chain:
    """Rows in order: `order` lists them, groups one after another, g rising from row to row of a group."""

    order: Places
    group: Places
    """The group of each row in that order; increasing."""

    @property
    def coarse(self) -> NDArray[np.bool_]:
        """Of each row in order: whether it is solved first. The first and last of a group always are."""
        count = len(self.group)
        starts = np.flatnonzero(np.r_[True, self.group[1:] != self.group[:-1]])
        place = np.arange(count) - np.repeat(starts, np.diff(np.r_[starts, count]))
        chosen = place % STRIDE == 0
        chosen[np.r_[starts[1:] - 1, count - 1]] = True
        return chosen


def neighbouring_roots(
    equation: RootFunction, lower: Floats, upper: Floats, chain: Chain, name: str
) -> Floats:
    """The smallest root of every row in [lower, upper], nan where there is none, as `smallest_roots`."""
    roots = np.full(lower.shape, np.nan)
    coarse = chain.coarse
    first = chain.order[coarse]
    roots[first] = _some_roots(equation, lower[first], upper[first], first, name)
    rest = chain.order[~coarse]
    if not rest.size:
        return roots
    before = first[np.cumsum(coarse)[~coarse] - 1]
    after = first[np.cumsum(coarse)[~coarse]]
    low, high = np.fmax(lower[rest], roots[before]), roots[after]
    hopeless = np.isnan(roots[before]) & (upper[rest] <= upper[before])
    narrow = ~hopeless & (high <= WIDEST * low) & ~np.isnan(roots[before])
    roots[rest[narrow]] = _between(equation, low[narrow], high[narrow], rest[narrow])
    open_rows = rest[~hopeless & np.isnan(roots[rest])]
    start = low[~hopeless & np.isnan(roots[rest])]
    roots[open_rows] = _some_roots(equation, start, upper[open_rows], open_rows, name)
    roots[roots > upper * (1 + 1e-12)] = np.nan
    return roots


def _some_roots(equation: RootFunction, lower: Floats, upper: Floats, rows: Places, name: str) -> Floats:
    return smallest_roots(lambda x, taken: equation(x, rows[taken]), lower, upper, name)


@dataclass(slots=True)
class _Brackets:
    """Ends of the rows still searched, and residuals g(x) - x: above zero at `low`, below zero at `high`."""

    rows: Places
    low: Floats
    high: Floats
    above: Floats
    below: Floats
    side: Floats
    """Which end moved last: 1 low, -1 high."""

    def take(self, mask: NDArray[np.bool_]) -> _Brackets:
        """Only these rows."""
        ends = self.low[mask], self.high[mask]
        return _Brackets(self.rows[mask], *ends, self.above[mask], self.below[mask], self.side[mask])


def _between(equation: RootFunction, low: Floats, high: Floats, rows: Places) -> Floats:
    """The root in each bracket by false position (Illinois); nan where the ends do not enclose one."""
    found = np.full(low.shape, np.nan)
    ends = [equation(end, rows) - end for end in (low, high)]
    for end, residual in zip((low, high), ends, strict=True):
        at_end = np.abs(residual) <= CLOSE * end
        found[at_end & np.isnan(found)] = end[at_end & np.isnan(found)]
    enclosed = np.isnan(found) & (ends[0] > 0) & (ends[1] < 0)
    search = _Brackets(np.arange(len(rows)), low, high, ends[0], ends[1], np.zeros(len(rows)))
    search = search.take(enclosed)
    for _ in range(MOST_STEPS):
        if not search.rows.size:
            break
        x = search.low + (search.high - search.low) * search.above / (search.above - search.below)
        residual = equation(x, rows[search.rows]) - x
        done = (np.abs(residual) <= CLOSE * x) | (search.high - search.low <= CLOSE * x)
        found[search.rows[done]] = x[done]
        search = _narrowed(search, x, residual).take(~done)
    return found


def _narrowed(search: _Brackets, x: Floats, residual: Floats) -> _Brackets:
    """The end on the root's far side stays; when it stays twice its residual counts half."""
    up = residual > 0
    above = np.where(up, residual, np.where(search.side < 0, search.above / 2, search.above))
    below = np.where(up, np.where(search.side > 0, search.below / 2, search.below), residual)
    low, high = np.where(up, x, search.low), np.where(up, search.high, x)
    return _Brackets(search.rows, low, high, above, below, np.where(up, 1.0, -1.0))
