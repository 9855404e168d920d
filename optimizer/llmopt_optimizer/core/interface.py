"""What a system sees of each pool: few numbers, instead of all attributes.

A metric such as `Max(a1, a2) + a3/b1 + c2` reads pool 1 only through some sub-expressions of its
attributes, the **features** of pool 1. `separate` names them: it regroups sums, products, Max and Min by
the pool that they read and puts a new symbol for each maximal single-pool part, `Max(f, g) + h*i + j`.
Every reduction after it works on features: pruning is sharper (a sum of two attributes is one number), and
a metric that reads one pool only, or a sum of such, is linear in that pool's choice. `CompiledSystem` holds
the features and the separated expressions of one system, compiled; a `Requirement` is any limit or
constraint in one shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sympy import Add, Basic, Expr, Float, Max, Min, Mul, Symbol

from .algebra import symbols_of
from .lowering import Floats, Function, compile_expressions, terms_magnitude
from .program import TOLERANCE, Limit, System

_ASSOCIATIVE = (Add, Mul, Max, Min)


@dataclass(slots=True)
class Separation:
    """The features found so far; grows while expressions of the system are separated."""

    owner: Mapping[Symbol, int]
    """Attribute symbol to the position of its pool."""
    features: list[tuple[int, Expr, Symbol]] = field(default_factory=list)

    def feature(self, pool: int, expression: Expr) -> Symbol:
        """The symbol of a single-pool expression; equal expressions share one."""
        for known_pool, known, symbol in self.features:
            if known_pool == pool and known == expression:
                return symbol
        symbol = Symbol(f"feature_{pool}_{len(self.features)}", real=True)
        self.features.append((pool, expression, symbol))
        return symbol

    def pools(self, expression: Basic) -> frozenset[int]:
        """Positions of the pools whose attributes the expression reads."""
        return frozenset(self.owner[s] for s in symbols_of(expression) if s in self.owner)


def separate(expression: Basic, separation: Separation) -> Basic:
    """The expression over feature symbols; numbers and parameters stay as they are."""
    pools = separation.pools(expression)
    if not pools:
        return expression
    if len(pools) == 1:
        return separation.feature(min(pools), expression)
    if isinstance(expression, _ASSOCIATIVE):
        return expression.func(*_grouped(expression, separation))
    return expression.func(*(separate(argument, separation) for argument in expression.args))


def _grouped(expression: Basic, separation: Separation) -> list[Basic]:
    """Separated arguments, those of the same single pool joined first."""
    groups: dict[frozenset[int], list[Basic]] = {}
    for argument in expression.args:
        groups.setdefault(separation.pools(argument), []).append(argument)
    single = [separate(expression.func(*group), separation) for key, group in groups.items() if len(key) <= 1]
    joint = [
        separate(argument, separation) for key, group in groups.items() if len(key) > 1 for argument in group
    ]
    return single + joint


@dataclass(frozen=True, slots=True)
class Measure:
    """A separated expression: symbolic for the reductions, compiled for arrays."""

    expression: Expr
    function: Function

    def values(self, known: Mapping[Symbol, Floats]) -> Floats:
        """The expression's values; arrays in `known` broadcast against each other."""
        read = [known[symbol] for symbol in self.function.symbols]
        return self.function(known, np.broadcast_shapes(*(np.shape(array) for array in read)))[0]


@dataclass(frozen=True, slots=True)
class Requirement:
    """`measure <= bound` within `TOLERANCE * scale`, whatever the caller wrote it as."""

    name: str
    measure: Measure
    bound: float
    scale: Measure
    relaxable: bool

    def holds(self, known: Mapping[Symbol, Floats]) -> NDArray[np.bool_]:
        """Boolean array: where the requirement is met (never for nan)."""
        with np.errstate(invalid="ignore"):
            return self.measure.values(known) <= self.bound + TOLERANCE * self.scale.values(known)


@dataclass(frozen=True, slots=True)
class CompiledSystem:
    """A system's features by pool, and its metrics and constraints over them."""

    system: System
    features: tuple[Mapping[Symbol, Function], ...]
    """Of every pool: feature symbol to its function of the pool's attributes and the parameters."""
    metrics: Mapping[str, Measure]
    constraints: tuple[Requirement, ...]

    def requirements(self, limits: tuple[Limit, ...]) -> tuple[Requirement, ...]:
        """The system's own constraints and these limits."""
        return self.constraints + tuple(self._limit(limit) for limit in limits)

    def _limit(self, limit: Limit) -> Requirement:
        measure = self.metrics[limit.metric]
        if limit.sign < 0:
            measure = measure_of(-measure.expression)
        scale = measure_of(Float(abs(limit.value)))
        return Requirement(limit.name, measure, limit.sign * limit.value, scale, relaxable=True)


def measure_of(expression: Expr) -> Measure:
    """An expression with its function."""
    return Measure(expression, compile_expressions((expression,)))


def compile_system(system: System) -> CompiledSystem:
    """Separate and compile a system's metrics and constraints."""
    owner = {symbol: index for index, pool in enumerate(system.pools) for symbol in pool.attributes}
    separation = Separation(owner)

    def named(expression: Expr) -> Measure:
        return measure_of(separate(expression, separation))

    metrics = {name: named(expression) for name, expression in system.metrics.items()}
    constraints = tuple(
        Requirement(
            c.label or c.name, named(c.expression), 0.0, named(terms_magnitude(c.expression)), bool(c.label)
        )
        for c in system.constraints
    )
    functions: list[dict[Symbol, Function]] = [{} for _ in system.pools]
    for pool, expression, symbol in separation.features:
        functions[pool][symbol] = compile_expressions((expression,))
    return CompiledSystem(system, tuple(functions), metrics, constraints)
