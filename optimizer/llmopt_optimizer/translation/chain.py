"""The chain of reductions: the first one that accepts an expression translates it."""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Basic

from .extremum import ExtremumReduction
from .linear import ConstantReduction, ExpansionReduction, MultipleReduction, SumReduction
from .scope import NotTranslatable, PyomoExpression, Reduction, Scope
from .table import TableReduction

CELL_LIMIT = 20_000
"""HiGHS slows beyond some thousand cells; above this the joint table is better enumerated."""

LINEAR_CHAIN: tuple[Reduction, ...] = (
    ConstantReduction(),
    TableReduction(cells=0, most_factors=1),
    SumReduction(),
    MultipleReduction(),
    ExtremumReduction(),
    TableReduction(cells=CELL_LIMIT, most_factors=4),
    ExpansionReduction(),
)
"""Leads to mixed-integer linear models."""


@dataclass(frozen=True, slots=True)
class Translator:
    """Translates expressions within one scope by a chain of reductions."""

    scope: Scope
    chain: tuple[Reduction, ...]

    def __call__(self, expression: Basic, need: int) -> PyomoExpression:
        """The Pyomo expression; raises `NotTranslatable` naming the node that no reduction takes."""
        for reduction in self.chain:
            if reduction.accepts(expression, need, self.scope):
                return reduction.apply(expression, need, self.scope, self)
        raise NotTranslatable(
            expression, "no reduction takes it, and its table is too large; shrink the domains"
        )
