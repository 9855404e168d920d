"""The direct model: one system with a fixed variant of every pool, as a mixed-integer nonlinear program.

Decisions are one-hot factors; states and attributes are continuous variables with their defining equations,
scaled to about `SPAN`; metrics are translated over them by `NONLINEAR_CHAIN`. Symbols are renamed by pool
first, so that pools may use the same decision symbols.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
import pyomo.environ as pyo
from sympy import Expr, Symbol

from .lowering import terms_magnitude
from .monotone import EITHER, UP, Range, bounds
from .preparation import exact_number
from .program import TOLERANCE, Assignment, Choice, Constraint, Pool, Program, System, Variant
from .solvers.outcome import BackEnd
from .solvers.scip import ScipBackEnd
from .translation.chain import NONLINEAR_CHAIN, Translator
from .translation.scope import Factor, PyomoExpression, Scope

SPAN = 1e3
WIDEST = 1e7
"""Bound of a continuous symbol whose range is not known, in its own unit."""


@dataclass(frozen=True, slots=True)
class DirectModel:
    """The model of one system with a fixed variant of each pool."""

    system: System
    variants: tuple[Variant, ...]
    factors: tuple[tuple[Factor, ...], ...]
    """Of each pool, one factor for each decision."""
    model: pyo.ConcreteModel
    solver: BackEnd
    scale: float

    def assignment(self) -> Assignment:
        """The decisions of the solved model."""
        choices = []
        for pool, variant, factors in zip(self.system.pools, self.variants, self.factors, strict=True):
            rows = [factor.invert() or 0 for factor in factors]
            values = tuple(
                (d.symbol.name, d.values[row]) for d, row in zip(variant.decisions, rows, strict=True)
            )
            choices.append(Choice(pool.name, variant.name, values))
        return Assignment(self.system.name, tuple(choices))

    def cut(self, assignment: Assignment) -> None:
        """Exclude one assignment."""
        hot = []
        for variant, factors, choice in zip(self.variants, self.factors, assignment.choices, strict=True):
            for decision, factor, (_, value) in zip(variant.decisions, factors, choice.values, strict=True):
                hot.append(factor.hot[decision.values.index(value)])
        self.model.cuts.add(pyo.quicksum(hot) <= len(hot) - 1 + 0 * self.model.one)


@dataclass(slots=True)
class _Builder:
    """The model under construction."""

    program: Program
    scope: Scope
    names: dict[Symbol, Expr]
    """The caller's symbols to those of the model, or to numbers."""
    ranges: dict[Symbol, Range]
    continuous: dict[Symbol, PyomoExpression]

    def renamed(self, expression: Expr) -> Expr:
        """The expression in the model's symbols."""
        return expression.xreplace(self.names)

    def translate(self, expression: Expr, need: int) -> PyomoExpression:
        """The Pyomo expression of an expression in the model's symbols."""
        return Translator(self.scope, NONLINEAR_CHAIN)(expression, need)

    def define(self, symbol: Symbol, span: Range) -> tuple[PyomoExpression, float]:
        """A scaled variable for a continuous symbol, and its scale."""
        low, high = max(span[0], -WIDEST), min(span[1], WIDEST)
        magnitude = max(abs(low), abs(high))
        scale = SPAN / magnitude if magnitude > 0 else 1.0
        variable = self.scope.free_variable(low * scale, high * scale)
        variable.setlb(low * scale)
        variable.setub(high * scale)
        self.ranges[symbol] = (low, high)
        self.continuous[symbol] = variable / scale
        return variable, scale


def build_direct(program: Program, system: System, variants: tuple[Variant, ...]) -> DirectModel:
    """The model of a program with one objective, for these variants of the system's pools.

    Raises `NotTranslatable` naming a node that no reduction takes.
    """
    model = pyo.ConcreteModel()
    model.one = pyo.Var(bounds=(1.0, 1.0))
    ranges: dict[Symbol, Range] = {}
    continuous: dict[Symbol, PyomoExpression] = {}
    factors = tuple(_pool_factors(model, *pair, ranges) for pair in zip(system.pools, variants, strict=True))
    flat = tuple(factor for of_pool in factors for factor in of_pool)
    scope = Scope(model, "direct", model.one, flat, continuous, ranges)
    numbers = {symbol: exact_number(value) for symbol, value in program.parameters.items()}
    builder = _Builder(program, scope, dict(numbers), ranges, continuous)
    attributes = dict(numbers)
    for pool, variant in zip(system.pools, variants, strict=True):
        builder.names = dict(numbers) | {d.symbol: _own(pool, d.symbol) for d in variant.decisions}
        attributes |= _add_variant(builder, pool, variant)
    builder.names = attributes
    scale = _add_system(builder, system)
    model.cuts = pyo.ConstraintList()
    direct = DirectModel(system, variants, factors, model, ScipBackEnd(model), scale)
    for assignment in program.excluded:
        if assignment.system == system.name and _variants_of(assignment) == tuple(v.name for v in variants):
            direct.cut(assignment)
    return direct


def _variants_of(assignment: Assignment) -> tuple[str, ...]:
    return tuple(choice.variant for choice in assignment.choices)


def _own(pool: Pool, symbol: Symbol) -> Symbol:
    """The pool's own copy of a symbol, with the same assumptions."""
    return Symbol(f"{pool.name}.{symbol.name}", **symbol.assumptions0)


def _pool_factors(
    model: pyo.ConcreteModel, pool: Pool, variant: Variant, ranges: dict[Symbol, Range]
) -> tuple[Factor, ...]:
    factors = []
    for decision in variant.decisions:
        symbol = _own(pool, decision.symbol)
        hot = pyo.Var(range(len(decision.values)), domain=pyo.Binary)
        model.add_component(f"hot_{symbol.name}", hot)
        model.add_component(f"one_{symbol.name}", pyo.Constraint(expr=pyo.quicksum(hot.values()) == 1))
        ranges[symbol] = (float(min(decision.values)), float(max(decision.values)))
        factors.append(Factor(tuple(hot.values()), {symbol: np.array(decision.values, dtype=np.float64)}))
    return tuple(factors)


def _add_variant(builder: _Builder, pool: Pool, variant: Variant) -> dict[Symbol, Expr]:
    """Add states, attributes and constraints of a pool; gives the model's symbol of every attribute."""
    for state in variant.states:
        lower, upper = builder.renamed(state.lower), builder.renamed(state.upper)
        symbol = _own(pool, state.symbol)
        builder.names[state.symbol] = symbol
        equation = builder.renamed(state.equation)
        low, high = bounds(lower, builder.ranges)[0], bounds(upper, builder.ranges)[1]
        image = bounds(equation, {**builder.ranges, symbol: (low, low)})[0]  # every root is at least g(low)
        variable, scale = builder.define(symbol, (max(low, image), high))
        builder.scope.require(variable == scale * builder.translate(equation, EITHER))
        builder.scope.require(variable <= scale * builder.translate(upper, UP))
        builder.scope.require(variable >= scale * builder.translate(lower, UP))
    for constraint in variant.constraints:
        _add_constraint(builder, constraint)
    return {symbol: _attribute(builder, symbol, e) for symbol, e in variant.attributes.items()}


def _attribute(builder: _Builder, symbol: Symbol, expression: Expr) -> Expr:
    renamed = builder.renamed(expression)
    if renamed.is_Symbol or renamed.is_number:
        return renamed
    own = Symbol(f"attribute.{symbol.name}", **symbol.assumptions0)
    variable, scale = builder.define(own, bounds(renamed, builder.ranges))
    builder.scope.require(variable == scale * builder.translate(renamed, EITHER))
    return own


def _add_constraint(builder: _Builder, constraint: Constraint) -> None:
    expression = builder.renamed(constraint.expression)
    slack = TOLERANCE * bounds(terms_magnitude(expression), builder.ranges)[1]
    _add_at_most(builder, expression, slack if isfinite(slack) else 0.0)


def _add_at_most(builder: _Builder, expression: Expr, bound: float) -> None:
    scale = _scale_of(bounds(expression, builder.ranges))
    left = builder.translate(exact_number(scale) * expression, UP)
    builder.scope.require(left <= scale * bound * builder.scope.present)


def _add_system(builder: _Builder, system: System) -> float:
    """Constraints, limits and the objective; gives the objective's scale."""
    for constraint in system.constraints:
        _add_constraint(builder, constraint)
    for limit in builder.program.limits:
        expression = limit.sign * builder.renamed(system.metrics[limit.metric])
        _add_at_most(builder, expression, limit.sign * limit.value + TOLERANCE * abs(limit.value))
    objective = builder.program.objectives[0]
    cost = objective.sign * builder.renamed(system.metrics[objective.metric])
    scale = _scale_of(bounds(cost, builder.ranges))
    model = builder.scope.model
    model.cost = pyo.Var(domain=pyo.Reals)
    builder.scope.require(model.cost >= builder.translate(exact_number(scale) * cost, UP))
    model.total = pyo.Objective(expr=model.cost)
    return scale


def _scale_of(span: Range) -> float:
    magnitude = max(abs(span[0]), abs(span[1]))
    return SPAN / magnitude if 0 < magnitude < inf else 1.0
