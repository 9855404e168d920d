"""The chain of reductions: the first one that accepts an expression translates it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from sympy import Basic

from ..monotone import EITHER
from .continuous import SmoothReduction, SymbolReduction
from .extremum import ExtremumReduction, MagnitudeReduction
from .linear import ConstantReduction, ExpansionReduction, MultipleReduction, SumReduction
from .perspective import PerspectiveReduction
from .powers import LogarithmicPowerReduction, LogarithmReduction, SelectedPowerReduction
from .scaling import PyomoExpression
from .scope import NotTranslatable, Reduction, Scope
from .series import SeriesReduction
from .steps import PiecewiseReduction, RoundingReduction
from .table import TableReduction

CELL_LIMIT = 20_000
"""HiGHS slows beyond some thousand cells; above this the joint table is better enumerated."""

DIRECT_CELL_LIMIT = 512
PERSPECTIVE_ROWS = 16

LINEAR_CHAIN: tuple[Reduction, ...] = (
    ConstantReduction(),
    SeriesReduction(),
    TableReduction(cells=0, most_factors=1),
    SumReduction(),
    MultipleReduction(),
    ExtremumReduction(),
    MagnitudeReduction(),
    TableReduction(cells=CELL_LIMIT, most_factors=4),
    ExpansionReduction(),
)
"""Leads to mixed-integer linear models."""

NONLINEAR_CHAIN: tuple[Reduction, ...] = (
    ConstantReduction(),
    SeriesReduction(),
    SymbolReduction(),
    TableReduction(cells=DIRECT_CELL_LIMIT, most_factors=3),
    SumReduction(),
    MultipleReduction(),
    ExtremumReduction(),
    MagnitudeReduction(),
    RoundingReduction(),
    PiecewiseReduction(),
    LogarithmReduction(),
    LogarithmicPowerReduction(),
    SelectedPowerReduction(),
    PerspectiveReduction(most_rows=PERSPECTIVE_ROWS),
    SmoothReduction(),
    ExpansionReduction(),
)
"""Leads to mixed-integer nonlinear models of continuous states and one-hot decisions."""


@dataclass(frozen=True, slots=True)
class Translator:
    """Translates expressions within one scope by a chain of reductions."""

    scope: Scope
    chain: tuple[Reduction, ...]

    def __call__(self, expression: Basic, need: int) -> PyomoExpression:
        """The Pyomo expression; raises `NotTranslatable` naming the node that no reduction takes."""
        known = self.scope.translated
        if (expression, need) not in known:
            known[expression, need] = self._shared(expression, need)
        return known[expression, need]

    def _shared(self, expression: Basic, need: int) -> PyomoExpression:
        """A variable of its own for what many expressions read."""
        if expression not in self.scope.hubs:
            return self._reduced(expression, need)
        if need != EITHER:
            return self(expression, EITHER)
        span = self.scope.range(expression)
        value = self._reduced(expression, EITHER)
        return self.scope.shared(value, span) if -inf < span[0] <= span[1] < inf else value

    def _reduced(self, expression: Basic, need: int) -> PyomoExpression:
        for reduction in self.chain:
            if reduction.accepts(expression, need, self.scope):
                return reduction.apply(expression, need, self.scope, self)
        raise NotTranslatable(
            expression, "no reduction takes it, and its table is too large; shrink the domains"
        )
