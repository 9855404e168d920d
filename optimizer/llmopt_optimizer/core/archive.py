"""The nondominated rows seen so far, of streams of cost vectors: compiled, because streams are long.

Costs are to be minimised. A row covers another when it is nowhere worse. Rows are told apart exactly while
they stream by; `distinct_front` then joins what the resolution cannot tell apart.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .lowering import Floats

Rows = NDArray[np.int64]


@njit(cache=True)
def covered(costs: Floats, front: Floats) -> NDArray[np.bool_]:
    """Which rows of `costs` [rows, objectives] some row of `front` covers.

    A row that covers moves forward in its own copy of the order, since neighbours tend to be covered by the
    same.
    """
    rows, width = costs.shape
    order = np.arange(len(front))
    found = np.zeros(rows, dtype=np.bool_)
    for row in range(rows):
        for place in range(len(order)):
            other = order[place]
            column = 0
            while column < width and front[other, column] <= costs[row, column]:
                column += 1
            if column == width:
                found[row] = True
                ahead = place // 2
                order[place], order[ahead] = order[ahead], order[place]
                break
    return found


@njit(cache=True)
def nondominated_sorted(costs: Floats, allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the rows that no kept, allowed, earlier row covers; rows must come after all that cover them."""
    rows, width = costs.shape
    keep = np.ones(rows, dtype=np.bool_)
    order = np.empty(rows, dtype=np.int64)
    size = 0
    for row in range(rows):
        for place in range(size):
            other = order[place]
            column = 0
            while column < width and costs[other, column] <= costs[row, column]:
                column += 1
            if column == width:
                keep[row] = False
                ahead = place // 2
                order[place], order[ahead] = order[ahead], order[place]
                break
        if keep[row] and allowed[row]:
            order[size] = row
            size += 1
    return keep


@njit(cache=True)
def distinct_front(costs: Floats, steps: Floats) -> NDArray[np.bool_]:
    """Of rows sorted by costs, those that no other betters beyond the resolution; of equal ones the first.

    `steps` [rows, objectives] are the differences below which a cost is not told apart from a row's.
    """
    rows, width = costs.shape
    keep = np.zeros(rows, dtype=np.bool_)
    for row in range(rows):
        good = True
        for other in range(rows):
            if other == row or costs[other, 0] - steps[other, 0] > costs[row, 0]:
                continue
            covers = True
            equal = True
            for column in range(width):
                if costs[row, column] < costs[other, column] - steps[other, column]:
                    covers = False
                    break
                if costs[other, column] < costs[row, column] - steps[row, column]:
                    equal = False
            if covers and (not equal or keep[other]):
                good = False
                break
        keep[row] = good
    return keep
