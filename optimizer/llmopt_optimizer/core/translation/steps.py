"""Functions with jumps of continuous arguments: ceiling, floor and Piecewise, by integers and binaries.

A jump cannot be closed on both sides within a solver's tolerance: arguments within `MARGIN` above a jump
are cut off. The certificate, which evaluates the expressions themselves, judges answers next to a jump.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf

import pyomo.environ as pyo
from sympy import Basic, Piecewise, Pow, ceiling, floor, log
from sympy.core.relational import Ge, Gt, Le, Lt

from ..monotone import EITHER
from .powers import log_power
from .scaling import PyomoExpression, multiplied, scale_of
from .scope import NotTranslatable, Scope, Translate

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
        scale = scale_of((low, high))
        result = scope.variable(scale * low, scale * high)
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
            own_low, own_high = scope.range(value)
            if not (own_low > -inf and own_high < inf):
                raise NotTranslatable(value, "its range is not bounded; bound the symbols that it reads")
            difference = result - multiplied(scale, translate(value, EITHER))
            scope.require(difference <= scale * (high - own_low) * (1 - branch))
            scope.require(difference >= scale * (low - own_high) * (1 - branch))
        scope.require(pyo.quicksum(branches) == 1)
        return result / scale


def _indicator(condition: Basic, scope: Scope, translate: Translate) -> PyomoExpression:
    """A binary that is 1 exactly when the condition holds; conditions that recur share theirs."""
    if (condition, EITHER) not in scope.translated:
        scope.translated[condition, EITHER] = _new_indicator(condition, scope, translate)
    return scope.translated[condition, EITHER]


def _new_indicator(condition: Basic, scope: Scope, translate: Translate) -> PyomoExpression:
    holds = scope.binary()
    if condition == True:  # noqa: E712  (SymPy's true)
        scope.require(holds >= 1)
        return holds
    if not isinstance(condition, (Le, Lt, Ge, Gt)):
        raise NotTranslatable(condition, "only <=, <, >= and > are translated")
    sign = 1 if isinstance(condition, (Le, Lt)) else -1
    left, right = _comparable(condition, scope)
    difference = sign * (left - right)
    scale = scale_of(scope.range(difference))
    low, high = (scale * end for end in scope.range(difference))
    if not (low > -inf and high < inf):
        raise NotTranslatable(condition, "its range is not bounded; bound the symbols that it reads")
    value = multiplied(scale, translate(difference, EITHER))
    edge = MARGIN if isinstance(condition, (Lt, Gt)) else 0.0
    scope.require(value <= -edge + (high + MARGIN) * (1 - holds))
    scope.require(value >= (MARGIN - edge) * (1 - holds) + (low - MARGIN) * holds)
    return holds


def _comparable(condition: Basic, scope: Scope) -> tuple[Basic, Basic]:
    """Both sides, or their logarithms where a power with a decided exponent is compared with a number."""
    left, right = condition.lhs, condition.rhs
    powered = isinstance(left, Pow) and not left.exp.is_number and scope.range(left.base)[0] > 0
    if powered and right.is_number and right > 0:
        return log_power(left), log(right)
    return left, right
