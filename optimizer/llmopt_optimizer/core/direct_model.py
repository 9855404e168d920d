"""The direct model: one system with a fixed variant of every pool, as a mixed-integer nonlinear program.

Decisions are one-hot factors; states and attributes are continuous variables with their defining equations,
scaled by `scale_of`; metrics are translated over them by `NONLINEAR_CHAIN`. Symbols are renamed by pool
first, so that pools may use the same decision symbols.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isfinite

import numpy as np
import pyomo.environ as pyo
from sympy import Basic, Expr, Symbol

from .algebra import substituted
from .direct_parts import allowed_rows, hubs, ranges_over
from .lowering import terms_magnitude
from .monotone import EITHER, UP, Range, bounds
from .preparation import exact_number
from .program import TOLERANCE, Assignment, Choice, Pool, Program, State, System, Variant
from .solvers.outcome import BackEnd
from .solvers.scip import ScipBackEnd
from .translation.chain import NONLINEAR_CHAIN, Translator
from .translation.scaling import PyomoExpression, multiplied, scale_of
from .translation.scope import Factor, NotTranslatable, Scope
from .translation.table import TableReduction, forbid

RULES = TableReduction(cells=4096, most_factors=4)
"""Rules over decisions alone are tabulated, which forbids exactly what violates them."""


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
        return chosen(self.system, self.variants, self.factors)

    def cut(self, assignment: Assignment) -> None:
        """Exclude one assignment."""
        hot = []
        for variant, factors, choice in zip(self.variants, self.factors, assignment.choices, strict=True):
            for decision, factor, (_, value) in zip(variant.decisions, factors, choice.values, strict=True):
                hot.append(factor.hot[decision.values.index(value)])
        self.model.cuts.add(pyo.quicksum(hot) <= len(hot) - 1)


def chosen(
    system: System, variants: tuple[Variant, ...], factors: tuple[tuple[Factor, ...], ...]
) -> Assignment:
    """What a solved model decided: one factor a decision of each pool."""
    choices = []
    for pool, variant, of_pool in zip(system.pools, variants, factors, strict=True):
        rows = [factor.invert() or 0 for factor in of_pool]
        values = tuple((d.symbol.name, d.values[row]) for d, row in zip(variant.decisions, rows, strict=True))
        choices.append(Choice(pool.name, variant.name, values))
    return Assignment(system.name, tuple(choices))


class NothingAllowed(Exception):  # noqa: N818  (an answer, not a fault)
    """The rules of a pool allow none of its combinations of decisions."""


@dataclass(slots=True)
class Builder:
    """The model under construction."""

    program: Program
    scope: Scope
    ranges: dict[Symbol, Range]
    continuous: dict[Symbol, PyomoExpression]

    def translate(self, expression: Basic, need: int) -> PyomoExpression:
        """The Pyomo expression of an expression in the model's symbols."""
        return Translator(self.scope, NONLINEAR_CHAIN)(expression, need)

    def define(self, symbol: Symbol, span: Range) -> tuple[PyomoExpression, float]:
        """A scaled variable for a continuous symbol of finite range, and its scale."""
        scale = scale_of(span)
        variable = self.scope.free_variable(span[0] * scale, span[1] * scale)
        variable.setlb(span[0] * scale)
        variable.setub(span[1] * scale)
        self.ranges[symbol] = span
        self.continuous[symbol] = variable / scale
        return variable, scale


@dataclass(slots=True)
class Words:
    """The caller's symbols in the model's: symbols, numbers, or expressions of them."""

    names: dict[Symbol, Basic]
    done: dict[Basic, Basic] = field(default_factory=dict)

    def __call__(self, expression: Basic) -> Expr:
        """The expression in the model's symbols, its shared parts remembered."""
        return substituted(expression, self.names, self.done)


def build_direct(program: Program, system: System, variants: tuple[Variant, ...]) -> DirectModel:
    """The model of a program with one objective, for these variants of the system's pools.

    Raises `NotTranslatable` naming a node that no reduction takes, and `NothingAllowed`.
    """
    model = pyo.ConcreteModel()
    builder, factors, words = add_system(model, program, system, variants)
    scale = _add_question(builder, system, words)
    model.cuts = pyo.ConstraintList()
    direct = DirectModel(system, variants, factors, model, ScipBackEnd(model), scale)
    for assignment in program.excluded:
        if assignment.system == system.name and _variants_of(assignment) == tuple(v.name for v in variants):
            direct.cut(assignment)
    return direct


def add_system(
    model: pyo.ConcreteModel, program: Program, system: System, variants: tuple[Variant, ...]
) -> tuple[Builder, tuple[tuple[Factor, ...], ...], Words]:
    """Add decisions, states and constraints of these variants, but no limit and no objective.

    Gives what later expressions are translated with, one factor a decision of each pool, and the system's
    attributes in the model's symbols.
    """
    ranges: dict[Symbol, Range] = {}
    continuous: dict[Symbol, PyomoExpression] = {}
    factors = tuple(_pool_factors(model, *pair, ranges) for pair in zip(system.pools, variants, strict=True))
    deciding = tuple(factor for of_pool in factors for factor in of_pool if len(factor.hot) > 1)
    builder = Builder(program, Scope(model, "direct", 1.0, deciding, continuous, ranges), ranges, continuous)
    numbers: dict[Symbol, Basic] = {symbol: exact_number(v) for symbol, v in program.parameters.items()}
    attributes = dict(numbers)
    for pool, variant in zip(system.pools, variants, strict=True):
        attributes |= _add_variant(builder, pool, variant, Words(numbers | _decided(pool, variant)))
    words = Words(attributes)
    for constraint in system.constraints:
        _add_constraint(builder, words(constraint.expression))
    return builder, factors, words


def _variants_of(assignment: Assignment) -> tuple[str, ...]:
    return tuple(choice.variant for choice in assignment.choices)


def _own(pool: Pool, symbol: Symbol) -> Symbol:
    """The pool's own copy of a symbol, with the same assumptions."""
    return Symbol(f"{pool.name}.{symbol.name}", **symbol.assumptions0)


def _decided(pool: Pool, variant: Variant) -> dict[Symbol, Basic]:
    """The pool's own symbol of every decision, or the number where there is no choice."""
    return {
        d.symbol: _own(pool, d.symbol) if len(d.values) > 1 else exact_number(d.values[0])
        for d in variant.decisions
    }


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


def _add_variant(builder: Builder, pool: Pool, variant: Variant, words: Words) -> dict[Symbol, Basic]:
    """Add states and constraints of a pool; gives every attribute in the model's symbols."""
    words.names |= {state.symbol: _own(pool, state.symbol) for state in variant.states}
    attributes = {symbol: words(expression) for symbol, expression in variant.attributes.items()}
    rules = [words(constraint.expression) for constraint in variant.constraints]
    equations = [words(e) for state in variant.states for e in (state.equation, state.lower, state.upper)]
    _learn_ranges(builder, pool, rules, [*attributes.values(), *rules, *equations])
    states = {words.names[state.symbol] for state in variant.states}
    builder.scope.hubs |= hubs([*attributes.values(), *rules, *equations], states)
    for state in variant.states:
        _add_state(builder, state, words)
    for rule in rules:
        _add_constraint(builder, rule)
    return attributes


def _learn_ranges(builder: Builder, pool: Pool, rules: list[Expr], expressions: list[Expr]) -> None:
    own = [f for f in builder.scope.factors if all(s.name.startswith(f"{pool.name}.") for s in f.values)]
    rows = allowed_rows(own, rules)
    if rows is None:
        return
    if any(not values.size for values in rows.values()):
        raise NothingAllowed(f"no combination of decisions of pool {pool.name!r} meets its rules")
    builder.scope.known_ranges.update(ranges_over(rows, expressions))


def _add_state(builder: Builder, state: State, words: Words) -> None:
    lower, upper, equation = words(state.lower), words(state.upper), words(state.equation)
    symbol = words.names[state.symbol]
    scope = builder.scope
    low, high = scope.range(lower)[0], scope.range(upper)[1]
    if state.increasing:  # every root is at least g(low), and at most g(high)
        ends = ({**builder.ranges, symbol: (end, end)} for end in (low, high))
        images = [bounds(equation, ranges, dict(scope.known_ranges)) for ranges in ends]
        low, high = max(low, images[0][0]), min(high, images[1][1])
    if not -inf < low <= high < inf:
        raise NotTranslatable(symbol, f"it lies in [{low:g}, {high:g}]: give it finite bounds")
    variable, scale = builder.define(symbol, (low, high))
    scope.require(variable == multiplied(scale, builder.translate(equation, EITHER)))
    scope.require(variable <= multiplied(scale, builder.translate(upper, UP)))
    scope.require(variable >= multiplied(scale, builder.translate(lower, UP)))


def _add_constraint(builder: Builder, expression: Expr) -> None:
    """The constraint `expression <= 0`; one that reads decisions only forbids their combinations exactly."""
    magnitude = terms_magnitude(expression)
    scope = builder.scope
    if RULES.accepts(expression, UP, scope):
        forbid(expression, magnitude, scope)
        return
    slack = TOLERANCE * scope.range(magnitude)[1]
    _add_at_most(builder, expression, slack if isfinite(slack) else 0.0)


def _add_at_most(builder: Builder, expression: Expr, bound: float) -> None:
    scale = scale_of(builder.scope.range(expression))
    builder.scope.require(multiplied(scale, builder.translate(expression, UP)) <= scale * bound)


def _add_question(builder: Builder, system: System, words: Words) -> float:
    """Limits and the objective; gives the objective's scale."""
    for limit in builder.program.limits:
        expression = limit.sign * words(system.metrics[limit.metric])
        _add_at_most(builder, expression, limit.sign * limit.value + TOLERANCE * abs(limit.value))
    objective = builder.program.objectives[0]
    cost = objective.sign * words(system.metrics[objective.metric])
    low, high = builder.scope.range(cost)
    scale = scale_of((low, high))
    model = builder.scope.model
    model.cost = pyo.Var(domain=pyo.Reals, bounds=(scale * low if low > -inf else None, None))
    builder.scope.require(model.cost >= multiplied(scale, builder.translate(cost, UP)))
    model.total = pyo.Objective(expr=model.cost)
    return scale
