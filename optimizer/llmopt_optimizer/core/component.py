"""A system as a block of somebody else's Pyomo model.

A `Component` has the system's decisions and constraints, and metrics as named expressions that equal what
they say, so that a metric may be minimised, maximised, bounded on either side or added to another model's.
The owner of the model brings the objective, the limits and the solver. `column_component` tabulates the pools
and is linear, for any solver of integer programs; `direct_component` keeps one-hot decisions, continuous
states and their nonlinear equations, for pools that are too large to tabulate. A solver's word is no proof
here either: `assignment` is what `evaluate` values from the original expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pyomo.environ as pyo

from .direct_model import add_system, chosen
from .monotone import EITHER, UP
from .preparation import PoolTable, SystemTable, compile_program, tabulate_program, unpruned_table
from .program import TOLERANCE, Assignment, Number, Objective, Program
from .translation.chain import LINEAR_CHAIN, Translator
from .translation.scaling import PyomoExpression, multiplied, scale_of
from .translation.scope import Factor, Scope


@dataclass(frozen=True, slots=True)
class Component:
    """One system of a program as a block; the block belongs to nobody yet: `model.serving = block`."""

    block: pyo.Block
    decisions: Mapping[str, PyomoExpression]
    """The value of every decision by name, linear in the block's binaries."""
    metrics: Mapping[str, PyomoExpression]
    """By name, in the metric's own unit."""
    assignment: Callable[[], Assignment]
    """What the solved model decided."""


class EmptyComponent(Exception):  # noqa: N818  (an answer, not a fault)
    """No combination of decisions meets the constraints of the system."""


def column_component(program: Program, metrics: Iterable[str]) -> Component:
    """The linear component of a program's first system: one binary a feasible row of each pool.

    Raises `NotTranslatable` naming a node that no reduction takes, `EmptyComponent` and `KeyError`.
    """
    names = list(dict.fromkeys(metrics))
    program = program.with_objectives(*(Objective(name) for name in names))
    tabulated = tabulate_program(compile_program(program), program.parameters)
    table = unpruned_table(tabulated, 0, program)
    if not table.size:
        raise EmptyComponent(f"no feasible row is left in a pool of {table.compiled.system.name!r}")
    block = pyo.Block(concrete=True)
    factors = tuple(_pool_factor(block, position, pool) for position, pool in enumerate(table.pools))
    translate = Translator(Scope(block, "columns", 1.0, factors, {}, table.ranges()), LINEAR_CHAIN)
    _require(translate, table)
    measures = zip(names, table.objectives, strict=True)
    return Component(
        block,
        _named(block, "decisions", _row_decisions(table, factors)),
        _named(block, "metrics", {n: translate(table.expression(m), EITHER) for n, m in measures}),
        lambda: table.assignment(tuple(factor.invert() or 0 for factor in factors)),
    )


def direct_component(program: Program, metrics: Iterable[str]) -> Component:
    """The nonlinear component of a program's first system with the first variant of every pool.

    Raises `NotTranslatable` naming a node that no reduction takes, `NothingAllowed` and `KeyError`.
    """
    system = program.systems[0]
    variants = tuple(pool.variants[0] for pool in system.pools)
    block = pyo.Block(concrete=True)
    builder, factors, words = add_system(block, program, system, variants)
    found = {name: builder.translate(words(system.metrics[name]), EITHER) for name in dict.fromkeys(metrics)}
    decided = {
        decision.symbol.name: _weighted(decision.values, factor)
        for variant, of_pool in zip(variants, factors, strict=True)
        for decision, factor in zip(variant.decisions, of_pool, strict=True)
    }
    return Component(
        block,
        _named(block, "decisions", decided),
        _named(block, "metrics", found),
        lambda: chosen(system, variants, factors),
    )


def _pool_factor(block: pyo.Block, position: int, pool: PoolTable) -> Factor:
    row = pyo.Var(range(len(pool)), domain=pyo.Binary)
    block.add_component(f"row_{position}", row)
    block.add_component(f"one_row_{position}", pyo.Constraint(expr=pyo.quicksum(row.values()) == 1))
    return Factor(tuple(row.values()), pool.features)


def _require(translate: Translator, table: SystemTable) -> None:
    """The system's constraints, scaled; each may be exceeded by its tolerance as everywhere."""
    for requirement in table.requirements:
        expression = table.expression(requirement.measure)
        scale = scale_of(translate.scope.range(expression))
        slack = TOLERANCE * translate.scope.range(table.expression(requirement.scale))[1]
        bound = scale * (requirement.bound + slack)
        translate.scope.require(multiplied(scale, translate(expression, UP)) <= bound)


def _row_decisions(table: SystemTable, factors: tuple[Factor, ...]) -> dict[str, PyomoExpression]:
    found: dict[str, PyomoExpression] = {}
    for pool, factor in zip(table.pools, factors, strict=True):
        rows = [dict(pool.columns.choice(int(row)).values) for row in pool.rows]
        found |= {name: _weighted([row[name] for row in rows], factor) for name in rows[0]}
    return found


def _weighted(values: Iterable[Number], factor: Factor) -> PyomoExpression:
    return pyo.quicksum(value * hot for value, hot in zip(values, factor.hot, strict=True))


def _named(
    block: pyo.Block, name: str, expressions: Mapping[str, PyomoExpression]
) -> Mapping[str, PyomoExpression]:
    """The expressions as a named, indexed component of the block."""
    made = pyo.Expression(list(expressions), rule=lambda _, key: expressions[key])
    block.add_component(name, made)
    return {key: made[key] for key in expressions}
