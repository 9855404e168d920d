"""Max and Min: by epigraph where the context only pushes one way, else with a binary for each argument.

`t = Max(e1, …)` that is minimised needs `t >= ei` only. Where the context pushes the other way, t must
reach one of the arguments: binaries s with `sum s = 1` and `t <= ei + (high - low_i)(1 - si)`, high and
low_i proven ranges. Arguments that never exceed another one are left out. t is scaled: solvers have
absolute tolerances.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import pyomo.environ as pyo
from sympy import Abs, Basic, Max, Min, Mul

from ..algebra import larger
from ..monotone import DOWN, UP
from .scaling import PyomoExpression, multiplied, scale_of
from .scope import NotTranslatable, Scope, Translate


@dataclass(frozen=True, slots=True)
class ExtremumReduction:
    """Max and Min of translatable arguments with finite ranges."""

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Any Max or Min."""
        return isinstance(expression, (Max, Min))

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """Min(e) is -Max(-e); the result is an auxiliary variable."""
        sign = UP if isinstance(expression, Max) else DOWN
        arguments = [Mul(sign, argument) for argument in expression.args]
        low, high = (max(ends) for ends in zip(*map(scope.range, arguments), strict=True))
        if not max(abs(low), abs(high)) < inf:
            raise NotTranslatable(expression, "its range is not bounded; bound the symbols that it reads")
        least = next(argument for argument in arguments if scope.range(argument)[0] == low)
        arguments = [a for a in arguments if a is least or scope.range(a)[1] > low]
        if len(arguments) == 1:
            return sign * translate(arguments[0], need * sign)
        scale = scale_of((low, high))
        top = scope.variable(scale * low, scale * high)
        own_need = need * sign
        if own_need != DOWN:
            self._above(top, arguments, scale, scope, translate)
        if own_need != UP:
            self._reached(top, arguments, scale, high, scope, translate)
        return sign / scale * top

    def _above(
        self, top: PyomoExpression, arguments: list[Basic], scale: float, scope: Scope, translate: Translate
    ) -> None:
        for argument in arguments:
            scope.require(top >= multiplied(scale, translate(argument, UP)))

    def _reached(
        self,
        top: PyomoExpression,
        arguments: list[Basic],
        scale: float,
        high: float,
        scope: Scope,
        translate: Translate,
    ) -> None:
        chosen = [scope.binary() for _ in arguments]
        scope.require(pyo.quicksum(chosen) == scope.present)
        for argument, choice in zip(arguments, chosen, strict=True):
            slack = scale * (high - scope.range(argument)[0])
            if not slack < inf:
                raise NotTranslatable(argument, "its range is not bounded; bound the symbols that it reads")
            scope.require(
                top <= multiplied(scale, translate(argument, DOWN)) + slack * (scope.present - choice)
            )


@dataclass(frozen=True, slots=True)
class MagnitudeReduction:
    """|x| is the larger of x and -x."""

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Any absolute value."""
        return isinstance(expression, Abs)

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """The translated Max."""
        argument = expression.args[0]
        return translate(larger(argument, -argument), need)
