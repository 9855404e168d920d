"""Tables: an expression of a few discrete factors becomes numbers times one-hot binaries, exactly.

An expression of one factor is `sum of value[row] * hot[row]`. One of several factors is a table on the
product of their one-hot choices: cells z >= 0 whose marginals are the binaries. The cells may be
continuous: marginals that are unit vectors leave one cell only. Rows with equal values of the symbols that
the expression reads share a cell, and a cell where the expression is no finite number cannot be chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import pyomo.environ as pyo
from numpy.typing import NDArray
from pyomo.core.expr.numeric_expr import LinearExpression
from sympy import Basic, Symbol

from ..algebra import symbols_of
from ..lowering import Floats, compile_expressions
from ..program import TOLERANCE
from .scaling import PyomoExpression
from .scope import Factor, Scope, Translate


@dataclass(frozen=True, slots=True)
class _Projection:
    """A factor seen through the symbols that an expression reads."""

    factor: Factor
    values: Mapping[Symbol, Floats]
    """Distinct value tuples, one array [tuples] a symbol."""
    tuple_of_row: NDArray[np.intp]

    @property
    def count(self) -> int:
        return int(self.tuple_of_row.max()) + 1

    def hot(self, position: int) -> PyomoExpression:
        """1 when the chosen row has this value tuple."""
        return pyo.quicksum(self.factor.hot[row] for row in np.flatnonzero(self.tuple_of_row == position))


@dataclass(frozen=True, slots=True)
class TableReduction:
    """Discrete expressions of at most `most_factors` factors and `cells` cells; one factor always."""

    cells: int
    most_factors: int

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Discrete, and small enough."""
        factors = scope.factors_of(expression)
        if not factors or not scope.discrete(expression) or len(factors) > self.most_factors:
            return False
        return len(factors) == 1 or prod(_project(f, expression).count for f in factors) <= self.cells

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """The weighted sum of binaries, or of cells that are added to the model."""
        values, hot = one_hot(expression, scope)
        return LinearExpression(constant=0.0, linear_coefs=values, linear_vars=hot)


def one_hot(expression: Basic, scope: Scope) -> tuple[list[float], list[PyomoExpression]]:
    """The values that a discrete expression may take, and for each a variable that is 1 when it does.

    Cells are added to the model where the expression reads several factors. A variable whose value is no
    finite number is fixed to zero and left out.
    """
    projections = [_project(factor, expression) for factor in scope.factors_of(expression)]
    values = table_values(expression, [projection.values for projection in projections])
    if len(projections) == 1:
        return _finite(values[projections[0].tuple_of_row], list(projections[0].factor.hot))
    return _finite(values.ravel(), _joint_cells(projections, values.shape, scope))


def _joint_cells(
    projections: list[_Projection], shape: tuple[int, ...], scope: Scope
) -> list[PyomoExpression]:
    """The cells of a product, the same ones for all expressions that see the factors alike."""
    key = tuple((id(p.factor), p.tuple_of_row.tobytes()) for p in projections)
    if key not in scope.products:
        cells = np.array(scope.cells(prod(shape)), dtype=object).reshape(shape)
        for axis, projection in enumerate(projections):
            _tie_marginals(np.moveaxis(cells, axis, 0), projection, scope)
        scope.products[key] = list(cells.ravel())
    return scope.products[key]


def forbid(expression: Basic, magnitude: Basic, scope: Scope) -> None:
    """Forbid every choice at which a discrete expression exceeds `TOLERANCE` times its magnitude.

    Exact where `expression <= 0`, translated, would leave a solver its own tolerance. `magnitude` reads what
    the expression reads.
    """
    projections = [_project(factor, expression) for factor in scope.factors_of(expression)]
    axes = [projection.values for projection in projections]
    with np.errstate(invalid="ignore"):
        allowed = table_values(expression, axes) <= TOLERANCE * table_values(magnitude, axes)
    if len(projections) == 1:
        allowed = allowed[projections[0].tuple_of_row]
        cells = list(projections[0].factor.hot)
    else:
        cells = _joint_cells(projections, allowed.shape, scope)
    scope.require(
        pyo.quicksum(cell for cell, fine in zip(cells, allowed.ravel(), strict=True) if not fine) <= 0
    )


def table_values(expression: Basic, axes: list[Mapping[Symbol, Floats]]) -> Floats:
    """The expression on the product of the axes, one array axis each."""
    known: dict[Symbol, Floats] = {}
    for axis, values in enumerate(axes):
        along = [-1 if other == axis else 1 for other in range(len(axes))]
        known |= {symbol: array.reshape(along) for symbol, array in values.items()}
    shape = np.broadcast_shapes(*(array.shape for array in known.values()))
    return compile_expressions((expression,))(known, shape)[0]


def _project(factor: Factor, expression: Basic) -> _Projection:
    read = symbols_of(expression)
    symbols = [symbol for symbol in factor.values if symbol in read]
    stacked = np.stack([factor.values[symbol] for symbol in symbols], axis=1)
    distinct, inverse = np.unique(stacked, axis=0, return_inverse=True)
    values = {symbol: distinct[:, position] for position, symbol in enumerate(symbols)}
    return _Projection(factor, values, inverse.ravel())


def _tie_marginals(cells: NDArray[np.object_], projection: _Projection, scope: Scope) -> None:
    for position, slab in enumerate(cells):
        scope.require(pyo.quicksum(slab.ravel()) == projection.hot(position))


def _finite(values: Floats, variables: list[PyomoExpression]) -> tuple[list[float], list[PyomoExpression]]:
    for value, variable in zip(values, variables, strict=True):
        if not np.isfinite(value):
            variable.fix(0.0)
    pairs = [(float(v), x) for v, x in zip(values, variables, strict=True) if np.isfinite(v)]
    return [value for value, _ in pairs], [variable for _, variable in pairs]
