"""The column model: choose a system and one row of each of its pools, as a mixed-integer linear program.

Every pool of every system is a factor whose binaries sum to the presence of its system; the presences sum
to one. Each objective is a variable `cost[k]` (to minimise, scaled to at most `SPAN`) that is at least the
translated metric; Pareto boxes are upper bounds of these variables. Limits and constraints are loosened by
their tolerance and every answer is compared with the exact numbers of the tables: one that fails, by the
solver's own tolerance, is cut off and the model solved again. So the model is a relaxation, and its answers
are exact.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf, isfinite, nan
from typing import Any

import numpy as np
import pyomo.environ as pyo

from .claims import integral_fault, judged
from .deadline import remaining_seconds
from .monotone import UP, Range, bounds
from .preparation import SystemTable, exact_number
from .program import TOLERANCE, Assignment, Program
from .resolution import cost_scale
from .solvers.highs import HighsBackEnd
from .solvers.outcome import BackEnd, Outcome, SolveStatus
from .solvers.watchdog import WatchedBackEnd
from .translation.chain import LINEAR_CHAIN, Translator
from .translation.scope import Factor, Scope

SPAN = 1e4
MOST_REFUSED = 50
"""Points of one solve that exact numbers refuse; a solver that finds more has lost its way."""


@dataclass(frozen=True, slots=True)
class Selected:
    """One point of the column model with its exact numbers."""

    system: int
    rows: tuple[int, ...]
    assignment: Assignment
    costs: tuple[float, ...]
    """Objectives with their signs: all to be minimised."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The answer of one solve over a box."""

    status: SolveStatus
    point: Selected | None
    bound: float
    """Lower bound of the sum of scaled costs over the box."""
    seconds: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class SelectionModel:
    """The Pyomo model, its solver, and the way back to assignments."""

    program: Program
    tables: tuple[SystemTable, ...]
    factors: tuple[tuple[Factor, ...], ...]
    model: pyo.ConcreteModel
    solver: BackEnd
    scales: tuple[float, ...]
    """Factor of each objective in the model."""

    def solve(
        self, upper: tuple[float, ...], accept: Callable[[Selected], bool], deadline: float | None
    ) -> Selection:
        """Minimise the sum of scaled costs where costs are at most `upper`.

        Points that `accept` refuses are cut off for this solve only.
        """
        self._set_box(upper)
        start = time.monotonic()
        outcome, point, refused = *self._attempt(deadline), set[Selected]()
        while point is not None and not (self.holds(point) and accept(point)):
            if point in refused or len(refused) >= MOST_REFUSED:
                message = f"{self.solver.name} keeps to points that are cut off"
                outcome, point = replace(outcome, status=SolveStatus.ERROR, bound=-inf, message=message), None
                break
            refused.add(point)
            self._cut(point)
            outcome, point = self._attempt(deadline)
        self._remove_cuts()
        if point is not None:
            outcome = judged(outcome, self._objective(point), SPAN * len(self.scales))
            point = None if outcome.status is SolveStatus.ERROR else point
        return Selection(outcome.status, point, outcome.bound, time.monotonic() - start, outcome.message)

    def _objective(self, point: Selected) -> float:
        return float(sum(scale * cost for scale, cost in zip(self.scales, point.costs, strict=True)))

    def holds(self, point: Selected) -> bool:
        """Whether the point meets every requirement by the tables' exact numbers."""
        table = self.tables[point.system]
        known = table.known(tuple(np.array([row]) for row in point.rows))
        finite = all(isfinite(cost) for cost in point.costs)
        return finite and all(bool(np.all(r.holds(known))) for r in table.requirements)

    def _set_box(self, upper: tuple[float, ...]) -> None:
        for variable, value, scale in zip(self.model.cost.values(), upper, self.scales, strict=True):
            variable.setub(None if value == inf else value * scale)
        self.solver.update_bounds(list(self.model.cost.values()))

    def _attempt(self, deadline: float | None) -> tuple[Outcome, Selected | None]:
        outcome = self.solver.solve(remaining_seconds(deadline))
        if outcome.status not in (SolveStatus.OPTIMAL, SolveStatus.FEASIBLE):
            return outcome, None
        present = [_number(variable) for variable in self.model.present.values()]
        hot = [[[_number(variable) for variable in factor.hot] for factor in pools] for pools in self.factors]
        fault = integral_fault(present, hot)
        if fault:
            message = f"{self.solver.name}: {fault}"
            return replace(outcome, status=SolveStatus.ERROR, bound=-inf, message=message), None
        return outcome, self._selected()

    def _selected(self) -> Selected:
        system = max(range(len(self.tables)), key=lambda index: pyo.value(self.model.present[index]))
        rows = tuple(factor.invert() for factor in self.factors[system])
        return point_of(self.program, self.tables, system, tuple(0 if row is None else row for row in rows))

    def _cut(self, point: Selected) -> None:
        chosen = [f.hot[row] for f, row in zip(self.factors[point.system], point.rows, strict=True)]
        self.solver.add(self.model.cuts.add(pyo.quicksum(chosen) <= len(chosen) - 1))

    def _remove_cuts(self) -> None:
        for cut in self.model.cuts.values():
            self.solver.remove(cut)
        self.model.cuts.clear()


def _number(variable: Any) -> float:
    value = variable.value
    return nan if value is None else float(value)


def point_of(
    program: Program, tables: tuple[SystemTable, ...], system: int, rows: tuple[int, ...]
) -> Selected:
    """One row of each pool of a system, with its exact costs."""
    table = tables[system]
    known = table.known(tuple(np.array([row]) for row in rows))
    values = [float(measure.values(known).item()) for measure in table.objectives]
    costs = tuple(o.sign * value for o, value in zip(program.objectives, values, strict=True))
    return Selected(system, rows, table.assignment(rows), costs)


def build_selection(
    program: Program,
    tables: tuple[SystemTable, ...],
    back_end: Callable[[pyo.ConcreteModel], BackEnd] = HighsBackEnd,
) -> SelectionModel | None:
    """The column model of the tables; None when no system has a row in every pool.

    Raises `NotTranslatable` when a metric couples pools in a way that no reduction takes.
    """
    tables = tuple(table for table in tables if table.size)
    if not tables:
        return None
    model = pyo.ConcreteModel()
    model.present = pyo.Var(range(len(tables)), domain=pyo.Binary)
    model.one_system = pyo.Constraint(expr=pyo.quicksum(model.present.values()) == 1)
    factors = tuple(_factors(model, index, table) for index, table in enumerate(tables))
    scales = tuple(float(SPAN / m) for m in cost_scale(program, tables).magnitude)
    translators = [_translator(model, i, table, factors[i]) for i, table in enumerate(tables)]
    _add_costs(model, program, tables, translators, scales)
    for index, table in enumerate(tables):
        _add_requirements(table, translators[index])
        _add_exclusions(model, index, table, factors[index])
    model.cuts = pyo.ConstraintList()
    model.total = pyo.Objective(expr=pyo.quicksum(model.cost.values()))
    return SelectionModel(program, tables, factors, model, WatchedBackEnd(back_end(model)), scales)


def _factors(model: pyo.ConcreteModel, index: int, table: SystemTable) -> tuple[Factor, ...]:
    factors = []
    for position, pool in enumerate(table.pools):
        hot = pyo.Var(range(len(pool)), domain=pyo.Binary)
        model.add_component(f"row_{index}_{position}", hot)
        rule = pyo.Constraint(expr=pyo.quicksum(hot.values()) == model.present[index])
        model.add_component(f"one_row_{index}_{position}", rule)
        factors.append(Factor(tuple(hot.values()), pool.features))
    return tuple(factors)


def _translator(
    model: pyo.ConcreteModel, index: int, table: SystemTable, factors: tuple[Factor, ...]
) -> Translator:
    scope = Scope(model, f"system_{index}", model.present[index], factors, {}, table.ranges())
    return Translator(scope, LINEAR_CHAIN)


def _add_costs(
    model: pyo.ConcreteModel,
    program: Program,
    tables: tuple[SystemTable, ...],
    translators: list[Translator],
    scales: tuple[float, ...],
) -> None:
    model.cost = pyo.Var(range(len(program.objectives)), domain=pyo.Reals)
    model.cost_rule = pyo.ConstraintList()
    for k, objective in enumerate(program.objectives):
        factor = exact_number(objective.sign * scales[k])
        parts = [
            translator(factor * table.expression(table.objectives[k]), UP)
            for table, translator in zip(tables, translators, strict=True)
        ]
        model.cost_rule.add(model.cost[k] >= pyo.quicksum(parts))


def _add_requirements(table: SystemTable, translator: Translator) -> None:
    """`measure <= bound + slack`, scaled; the slack is the requirement's tolerance at its largest scale."""
    ranges = table.ranges()
    for requirement in table.requirements:
        expression = table.expression(requirement.measure)
        slack = TOLERANCE * bounds(table.expression(requirement.scale), ranges)[1]
        magnitude = max(_magnitude(bounds(expression, ranges)), abs(requirement.bound))
        scale = SPAN / magnitude if 0 < magnitude < inf else 1.0
        left = translator(exact_number(scale) * expression, UP)
        translator.scope.require(left <= scale * (requirement.bound + slack) * translator.scope.present)


def _add_exclusions(
    model: pyo.ConcreteModel, index: int, table: SystemTable, factors: tuple[Factor, ...]
) -> None:
    rules = pyo.ConstraintList()
    model.add_component(f"excluded_{index}", rules)
    for rows in table.excluded:
        chosen = [factor.hot[row] for factor, row in zip(factors, rows, strict=True)]
        rules.add(pyo.quicksum(chosen) <= len(chosen) - 1)


def _magnitude(span: Range) -> float:
    return max(abs(span[0]), abs(span[1]))
