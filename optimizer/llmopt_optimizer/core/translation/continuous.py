"""Continuous symbols, and what they are multiplied by.

Products, powers, exp and log go to the solver as they are, their operands scaled. The discrete operands of a
product are joined into one, which gets a variable: that leaves the solver products of two bounded variables
where it would multiply out sums over binaries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from math import inf

import pyomo.environ as pyo
from sympy import Basic, Mul, Pow, exp, log

from ..monotone import EITHER, Range, product_range
from .scaling import SPAN, PyomoExpression, multiplied, scale_of, unit
from .scope import NotTranslatable, Scope, Translate

MOST_OPERANDS = 3
"""Operands of a product between variables of their own."""


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
class SmoothReduction:
    """Products, powers with a constant exponent, exp and log: the solver's own operators."""

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Those nodes."""
        return isinstance(expression, (Mul, exp, log)) or (
            isinstance(expression, Pow) and expression.exp.is_number
        )

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """The operator on the exactly translated arguments, each scaled to about unit size."""
        if isinstance(expression, Pow):
            return _power(expression, scope, translate)
        if isinstance(expression, Mul):
            return _product(expression, scope, translate)
        argument = translate(expression.args[0], EITHER)
        if isinstance(expression, exp):
            return pyo.exp(argument)
        value, coefficient = unit(argument, scope.range(expression.args[0]))
        return pyo.log(value) + math.log(coefficient)


def _product(expression: Mul, scope: Scope, translate: Translate) -> PyomoExpression:
    """The product of scaled operands, few at a time: the coefficient of many would be next to nothing."""
    parts = [(_operand(part, scope, translate), scope.range(part)) for part in _grouped(expression, scope)]
    while len(parts) > MOST_OPERANDS:
        first, rest = parts[:MOST_OPERANDS], parts[MOST_OPERANDS:]
        span = reduce(product_range, (span for _, span in first))
        value = _multiplied(first)
        finite = -inf < span[0] <= span[1] < inf
        parts = [(scope.shared(value, span) if finite else value, span), *rest]
    return _multiplied(parts)


def _multiplied(parts: list[tuple[PyomoExpression, Range]]) -> PyomoExpression:
    units = [unit(value, span) for value, span in parts]
    return math.prod(coefficient for _, coefficient in units) * pyo.prod(value for value, _ in units)


def _power(expression: Pow, scope: Scope, translate: Translate) -> PyomoExpression:
    """The power of a base that is scaled so that neither it nor its power is large."""
    exponent = _exponent(expression, scope)
    span = scope.range(expression.base)
    bounded = -inf < span[0] <= span[1] < inf
    steep = bounded and exponent > 1 and span[0] < span[1]
    scale = SPAN ** (1 / exponent) / max(map(abs, span)) if steep else scale_of(span)
    base = translate(expression.base, EITHER)
    if steep and isinstance(exponent, int):
        # pyscipopt multiplies out whole powers of sums, and the coefficients of powers of multiples
        return scale**-exponent * scope.scaled(base, span, scale) ** exponent
    return scale**-exponent * multiplied(scale, base) ** exponent


def _grouped(expression: Mul, scope: Scope) -> list[Basic]:
    """The product's arguments, discrete ones joined: solvers fare badly with products of binaries."""
    discrete = [argument for argument in expression.args if scope.discrete(argument)]
    rest = [argument for argument in expression.args if not scope.discrete(argument)]
    return [Mul(*discrete), *rest] if discrete and rest else list(expression.args)


def _operand(expression: Basic, scope: Scope, translate: Translate) -> PyomoExpression:
    """The translated operand, a single variable where it is a sum over binaries."""
    value, span = translate(expression, EITHER), scope.range(expression)
    if scope.factors_of(expression) and scope.discrete(expression) and -inf < span[0] <= span[1] < inf:
        return scope.shared(value, span)
    return value


def _exponent(expression: Pow, scope: Scope) -> int | float:
    exponent = float(expression.exp)
    if not exponent.is_integer() and scope.range(expression.base)[0] < 0:
        raise NotTranslatable(expression, "its base may be negative; bound the base from below by zero")
    return int(exponent) if exponent.is_integer() else exponent
