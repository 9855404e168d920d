"""Functions with jumps of continuous arguments: ceiling, floor and Piecewise, by integers and binaries.

A jump cannot be closed on both sides within a solver's tolerance: arguments within `MARGIN` above a jump
are cut off. The certificate, which evaluates the expressions themselves, judges answers next to a jump.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf

import pyomo.environ as pyo
from sympy import Basic, Piecewise, ceiling, floor
from sympy.core.relational import Ge, Gt, Le, Lt

from ..monotone import EITHER
from .scope import NotTranslatable, PyomoExpression, Scope, Translate

MARGIN = 1e-6


@dataclass(frozen=True, slots=True)
class RoundingReduction:
    """ceiling(x) is the integer n with x <= n < x + 1; floor(x) is -ceiling(-x)."""

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Ceiling and floor."""
        return isinstance(expression, (ceiling, floor))

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """An auxiliary integer."""
        sign = 1 if isinstance(expression, ceiling) else -1
        argument = sign * expression.args[0]
        low, high = scope.range(argument)
        if not (low > -inf and high < inf):
            raise NotTranslatable(expression, "its range is not bounded; bound the symbols that it reads")
        value = translate(argument, EITHER)
        whole = scope.variable(ceil(low) - 1, ceil(high) + 1, pyo.Integers)
        scope.require(whole >= value - MARGIN * 1e-2)
        scope.require(whole <= value + (1 - MARGIN))
        return sign * whole


@dataclass(frozen=True, slots=True)
class PiecewiseReduction:
    """A binary for each branch, which is 1 when the branch's condition is the first to hold."""

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Any Piecewise."""
        return isinstance(expression, Piecewise)

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """An auxiliary variable tied to the value of the chosen branch."""
        low, high = scope.range(expression)
        if not (low > -inf and high < inf):
            raise NotTranslatable(expression, "its range is not bounded; bound the symbols that it reads")
        result = scope.variable(low, high)
        earlier: list[PyomoExpression] = []
        branches: list[PyomoExpression] = []
        for value, condition in expression.args:
            holds = _indicator(condition, scope, translate)
            branch = scope.binary()
            scope.require(branch <= holds)
            for other in earlier:
                scope.require(branch <= 1 - other)
            earlier.append(holds)
            branches.append(branch)
            self._tie(result, translate(value, EITHER), branch, high - low, scope)
        scope.require(pyo.quicksum(branches) == 1)
        return result

    def _tie(
        self,
        result: PyomoExpression,
        value: PyomoExpression,
        branch: PyomoExpression,
        spread: float,
        scope: Scope,
    ) -> None:
        scope.require(result - value <= spread * (1 - branch))
        scope.require(value - result <= spread * (1 - branch))


def _indicator(condition: Basic, scope: Scope, translate: Translate) -> PyomoExpression:
    """A binary that is 1 exactly when the condition holds."""
    holds = scope.binary()
    if condition == True:  # noqa: E712  (SymPy's true)
        scope.require(holds >= 1)
        return holds
    if not isinstance(condition, (Le, Lt, Ge, Gt)):
        raise NotTranslatable(condition, "only <=, <, >= and > are translated")
    sign = 1 if isinstance(condition, (Le, Lt)) else -1
    difference = sign * (condition.lhs - condition.rhs)
    low, high = scope.range(difference)
    value = translate(difference, EITHER)
    edge = MARGIN if isinstance(condition, (Lt, Gt)) else 0.0
    scope.require(value <= -edge + (high + MARGIN) * (1 - holds))
    scope.require(value >= (MARGIN - edge) * (1 - holds) + (low - MARGIN) * holds)
    return holds
