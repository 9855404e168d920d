"""The product of a decided number and a bounded quantity, without a product: the perspective form.

With binaries h that pick the number a_i and parts x_i in [low h_i, high h_i] that sum to x, `a x` is the sum
of `a_i x_i`: the parts that are not picked are zero. It is exact, linear in the parts, and its relaxation is
the convex hull of the choices; a solver that is given `(sum a_i h_i) x` relaxes each product by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import pyomo.environ as pyo
from sympy import Basic, Mul

from ..monotone import EITHER
from .scaling import PyomoExpression
from .scope import Scope, Translate
from .table import one_hot


@dataclass(frozen=True, slots=True)
class PerspectiveReduction:
    """Products of a decided number of few values and a continuous quantity of finite range."""

    most_rows: int
    """Rows of the deciding factor up to which a part for each of them is worth it."""

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """A product that one factor decides in part, and a single continuous argument in the other."""
        if not isinstance(expression, Mul):
            return False
        decided, rest = _split(expression, scope)
        factors = scope.factors_of(decided)
        low, high = scope.range(rest)
        few = len(factors) == 1 and len(factors[0].hot) <= self.most_rows
        return few and len(Mul.make_args(rest)) == 1 and not scope.discrete(rest) and -inf < low <= high < inf

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """The sum of the parts, each times its number."""
        decided, rest = _split(expression, scope)
        numbers, hot = one_hot(decided, scope)
        parts, scale = scope.parts(translate(rest, EITHER), scope.range(rest), hot)
        return pyo.quicksum(number / scale * part for number, part in zip(numbers, parts, strict=True))


def _split(expression: Mul, scope: Scope) -> tuple[Basic, Basic]:
    """The decided arguments, and the others."""
    decided = [argument for argument in expression.args if scope.discrete(argument)]
    return Mul(*decided), Mul(*(argument for argument in expression.args if argument not in decided))
