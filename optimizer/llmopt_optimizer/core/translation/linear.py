"""Constants, sums and constant multiples: translated part by part."""

from __future__ import annotations

from dataclasses import dataclass

import pyomo.environ as pyo
from sympy import Add, Basic, Mul

from ..algebra import expanded_terms
from .scaling import PyomoExpression, multiplied
from .scope import Scope, Translate

MOST_TERMS = 256
"""Products that have more terms when multiplied out are left to other routes."""


@dataclass(frozen=True, slots=True)
class ConstantReduction:
    """A number c becomes c times the presence of its system."""

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Numbers only."""
        return bool(expression.is_number and expression.is_finite and expression.is_real)

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """The number, zero when the system is absent."""
        return float(expression) * scope.present


@dataclass(frozen=True, slots=True)
class SumReduction:
    """A sum becomes the sum of its translated terms."""

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Any sum."""
        return isinstance(expression, Add)

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """Each term serves the same need as the sum."""
        return pyo.quicksum(translate(term, need) for term in expression.args)


@dataclass(frozen=True, slots=True)
class MultipleReduction:
    """A number times an expression; a negative number turns the need round."""

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """A product with a numeric coefficient other than one."""
        return isinstance(expression, Mul) and expression.as_coeff_Mul()[0] != 1

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """The coefficient times the translated rest."""
        coefficient, rest = expression.as_coeff_Mul()
        factor = float(coefficient)
        return multiplied(factor, translate(rest, need if factor > 0 else -need))


@dataclass(frozen=True, slots=True)
class ExpansionReduction:
    """A product of sums becomes the sum of products, each of which reads fewer factors."""

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Products that multiply out to a sum of not too many terms."""
        small = isinstance(expression, Mul) and expanded_terms(expression) <= MOST_TERMS
        return small and isinstance(expression.expand(), Add)

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """The translated terms."""
        return translate(expression.expand(), need)
