"""Where undiscovered points may still be: boxes below local upper bounds (Klamroth, Lacour, Vanderpooten
2015).

With cost vectors to minimise, the region that no found point covers is a union of boxes `costs < u`. A new
point z takes from every box that holds it what z covers: the box is replaced by a copy for each objective,
cut at z. Boxes inside others are left out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .lowering import Floats

Inside = Callable[[Floats, Floats], NDArray[np.bool_]]
"""Which boxes [boxes, objectives] hold a point."""


def strictly_inside(point: Floats, boxes: Floats) -> NDArray[np.bool_]:
    """Boxes that the point lies below in every objective."""
    return np.all(point < boxes, axis=1)


def split(boxes: Floats, point: Floats, closed: Floats, inside: Inside = strictly_inside) -> Floats:
    """The boxes after a point is found, without those inside another or inside a closed one."""
    holds = inside(point, boxes)
    if not holds.any():
        return boxes
    whole, cut = boxes[~holds], boxes[holds]
    pieces = np.concatenate([_cut_at(cut, point, column) for column in range(boxes.shape[1])])
    pieces = np.unique(pieces, axis=0)
    pieces = pieces[~_within_any(pieces, whole) & ~_within_any(pieces, closed)]
    return np.concatenate([whole, pieces[~_within_another(pieces)]])


def _cut_at(boxes: Floats, point: Floats, column: int) -> Floats:
    piece = boxes.copy()
    piece[:, column] = point[column]
    return piece


def _within_any(inner: Floats, outer: Floats) -> NDArray[np.bool_]:
    """Which boxes lie inside one of `outer`."""
    if not len(outer):
        return np.zeros(len(inner), dtype=np.bool_)
    return np.array([bool(np.any(np.all(box <= outer, axis=1))) for box in inner], dtype=np.bool_)


def _within_another(boxes: Floats) -> NDArray[np.bool_]:
    """Which of these distinct boxes lie inside another of them."""
    return np.array(
        [int(np.count_nonzero(np.all(box <= boxes, axis=1))) > 1 for box in boxes], dtype=np.bool_
    )


def boxes_of(points: Floats, most: int) -> Floats | None:
    """The boxes that a whole front leaves; None when they are more than `most`."""
    boxes = np.full((1, points.shape[1]), np.inf)
    none = np.zeros((0, points.shape[1]))
    for point in points:
        boxes = split(boxes, point, none)
        if len(boxes) > most:
            return None
    return boxes
