"""Exact hypervolume of a few objectives, what a search may have missed of it, and subsets that keep most of
it.

The hypervolume of cost vectors is the volume that they cover below a reference point: by slices along the
last objective, exact up to floating-point sums. A search that ends early knows boxes that are empty: what
lies in none of them and under no point is all that can be missing.
"""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np

from .dominance import nondominated
from .lowering import Floats

MOST_SUBSETS = 20_000
"""Subsets that are tried one by one; beyond that, three and more objectives are chosen greedily."""


def hypervolume(costs: Floats, reference: Floats) -> float:
    """The volume between the points [points, objectives] and the reference that all of them lie below."""
    points = np.asarray(costs, dtype=np.float64).reshape(-1, len(reference))
    points = points[np.all(points < reference, axis=1)]
    return _volume(points[nondominated(points)], np.asarray(reference, dtype=np.float64))


def _volume(points: Floats, reference: Floats) -> float:
    if not len(points):
        return 0.0
    if len(reference) == 1:
        return float(reference[0] - points[:, 0].min())
    ordered = points[np.lexsort(points.T)]  # by the last objective
    if len(reference) == 2:
        lowest = np.minimum.accumulate(ordered[:, 0])
        heights = np.diff(np.append(ordered[:, 1], reference[1]))
        return float(np.sum((reference[0] - lowest) * heights))
    depths = np.diff(np.append(ordered[:, -1], reference[-1]))
    slices = (ordered[: count + 1, :-1] for count in range(len(ordered)))
    return sum(
        float(depth) * _volume(part[nondominated(part)], reference[:-1])
        for part, depth in zip(slices, depths, strict=True)
        if depth > 0
    )


def missing_hypervolume(found: Floats, closed: Floats, ideal: Floats, reference: Floats) -> float:
    """The most that undiscovered points can add to the hypervolume of those found.

    `closed` are upper bounds of boxes `costs < u` that hold no point. An undiscovered point that covers x
    lies in no closed box; if x lies in one, so does everything that covers it. So what can be added lies
    above `ideal`, in no closed box and under no found point, and closed boxes and covered volume do not meet.
    """
    whole = float(np.prod(reference - ideal))
    emptied = hypervolume(-np.minimum(closed, reference), -ideal)
    return max(0.0, whole - emptied - hypervolume(found, reference))


def representatives(costs: Floats, count: int, reference: Floats) -> tuple[list[int], bool]:
    """Rows of `count` points that together keep the most hypervolume, in increasing order; whether provably
    so.

    Exact for two objectives (Kuhn et al. 2016, by dynamic programming) and where the subsets can be tried
    one by one; else greedy, which keeps at least 1 - 1/e of the best (Nemhauser, Wolsey and Fisher 1978).
    """
    rows = len(costs)
    if count >= rows:
        return list(range(rows)), True
    if costs.shape[1] == 2:
        return _chain(costs, count, reference), True
    if comb(rows, count) <= MOST_SUBSETS:
        best = max(
            combinations(range(rows), count), key=lambda subset: hypervolume(costs[list(subset)], reference)
        )
        return list(best), True
    return _greedy(costs, count, reference), False


def _greedy(costs: Floats, count: int, reference: Floats) -> list[int]:
    chosen: list[int] = []
    for _ in range(count):
        rest = [row for row in range(len(costs)) if row not in chosen]
        chosen.append(max(rest, key=lambda row: hypervolume(costs[[*chosen, row]], reference)))
    return sorted(chosen)


def _chain(costs: Floats, count: int, reference: Floats) -> list[int]:
    """Two objectives: from left to right, each point adds the rectangle that its left neighbour leaves it."""
    order = np.argsort(costs[:, 0], kind="stable")
    first, second = costs[order, 0], costs[order, 1]
    width = reference[0] - first
    gain = width * (reference[1] - second)
    back: list[np.ndarray] = []
    # added[i, j]: what point j adds when i is its left neighbour
    added = np.where(
        np.arange(len(order))[:, None] < np.arange(len(order)), width * (second[:, None] - second), -np.inf
    )
    for _ in range(count - 1):
        total = gain[:, None] + added
        back.append(total.argmax(axis=0))
        gain = total.max(axis=0)
    place = int(gain.argmax())
    chain = [place]
    for links in reversed(back):
        place = int(links[place])
        chain.append(place)
    return sorted(int(order[place]) for place in chain)
