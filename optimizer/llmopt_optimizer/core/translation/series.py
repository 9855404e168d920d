"""Sums over an index: their closed form, which every other reduction can take."""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Basic, Sum

from ..algebra import closed_sum
from .scaling import PyomoExpression
from .scope import NotTranslatable, Scope, Translate


@dataclass(frozen=True, slots=True)
class SeriesReduction:
    """A Sum over an index is its closed form, where it has one, or the sum of its terms."""

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Any Sum."""
        return isinstance(expression, Sum)

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """The translated closed form."""
        closed = closed_sum(expression)
        if closed.has(Sum):
            raise NotTranslatable(
                expression, "it has no closed form; write one, or give its limits as numbers"
            )
        return translate(closed, need)
