"""Numbers that a solver can hold: factors are gathered in front of what they multiply.

Solvers have absolute tolerances and drop coefficients below about 1e-9, also inside expressions, before they
look at what those multiply: `1e33 * (1e-20 * x + 1e-34 * y)` is not read as written. `scale_of` says by how
much to multiply a quantity of known range, and `multiplied` does so term by term.
"""

from __future__ import annotations

from math import inf
from typing import Any, TypeAlias

import pyomo.environ as pyo
from pyomo.core.expr.numeric_expr import NegationExpression, ProductExpression, SumExpression

from ..monotone import Range

PyomoExpression: TypeAlias = Any
"""Pyomo ships no types: a number, a variable or an expression of them."""

SPAN = 1e2
WIDEST_SPAN = 1e6


def scale_of(span: Range) -> float:
    """The factor that brings a range to about `SPAN`, or its small end to 1.

    A positive range of many decades is scaled until its small end is 1 or its large end `WIDEST_SPAN`.
    """
    magnitude = max(abs(span[0]), abs(span[1]))
    if not 0 < magnitude < inf:
        return 1.0
    if span[0] <= 0:
        return SPAN / magnitude
    return min(max(SPAN / magnitude, 1 / span[0]), WIDEST_SPAN / magnitude)


def multiplied(factor: float, value: PyomoExpression) -> PyomoExpression:
    """`factor * value`, the factor taken into sums and joined with the numbers in front of products."""
    if isinstance(value, SumExpression):  # linear expressions are sums
        return pyo.quicksum(multiplied(factor, term) for term in value.args)
    if isinstance(value, NegationExpression):
        return multiplied(-factor, value.args[0])
    if isinstance(value, ProductExpression) and not hasattr(value.args[0], "is_expression_type"):
        return multiplied(factor * value.args[0], value.args[1])
    return factor * value


def unit(value: PyomoExpression, span: Range) -> tuple[PyomoExpression, float]:
    """A value of about unit size, and the number that it must be multiplied by."""
    scale = scale_of(span)
    return multiplied(scale, value), 1 / scale
