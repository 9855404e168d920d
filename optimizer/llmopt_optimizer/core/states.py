"""Smallest roots of monotone equations, for many rows at once.

`x = g(x)` with g increasing is solved from below: `x <- g(x)` never passes the smallest root, and reaches
it whatever the shape of g (jumps included). It is slow near saturation, where the slope of g is near one,
so after `SAFE_STEPS` steps the secant through the last two iterates is extrapolated and four points up to
it are looked at: the first one with `g(x) <= x` closes a bracket, which then shrinks at least fourfold a
step. For a convex g (a queue) the secant never passes the root, for a concave one the root is the only one,
so both are exact; for other shapes two roots between neighbouring samples could be missed, which `certify`
would show. A row whose iterate passes its upper bound, or whose g is no number there, has no root.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .lowering import Floats
from .program import ProgramError

RootFunction = Callable[[Floats, NDArray[np.intp]], Floats]
"""g(x, rows): the right-hand sides of the equations of `rows` (indices) at x."""

ROOT_TOLERANCE = 1e-15
SAFE_STEPS = 40
MAX_STEPS = 2000
BISECTIONS = 90
"""Halvings of a bracket: from nine decades of width to the spacing of floating-point numbers."""


@dataclass(frozen=True, slots=True)
class _Search:
    """Rows still searched: the root lies above x and, once `high` is finite, at or below `high`."""

    rows: NDArray[np.intp]
    x: Floats
    image: Floats
    previous: Floats
    previous_image: Floats
    high: Floats

    def take(self, mask: NDArray[np.bool_]) -> _Search:
        """Only these rows."""
        floats = (self.x, self.image, self.previous, self.previous_image, self.high)
        return _Search(self.rows[mask], *(array[mask] for array in floats))


def smallest_roots(equation: RootFunction, lower: Floats, upper: Floats, name: str) -> Floats:
    """The smallest x with x = g(x) in [lower, upper] of every row; nan where there is none.

    Raises `ProgramError` where g(lower) < lower (the bound is above the root that iteration would find), and
    when rows have not converged after `MAX_STEPS`.
    """
    roots = np.full(lower.shape, np.nan)
    search = _start(equation, lower, upper, name)
    for step in range(MAX_STEPS):
        width = np.minimum(search.image, search.high) - search.x
        done = width <= ROOT_TOLERANCE * np.abs(search.x)
        inside = search.x <= upper[search.rows] * (1 + 1e-12)
        roots[search.rows[done & inside]] = search.x[done & inside]
        search = search.take(~done & (search.image <= upper[search.rows] * (1 + 1e-12)))
        if not search.rows.size:
            return roots
        search = _iterated(equation, search) if step < SAFE_STEPS else _accelerated(equation, search)
    raise ProgramError(
        f"state {name}: {search.rows.size} rows have no root to {ROOT_TOLERANCE:g} after {MAX_STEPS} steps; "
        "check that its equation does not decrease in the state and that its upper bound is finite"
    )


def only_roots(equation: RootFunction, lower: Floats, upper: Floats) -> Floats:
    """The x with x = g(x) in [lower, upper] of every row, g not increasing; nan where there is none.

    `x - g(x)` then increases, so its sign alone leads to the root: bisection until the interval is as small
    as numbers allow.
    """
    rows = np.flatnonzero(np.isfinite(lower) & (lower <= upper))
    low, high = lower[rows].astype(np.float64), upper[rows].astype(np.float64)
    with np.errstate(invalid="ignore"):
        inside = (equation(low, rows) >= low) & (_below(equation(high, rows)) <= high)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        beyond = _below(equation(middle, rows)) <= middle
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    roots = np.full(lower.shape, np.nan)
    roots[rows[inside]] = ((low + high) / 2)[inside]
    return roots


def _below(image: Floats) -> Floats:
    """g(x), minus infinity where it is no number: beyond a pole of a decreasing g there is no root."""
    return np.where(np.isnan(image), -np.inf, image)


def _start(equation: RootFunction, lower: Floats, upper: Floats, name: str) -> _Search:
    rows = np.flatnonzero(np.isfinite(lower) & (lower <= upper))
    x = lower[rows].astype(np.float64)
    image = _image(equation, x, rows)
    if np.any(image < x - 1e-12 * np.abs(x)):
        raise ProgramError(
            f"state {name}: its equation is below `lower` at `lower`; give a smaller lower bound"
        )
    return _Search(rows, x, image, x, image, np.full(x.shape, np.inf))


def _image(equation: RootFunction, x: Floats, rows: NDArray[np.intp]) -> Floats:
    """g(x), infinite where it is no number: beyond a pole there is no root."""
    image = equation(x, rows)
    return np.where(np.isnan(image), np.inf, image)


def _iterated(equation: RootFunction, search: _Search) -> _Search:
    image = _image(equation, search.image, search.rows)
    return _Search(search.rows, search.image, image, search.x, search.image, search.high)


def _accelerated(equation: RootFunction, search: _Search) -> _Search:
    points = _samples(search)
    images = np.stack([_image(equation, column, search.rows) for column in points])
    crossed = images <= points
    first = np.where(crossed.any(axis=0), crossed.argmax(axis=0), len(points))
    every = np.arange(search.rows.size)
    below = np.vstack([search.x, points])[first, every]
    below_image = np.vstack([search.image, images])[first, every]
    high = np.where(first < len(points), points[np.minimum(first, len(points) - 1), every], search.high)
    moved = first > 0
    return _Search(
        search.rows,
        below,
        below_image,
        np.where(moved, search.x, search.previous),
        np.where(moved, search.image, search.previous_image),
        high,
    )


def _samples(search: _Search) -> Floats:
    """Four increasing points above x [4, rows]: the secant's root, and quarters of the way there."""
    step = search.image - search.x
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (search.image - search.previous_image) / (search.x - search.previous)
        secant = search.x + step / (1 - slope)
    secant = np.where((slope < 1) & np.isfinite(secant), secant, search.x + 4 * step)
    bounded = np.isfinite(search.high)
    secant = np.where(bounded & (secant >= search.high), (search.x + search.high) / 2, secant)
    end = np.where(bounded, search.high, secant)
    quarters = search.x + np.array([[0.25], [0.5], [0.75]]) * (end - search.x)
    return np.sort(np.vstack([quarters, secant]), axis=0)
