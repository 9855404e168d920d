"""A program: choose one system and, in it, one row of every pool.

A `System` is a set of `Pool`s coupled by metrics. A pool offers `Variant`s (one accelerator type, say); a
variant is a few `Decision`s with finite domains, `State`s that solve monotone equations, `Attribute`
expressions of both, and constraints. System metrics are expressions over the attributes of its pools.
Everything is SymPy; parameters are symbols that get their numbers at solve time. An `Assignment` is a
choice in the caller's own words: a system, and of each pool a variant and one value of each of its
decisions. Nothing here knows what the symbols stand for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal, NamedTuple, TypeAlias

from sympy import Expr, Symbol

from .algebra import symbols_of

Number: TypeAlias = int | float
Sense: TypeAlias = Literal["minimize", "maximize"]
Direction: TypeAlias = Literal["at_most", "at_least"]

TOLERANCE = 1e-9
"""Relative tolerance of every comparison, the same in columns, enumeration, solvers and certificates.

A constraint `sum of terms <= 0` holds when the sum is at most `TOLERANCE` times the sum of the terms'
magnitudes; a limit `metric <= value` when the metric is at most `value + TOLERANCE * |value|`."""


class ProgramError(Exception):
    """A program that cannot be read: what, where, which rule, what to do."""


class Choice(NamedTuple):
    """What an assignment takes of one pool."""

    pool: str
    variant: str
    values: tuple[tuple[str, Number], ...]
    """(symbol name, value) in the order of the variant's decisions."""


class Assignment(NamedTuple):
    """One complete answer, hashable: a system, and a choice for each of its pools in the system's order."""

    system: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """A symbol with a finite domain."""

    symbol: Symbol
    values: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class State:
    """The smallest root of `symbol = equation` in [lower, upper]; without one an assignment is infeasible.

    The equation must be at least `lower` at `lower`, and must not decrease in the symbol; or not increase,
    when `increasing` is false, and then the root is the only one. It may read decisions, parameters and the
    states before it.
    """

    symbol: Symbol
    equation: Expr
    lower: Expr
    upper: Expr
    increasing: bool = True


@dataclass(frozen=True, slots=True)
class Constraint:
    """`expression <= 0` within `TOLERANCE`; `label` names the group that is reported when it conflicts.

    Constraints without a label are rules of validity: never relaxed, never reported as a conflict.
    """

    name: str
    expression: Expr
    label: str = ""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to build a pool: decisions, the states they imply, and what the system sees of them."""

    name: str
    decisions: tuple[Decision, ...]
    attributes: Mapping[Symbol, Expr]
    states: tuple[State, ...] = ()
    constraints: tuple[Constraint, ...] = ()

    @property
    def size(self) -> int:
        """Number of value vectors, feasible or not."""
        return prod(len(decision.values) for decision in self.decisions)


@dataclass(frozen=True, slots=True)
class Pool:
    """A part of a system: exactly one variant, and one value of each of its decisions, is chosen."""

    name: str
    variants: tuple[Variant, ...]

    @property
    def attributes(self) -> tuple[Symbol, ...]:
        """Symbols that every variant of the pool defines."""
        return tuple(self.variants[0].attributes)

    @property
    def size(self) -> int:
        """Number of rows, feasible or not."""
        return sum(variant.size for variant in self.variants)


@dataclass(frozen=True, slots=True)
class System:
    """Pools coupled by metrics: expressions over their attribute symbols and the parameters."""

    name: str
    pools: tuple[Pool, ...]
    metrics: Mapping[str, Expr]
    constraints: tuple[Constraint, ...] = ()

    @property
    def size(self) -> int:
        """Number of assignments, feasible or not."""
        return prod(pool.size for pool in self.pools)


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric to make small or large."""

    metric: str
    sense: Sense = "minimize"

    @property
    def sign(self) -> int:
        """Factor that turns the metric into something to minimise."""
        return 1 if self.sense == "minimize" else -1


@dataclass(frozen=True, slots=True)
class Limit:
    """A metric that must stay on one side of a value (within `TOLERANCE`)."""

    metric: str
    direction: Direction
    value: float
    label: str = ""

    @property
    def name(self) -> str:
        """The caller's label, or the limit spelled out."""
        return self.label or f"{self.metric} {self.direction} {self.value:g}"

    @property
    def sign(self) -> int:
        """Factor that turns the metric into something that must stay small."""
        return 1 if self.direction == "at_most" else -1


@dataclass(frozen=True, slots=True)
class Program:
    """Systems to choose from, what to optimise, what must hold, and the numbers of the frozen parameters."""

    systems: tuple[System, ...]
    objectives: tuple[Objective, ...]
    limits: tuple[Limit, ...] = ()
    parameters: Mapping[Symbol, float] = field(default_factory=dict)
    excluded: frozenset[Assignment] = frozenset()
    """No-good cuts: assignments that may not be chosen."""

    def __post_init__(self) -> None:
        _check_program(self)

    @property
    def size(self) -> int:
        """Number of assignments, feasible or not."""
        return sum(system.size for system in self.systems)

    def system(self, name: str) -> System:
        """The system of that name."""
        return next(system for system in self.systems if system.name == name)

    def with_objectives(self, *objectives: Objective) -> Program:
        """The same program with other objectives."""
        return replace(self, objectives=objectives)


def _check_program(program: Program) -> None:
    _require_unique("program", "systems", (system.name for system in program.systems))
    used = {objective.metric for objective in program.objectives} | {limit.metric for limit in program.limits}
    for system in program.systems:
        missing = sorted(used - set(system.metrics))
        if missing:
            raise ProgramError(
                f"system {system.name!r} lacks the metrics {missing}: define them or do not use them"
            )
        _check_system(system, set(program.parameters))


def _check_system(system: System, parameters: set[Symbol]) -> None:
    _require_unique(f"system {system.name!r}", "pools", (pool.name for pool in system.pools))
    attributes = [symbol for pool in system.pools for symbol in pool.attributes]
    _require_unique(f"system {system.name!r}", "attribute symbols", (str(symbol) for symbol in attributes))
    for pool in system.pools:
        _check_pool(pool, parameters)
    known = parameters | set(attributes)
    for name, expression in system.metrics.items():
        _require_known(f"metric {name!r} of system {system.name!r}", expression, known)
    for constraint in system.constraints:
        _require_known(f"constraint {constraint.name!r} of {system.name!r}", constraint.expression, known)


def _check_pool(pool: Pool, parameters: set[Symbol]) -> None:
    where = f"pool {pool.name!r}"
    if not pool.variants:
        raise ProgramError(f"{where} has no variant: give at least one")
    _require_unique(where, "variants", (variant.name for variant in pool.variants))
    for variant in pool.variants:
        if set(variant.attributes) != set(pool.attributes):
            raise ProgramError(
                f"variant {variant.name!r} of {where} defines other attributes than the first variant"
            )
        _check_variant(f"variant {variant.name!r} of {where}", variant, parameters)


def _check_variant(where: str, variant: Variant, parameters: set[Symbol]) -> None:
    _require_unique(where, "decisions", (str(decision.symbol) for decision in variant.decisions))
    known = parameters | {decision.symbol for decision in variant.decisions}
    for decision in variant.decisions:
        _require_unique(f"{where}, decision {decision.symbol}", "values", decision.values)
    for state in variant.states:
        for bound in (state.lower, state.upper):
            _require_known(f"{where}, bound of state {state.symbol}", bound, known)
        known = known | {state.symbol}
        _require_known(f"{where}, state {state.symbol}", state.equation, known)
    for symbol, expression in variant.attributes.items():
        _require_known(f"{where}, attribute {symbol}", expression, known)
    for constraint in variant.constraints:
        _require_known(f"{where}, constraint {constraint.name!r}", constraint.expression, known)


def _require_unique(where: str, what: str, items: Iterable[object]) -> None:
    twice = [item for item, count in Counter(items).items() if count > 1]
    if twice:
        raise ProgramError(f"{where}: {what} {twice} appear more than once; names and values must differ")


def _require_known(where: str, expression: Expr, known: set[Symbol]) -> None:
    unknown = sorted(str(symbol) for symbol in symbols_of(expression) - known)
    if unknown:
        raise ProgramError(
            f"{where} reads {unknown}, which nothing defines: add a decision, state or parameter"
        )
