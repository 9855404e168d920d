"""A measured grid: values over rows and columns, read by index or interpolated between knots.

Grids lie flat in one array of a tape: number of rows, number of columns, 1 where knots follow, the knots of
the rows and of the columns, the values row by row. So a tape with measurements has the type of every other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

_HEADER: Final = 3


class GridError(ValueError):
    """A grid that cannot be read: values, rows and columns do not fit together."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Values of shape (r, c). Without knots a position is an index: it is rounded down, NaN outside the grid.

    With knots, at least two each and rising, values between them are bilinear and beyond them continue the
    outermost cell.
    """

    values: NDArray[np.float64]
    rows: NDArray[np.float64] | None = None
    """Shape (r,): positions of the rows."""
    columns: NDArray[np.float64] | None = None
    """Shape (c,): positions of the columns."""

    def __post_init__(self) -> None:
        """Raise `GridError` where the parts do not fit together."""
        if self.values.ndim != 2 or self.values.size == 0:
            raise GridError(f"a grid has values of shape (rows, columns), not {self.values.shape}")
        if (self.rows is None) != (self.columns is None):
            raise GridError("a grid has knots for rows and columns, or for neither")
        for axis, knots in enumerate((self.rows, self.columns)):
            if knots is not None and (len(knots) < 2 or len(knots) != self.values.shape[axis]):
                raise GridError(
                    f"axis {axis} of shape {self.values.shape} has {len(knots)} knots: give one an entry"
                )
            if knots is not None and not np.all(np.diff(knots) > 0.0):
                raise GridError(f"the knots of axis {axis} do not rise: sort the measurements, drop doubles")

    def flat(self) -> NDArray[np.float64]:
        """The layout that `read_grid` reads."""
        knots = [] if self.rows is None or self.columns is None else [self.rows, self.columns]
        header = np.array([*self.values.shape, float(bool(knots))])
        return np.concatenate([header, *knots, self.values.ravel()]).astype(np.float64)


@njit(cache=True, _nrt=False, error_model="numpy")
def read_grid(grids: NDArray[np.float64], between: bool, start: int, row: float, column: float) -> float:
    """The value at (row, column) of the grid at `start`; `between` knots, or by index."""
    rows, columns = int(grids[start]), int(grids[start + 1])
    if between:
        return _bilinear(grids, start + _HEADER, rows, columns, row, column)
    if not (0.0 <= row < rows and 0.0 <= column < columns):
        return np.nan
    return grids[start + _HEADER + int(row) * columns + int(column)]


@njit(cache=True, _nrt=False, error_model="numpy")
def _bilinear(
    grids: NDArray[np.float64], start: int, rows: int, columns: int, row: float, column: float
) -> float:
    i, j = _cell(grids, start, rows, row), _cell(grids, start + rows, columns, column)
    u = (row - grids[start + i]) / (grids[start + i + 1] - grids[start + i])
    c = start + rows
    v = (column - grids[c + j]) / (grids[c + j + 1] - grids[c + j])
    corner = start + rows + columns + i * columns + j
    near = grids[corner] + v * (grids[corner + 1] - grids[corner])
    far = grids[corner + columns] + v * (grids[corner + columns + 1] - grids[corner + columns])
    return near + u * (far - near)


@njit(cache=True, _nrt=False)
def _cell(grids: NDArray[np.float64], start: int, count: int, position: float) -> int:
    """The cell that holds `position`: the last knot not above it that has a next one, found by bisection."""
    low, high = 0, count - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if grids[start + middle] <= position:
            low = middle
        else:
            high = middle
    return low
