"""Each reduction alone: for every choice, the reformulated value is what the expression is, and never better.

`UP` promises that the smallest possible value is the expression's, `DOWN` the largest, `EITHER` both. The
auxiliary variables are left to the solver, the decisions are fixed one choice at a time, and the answer is
read back in the expression's own symbols.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pyomo.environ as pyo
import pytest
from sympy import (
    Abs,
    Basic,
    Float,
    Integer,
    Max,
    Min,
    Piecewise,
    Pow,
    Rational,
    Sum,
    Symbol,
    ceiling,
    exp,
    floor,
    log,
)

from llmopt_optimizer.core.exact import precise_value
from llmopt_optimizer.core.monotone import DOWN, EITHER, UP
from llmopt_optimizer.core.solvers.scip import ScipBackEnd
from llmopt_optimizer.core.translation.chain import Translator
from llmopt_optimizer.core.translation.continuous import SmoothReduction, SymbolReduction
from llmopt_optimizer.core.translation.extremum import ExtremumReduction, MagnitudeReduction
from llmopt_optimizer.core.translation.linear import (
    ConstantReduction,
    ExpansionReduction,
    MultipleReduction,
    SumReduction,
)
from llmopt_optimizer.core.translation.perspective import PerspectiveReduction
from llmopt_optimizer.core.translation.powers import (
    LogarithmicPowerReduction,
    LogarithmReduction,
    SelectedPowerReduction,
)
from llmopt_optimizer.core.translation.scope import Factor, NotTranslatable, Reduction, Scope
from llmopt_optimizer.core.translation.series import SeriesReduction
from llmopt_optimizer.core.translation.steps import PiecewiseReduction, RoundingReduction
from llmopt_optimizer.core.translation.table import TableReduction

A, B, X = (Symbol(name, positive=True) for name in ("a", "b", "x"))
K = Symbol("k", integer=True)
VALUES = {A: (1.0, 2.0, 5.0), B: (0.5, 3.0)}
POINTS = (0.25, 3.75)
BASE: tuple[Reduction, ...] = (
    ConstantReduction(),
    SymbolReduction(),
    TableReduction(cells=0, most_factors=1),
    SumReduction(),
    MultipleReduction(),
)


@dataclass(frozen=True)
class Case:
    reduction: Reduction
    expression: Basic
    more: tuple[Reduction, ...] = ()


CASES = {
    "constant": Case(ConstantReduction(), Rational(7, 3)),
    "symbol": Case(SymbolReduction(), X),
    "sum": Case(SumReduction(), A + B + X + 2),
    "multiple": Case(MultipleReduction(), -3 * A),
    "table of one": Case(TableReduction(0, 1), A**2 / (1 + A)),
    "table of two": Case(TableReduction(64, 2), A ** Float(1.5) / (B + A)),
    "table with a step": Case(TableReduction(64, 2), Piecewise((A * B, A > B), (ceiling(A / B), True))),
    "expansion": Case(
        ExpansionReduction(), (A + 2) * (B + X), (PerspectiveReduction(16), TableReduction(64, 2))
    ),
    "max": Case(ExtremumReduction(), Max(A, 2 * B, X + 1)),
    "min": Case(ExtremumReduction(), Min(3 * A, B + 1, X)),
    "magnitude": Case(MagnitudeReduction(), Abs(A - B - X), (ExtremumReduction(),)),
    "ceiling": Case(RoundingReduction(), ceiling(X + A / 3)),
    "floor": Case(RoundingReduction(), floor(2 * X - B)),
    "piecewise": Case(PiecewiseReduction(), Piecewise((X + A, X <= 2), (B - X, True))),
    "perspective": Case(PerspectiveReduction(16), (1 / A) * X),
    "series, arithmetic": Case(SeriesReduction(), Sum(K * B, (K, 1, A)), (TableReduction(64, 2),)),
    "series, geometric": Case(SeriesReduction(), Sum(Pow(B, K), (K, 0, A - 1)), (TableReduction(64, 2),)),
    "series, of a quantity": Case(SeriesReduction(), Sum(X * K**2, (K, 1, 4))),
    "smooth product": Case(SmoothReduction(), X * exp(-X / 4), (SmoothReduction(),)),
    "smooth power": Case(SmoothReduction(), (X + A) ** 3),
    "smooth log": Case(SmoothReduction(), log(X + A)),
    "log of a product": Case(LogarithmReduction(), log(X**2 * A, evaluate=False), (SmoothReduction(),)),
    "decided power": Case(
        LogarithmicPowerReduction(), (X + 1) ** A, (PerspectiveReduction(16), SmoothReduction())
    ),
    "selected power": Case(SelectedPowerReduction(), (X - Float(0.25)) ** B, (SmoothReduction(),)),
}


def scope_of() -> Scope:
    """A present system with two decisions and one bounded quantity."""
    model = pyo.ConcreteModel()
    model.present = pyo.Var(domain=pyo.Binary)
    factors = []
    for symbol, values in VALUES.items():
        hot = pyo.Var(range(len(values)), domain=pyo.Binary)
        model.add_component(f"hot_{symbol}", hot)
        model.add_component(f"one_{symbol}", pyo.Constraint(expr=pyo.quicksum(hot.values()) == model.present))
        factors.append(Factor(tuple(hot.values()), {symbol: np.array(values)}))
    model.x = pyo.Var(bounds=(POINTS[0], POINTS[-1]))
    ranges = {symbol: (min(values), max(values)) for symbol, values in VALUES.items()}
    ranges[X] = (POINTS[0], POINTS[-1])
    return Scope(model, "test", model.present, tuple(factors), {X: model.x}, ranges)


def reach(scope: Scope, value: object, sense: int) -> float:
    """The smallest (1) or the largest (-1) possible value of the translated expression."""
    model = scope.model
    if model.component("aim") is not None:
        model.del_component("aim")
        model.del_component("goal")
    model.aim = pyo.Objective(expr=sense * (value + 0 * model.x))
    outcome = ScipBackEnd(model).solve(60)
    assert outcome.status == "optimal"
    return sense * outcome.objective


def choose(scope: Scope, rows: tuple[int, ...], x: float) -> None:
    scope.model.present.fix(1)
    scope.model.x.fix(x)
    for factor, row in zip(scope.factors, rows, strict=True):
        for index, variable in enumerate(factor.hot):
            variable.fix(int(index == row))


@pytest.mark.parametrize("need", [UP, DOWN, EITHER])
@pytest.mark.parametrize("name", CASES)
def test_a_reduction_says_what_the_expression_says(name: str, need: int) -> None:
    case = CASES[name]
    scope = scope_of()
    assert case.reduction.accepts(case.expression, need, scope)
    translate = Translator(scope, (*BASE, *case.more))
    value = case.reduction.apply(case.expression, need, scope, translate)
    for rows in itertools.product(*(range(len(values)) for values in VALUES.values())):
        for x in POINTS:
            choose(scope, rows, x)
            known = {s: VALUES[s][row] for s, row in zip((A, B), rows, strict=True)} | {X: x}
            exact = float(precise_value(case.expression, known))
            if need != DOWN:
                assert reach(scope, value, 1) == pytest.approx(exact, rel=2e-6, abs=2e-6)
            if need != UP:
                assert reach(scope, value, -1) == pytest.approx(exact, rel=2e-6, abs=2e-6)
            assert scope.invert() == pytest.approx(
                {symbol: float(number) for symbol, number in known.items()}
            )


LINEAR = ("constant", "sum", "table of one", "table of two", "max", "min", "magnitude")


@pytest.mark.parametrize("name", LINEAR)
def test_an_absent_system_adds_nothing(name: str) -> None:
    case = CASES[name]
    scope = scope_of()
    absent = case.expression.subs(X, 2 * A)
    value = case.reduction.apply(absent, EITHER, scope, Translator(scope, (*BASE, *case.more)))
    scope.model.present.fix(0)
    assert reach(scope, value, 1) == pytest.approx(0, abs=1e-9)
    assert reach(scope, value, -1) == pytest.approx(0, abs=1e-9)


REFUSED = [
    (ConstantReduction(), A),
    (SumReduction(), A * B),
    (MultipleReduction(), A * B),
    (TableReduction(64, 2), A * X),
    (TableReduction(2, 2), A * B),
    (ExtremumReduction(), A + B),
    (RoundingReduction(), A),
    (PerspectiveReduction(2), A * X),
    (PerspectiveReduction(16), A * X * exp(X)),
    (SeriesReduction(), A + 1),
    (LogarithmicPowerReduction(), (X - 1) ** A),
    (ExpansionReduction(), (A + B + X + 1) ** 16 * (A + 2) ** 16),
]


@pytest.mark.parametrize(("reduction", "expression"), REFUSED)
def test_what_a_reduction_cannot_take_it_does_not_accept(reduction: Reduction, expression: Basic) -> None:
    assert not reduction.accepts(expression, EITHER, scope_of())


def test_a_series_without_a_closed_form_is_named() -> None:
    scope = scope_of()
    series = Sum(log(K + A), (K, 1, A))
    with pytest.raises(NotTranslatable, match="closed form"):
        SeriesReduction().apply(series, EITHER, scope, Translator(scope, BASE))


def test_series_are_added_term_by_term_where_they_are_judged() -> None:
    assert float(precise_value(Sum(K**2, (K, 1, A)), {A: 5.0})) == 55
    assert float(precise_value(Sum(Sum(K * Integer(2), (K, 1, 3)), (Symbol("j"), 1, 2)), {})) == 24
