"""Powers whose exponent is decided, and logarithms: forms that a solver's operators can take.

Where the base is positive, `x**e = exp(e log x)`, and the logarithm of a product is the sum of the factors'
logarithms, so that a power is never formed only to be taken apart. Where the base may be zero, the finitely
many exponents are told apart: with binaries h that pick the exponent e_i and parts x_i in [low h_i, high h_i]
that sum to x, `x**e` is the sum of `x_i**e_i`, since a part that is not picked is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import pyomo.environ as pyo
from sympy import Add, Basic, Mul, Pow, exp, log

from ..monotone import EITHER
from .scaling import PyomoExpression
from .scope import Scope, Translate
from .table import one_hot

MOST_EXPONENTS = 64


@dataclass(frozen=True, slots=True)
class LogarithmReduction:
    """The logarithm of a power or product of positive parts is a sum."""

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Logarithms of powers and products whose parts are positive."""
        return isinstance(expression, log) and _opened(expression.args[0], scope) is not None

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """The translated sum."""
        return translate(_opened(expression.args[0], scope), need)


@dataclass(frozen=True, slots=True)
class LogarithmicPowerReduction:
    """x**e = exp(e log x) for a positive x."""

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Powers with an exponent that is no number, and a base that is known to be positive."""
        return (
            isinstance(expression, Pow)
            and not expression.exp.is_number
            and scope.range(expression.base)[0] > 0
            and scope.range(log_power(expression))[1] < inf
        )

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """The exponential of the translated logarithm."""
        return translate(exp(log_power(expression), evaluate=False), need)


@dataclass(frozen=True, slots=True)
class SelectedPowerReduction:
    """A bounded base, zero included, to one of finitely many exponents."""

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Powers with a discrete exponent of one factor that are defined for every base in range."""
        if not isinstance(expression, Pow) or expression.exp.is_number or not scope.discrete(expression.exp):
            return False
        factors = scope.factors_of(expression.exp)
        low, high = scope.range(expression.base)
        return (
            len(factors) == 1
            and len(factors[0].hot) <= MOST_EXPONENTS
            and 0 <= low <= high < inf
            and scope.range(expression.exp)[0] >= 0
        )

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """The sum of the parts' powers."""
        exponents, hot = one_hot(expression.exp, scope)
        base = translate(expression.base, EITHER)
        parts, scale = scope.parts(base, scope.range(expression.base), hot)
        powers = (_power(*item, scale) for item in zip(parts, exponents, hot, strict=True))
        return pyo.quicksum(powers)


def _power(part: PyomoExpression, exponent: float, choice: PyomoExpression, scale: float) -> PyomoExpression:
    """The part, which is a multiple of the base, to the exponent; the choice itself where that is zero."""
    if exponent == 0:
        return choice
    whole = int(exponent) if float(exponent).is_integer() else exponent
    return scale**-whole * part**whole


def log_power(expression: Pow) -> Basic:
    """The logarithm of a power of a positive base."""
    return Mul(expression.exp, log(expression.base, evaluate=False))


def _opened(argument: Basic, scope: Scope) -> Basic | None:
    """The logarithm of `argument` as a sum or product; None when it cannot be taken apart."""
    if isinstance(argument, Pow) and scope.range(argument.base)[0] > 0:
        return log_power(argument)
    if isinstance(argument, Mul) and all(scope.range(part)[0] > 0 for part in argument.args):
        return Add(*(log(part, evaluate=part.is_number) for part in argument.args))
    return None
