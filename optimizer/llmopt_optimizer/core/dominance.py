"""Exact pruning: rows that another row replaces in every assignment at no loss.

Row b replaces row a when b is no worse in every feature that an objective, limit or constraint reads, where
"worse" is the direction in which all of them move; a feature that moves some of them up and some down must
be equal. Rows of an excluded assignment never replace others: the exclusion may hit them and not the row
that they would replace. Of equal rows the first one stays.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sympy import Symbol

from .archive import Rows, nondominated_sorted
from .lowering import Floats
from .monotone import EITHER


def undominated_rows(
    features: Mapping[Symbol, Floats], directions: Mapping[Symbol, int], barred: NDArray[np.bool_]
) -> Rows:
    """Rows that no other row replaces, in increasing order.

    `directions[s]` is `UP` when a smaller value of feature s is better, `DOWN` when a larger one is, `EITHER`
    when replacing needs equality; features without a direction are ignored. `barred` [rows] marks rows that
    replace nothing.
    """
    count = len(barred)
    graded = [directions[s] * features[s] for s in directions if directions[s] != EITHER]
    fixed = [features[s] for s in directions if directions[s] == EITHER]
    costs = np.stack(graded, axis=1) if graded else np.zeros((count, 1))
    kept = [group[nondominated(costs[group], barred[group])] for group in _groups(fixed, count)]
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, dtype=np.int64)


def _groups(fixed: list[Floats], count: int) -> list[Rows]:
    """Rows with the same values of the features that must be equal."""
    if not fixed or not count:
        return [np.arange(count)]
    _, group = np.unique(np.stack(fixed, axis=1), axis=0, return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group.ravel()[order])) + 1)


def nondominated(costs: Floats, barred: NDArray[np.bool_] | None = None) -> Rows:
    """Indices of the rows of `costs` [rows, objectives] that no other row equals or betters, increasing.

    Rows are visited by increasing sum of their scaled costs, ties by the costs themselves, so that a row can
    only be replaced by an earlier one.
    """
    if not len(costs):
        return np.zeros(0, dtype=np.int64)
    spread = np.ptp(costs, axis=0)
    sums = (costs / np.where(spread > 0, spread, 1.0)).sum(axis=1)
    order = np.lexsort((*costs.T[::-1], sums))
    allowed = np.ones(len(costs), dtype=np.bool_) if barred is None else ~barred
    keep = nondominated_sorted(np.ascontiguousarray(costs[order]), allowed[order])
    return np.sort(order[keep])
