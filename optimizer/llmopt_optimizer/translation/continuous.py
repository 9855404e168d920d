"""Continuous symbols, and what they are multiplied by.

A discrete factor times a bounded rest is exact by perspective: with binaries h that pick the value d_i,
and parts w_i in [low h_i, high h_i] that sum to x, `sum d_i w_i` is d x. What is left, products of
continuous terms, powers, exp and log, goes to the solver as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import pyomo.environ as pyo
from sympy import Basic, Integer, Mul, Pow, exp, log

from ..monotone import EITHER
from .scope import NotTranslatable, PyomoExpression, Scope, Translate
from .table import one_hot


@dataclass(frozen=True, slots=True)
class SymbolReduction:
    """A continuous symbol is its variable."""

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Continuous symbols of the scope."""
        return expression in scope.continuous

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """The variable, in the symbol's unit."""
        return scope.continuous[expression]


@dataclass(frozen=True, slots=True)
class PerspectiveReduction:
    """A product of a discrete part that reads one factor, and a bounded rest."""

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Products with both parts, the rest with a finite range."""
        if not isinstance(expression, Mul):
            return False
        discrete, rest = _parts(expression, scope)
        low, high = scope.range(rest)
        return discrete != 1 and rest != 1 and -inf < low <= high < inf

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """The sum of value times part."""
        discrete, rest = _parts(expression, scope)
        low, high = scope.range(rest)
        values, hot = one_hot(discrete, scope)
        parts = [scope.free_variable(low, high) for _ in hot]
        for part, choice in zip(parts, hot, strict=True):
            scope.require(part <= high * choice)
            scope.require(part >= low * choice)
        scope.require(pyo.quicksum(parts) == translate(rest, EITHER))
        return pyo.quicksum(value * part for value, part in zip(values, parts, strict=True))


@dataclass(frozen=True, slots=True)
class SmoothReduction:
    """Products, powers with a constant exponent, exp and log: the solver's own operators."""

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Those nodes."""
        return isinstance(expression, (Mul, exp, log)) or (
            isinstance(expression, Pow) and expression.exp.is_number
        )

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """The operator on the exactly translated arguments."""
        if isinstance(expression, Mul):
            return pyo.prod(translate(argument, EITHER) for argument in expression.args)
        argument = translate(expression.args[0], EITHER)
        if isinstance(expression, exp):
            return pyo.exp(argument)
        if isinstance(expression, log):
            return pyo.log(argument)
        return _power(expression, argument, scope)


def _power(expression: Pow, argument: PyomoExpression, scope: Scope) -> PyomoExpression:
    exponent = float(expression.exp)
    if not exponent.is_integer() and scope.range(expression.base)[0] < 0:
        raise NotTranslatable(expression, "its base may be negative; bound the base from below by zero")
    return argument ** (int(exponent) if exponent.is_integer() else exponent)


def _parts(expression: Mul, scope: Scope) -> tuple[Basic, Basic]:
    """The arguments of the smallest discrete factor among those that stand alone, and all others."""
    alone = [a for a in expression.args if scope.discrete(a) and len(scope.factors_of(a)) == 1]
    if not alone:
        return Integer(1), expression
    smallest = min((scope.factors_of(a)[0] for a in alone), key=lambda factor: len(factor.hot))
    own = [a for a in alone if scope.factors_of(a)[0] is smallest]
    return Mul(*own), Mul(*(a for a in expression.args if a not in own))
