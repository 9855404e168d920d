"""What people do without this library, on the same model: grid, random search, weighted sums, ε-constraint.

Each takes a model, objectives and limits, and gives a table with one row a point: every decision by name,
then every objective and limit. They are yardsticks. The grid is exact and grows with the product of all
domains; scipy's differential evolution stops where it likes; weighted sums miss whatever lies in a dent of
the front; the ε-constraint finds the whole front only if its steps are fine enough, and of points that are
equal in the first objective it may take one that is worse in the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf, prod
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llmopt_optimizer.core.lowering import Floats
from llmopt_optimizer.core.preparation import CompiledProgram, compile_program
from llmopt_optimizer.core.program import TOLERANCE, Assignment, Direction, Limit, Objective, Program
from llmopt_optimizer.core.scalarization import weighted
from llmopt_optimizer.core.solution import SolveResult
from llmopt_optimizer.core.solving import solve
from llmopt_optimizer.symbolic.model import SymbolicModel, evaluate

Columns: TypeAlias = Mapping[str, NDArray[Any]]
"""Values of the decisions at some points, by name."""
GRID_BLOCK = 100_000
"""Points of the grid that are evaluated together."""
WORST = 1e30
"""Cost of a point that has none, for searches that cannot read infinity."""


def grid_search(
    model: SymbolicModel, objectives: Sequence[Objective], limits: Sequence[Limit] = ()
) -> pd.DataFrame:
    """The nondominated points of the whole grid, sorted by the first objective."""
    found = pd.concat([_feasible(model, block, objectives, limits) for block in _blocks(model)])
    costs = found[[each.metric for each in objectives]].to_numpy() * [each.sign for each in objectives]
    return _sorted(found[_nondominated(costs)], objectives)


def scipy_search(
    model: SymbolicModel, objective: Objective, limits: Sequence[Limit] = (), seed: int = 0, rounds: int = 60
) -> pd.DataFrame:
    """The best point that scipy's differential evolution finds; no row when it finds none that is feasible.

    The search is over positions in the decisions' domains; points that break a limit or a rule cost `WORST`.
    Needs scipy.
    """
    from scipy.optimize import differential_evolution

    domains = list(model.decisions.items())

    def points(positions: Floats) -> Columns:
        rows = np.round(positions).astype(int).reshape(len(domains), -1)
        return {s.name: np.asarray(v)[row] for (s, v), row in zip(domains, rows, strict=True)}

    def cost(positions: Floats) -> Floats:
        table = _table(model, points(positions), [objective], limits)
        signed = objective.sign * table[objective.metric].to_numpy()
        return np.where(table["feasible"] & np.isfinite(signed), signed, WORST)

    several = [(0, len(values) - 1) for _, values in domains]
    done = differential_evolution(
        cost,
        several,
        integrality=np.ones(len(several), dtype=bool),
        vectorized=True,
        updating="deferred",
        polish=False,
        maxiter=rounds,
        rng=np.random.default_rng(seed),
    )
    return _feasible(model, points(done.x), [objective], limits)


def weighted_sum(
    model: SymbolicModel,
    objectives: Sequence[Objective],
    weights: Iterable[Sequence[float]],
    limits: Sequence[Limit] = (),
) -> pd.DataFrame:
    """The optimum of each weighted sum, repeated ones once; weights are in the inverse of the units."""
    program = _program(model, objectives, limits)
    sums = [weighted(program, tuple(each)) for each in weights]
    found = [solve(each, compile_program(each), check=False).assignment for each in sums]
    return _points(model, found, objectives, limits)


def epsilon_constraint(
    model: SymbolicModel,
    objectives: Sequence[Objective],
    steps: int,
    limits: Sequence[Limit] = (),
) -> pd.DataFrame:
    """The optima of the first objective under `steps` bounds of the second, from its best to its worst.

    Raises `ValueError` unless there are two objectives and two steps.
    """
    if len(objectives) != 2 or steps < 2:
        raise ValueError("give two objectives and at least two steps")
    first, second = objectives
    program = _program(model, objectives, limits)
    compiled = compile_program(program)
    best = _optimum(program, compiled, second, ())
    free = _optimum(program, compiled, first, ())
    if best.assignment is None or free.assignment is None:
        return _points(model, [], objectives, limits)
    worst = float(_points(model, [free.assignment], objectives, limits)[second.metric].iloc[0])
    direction: Direction = "at_most" if second.sense == "minimize" else "at_least"
    bounds = [Limit(second.metric, direction, float(e)) for e in np.linspace(best.objective, worst, steps)]
    found = [_optimum(program, compiled, first, (each,)).assignment for each in bounds]
    return _points(model, found, objectives, limits)


def _program(model: SymbolicModel, objectives: Sequence[Objective], limits: Sequence[Limit]) -> Program:
    return replace(model.program, objectives=tuple(objectives), limits=tuple(limits))


def _optimum(
    program: Program, compiled: CompiledProgram, objective: Objective, more: tuple[Limit, ...]
) -> SolveResult:
    asked = replace(program, objectives=(objective,), limits=(*program.limits, *more))
    return solve(asked, compiled, check=False)


def _points(
    model: SymbolicModel,
    found: Iterable[Assignment | None],
    objectives: Sequence[Objective],
    limits: Sequence[Limit],
) -> pd.DataFrame:
    """The table of assignments, each once."""
    values = [
        {name: value for choice in each.choices for name, value in choice.values}
        for each in dict.fromkeys(found)
        if each is not None
    ]
    columns = {s.name: np.array([row[s.name] for row in values]) for s in model.decisions}
    return _sorted(_table(model, columns, objectives, limits).drop(columns="feasible"), objectives)


def _blocks(model: SymbolicModel) -> Iterator[Columns]:
    """The grid of all decisions in parts of at most `GRID_BLOCK` points."""
    names = [symbol.name for symbol in model.decisions]
    sizes = [len(values) for values in model.decisions.values()]
    for start in range(0, prod(sizes), GRID_BLOCK):
        flat = np.arange(start, min(start + GRID_BLOCK, prod(sizes)))
        places = np.unravel_index(flat, sizes)
        domains = model.decisions.values()
        yield {n: np.asarray(v)[at] for n, v, at in zip(names, domains, places, strict=True)}


def _feasible(
    model: SymbolicModel,
    columns: Columns,
    objectives: Sequence[Objective],
    limits: Sequence[Limit],
) -> pd.DataFrame:
    table = _table(model, columns, objectives, limits)
    return table[table["feasible"]].drop(columns="feasible").reset_index(drop=True)


def _table(
    model: SymbolicModel,
    columns: Columns,
    objectives: Sequence[Objective],
    limits: Sequence[Limit],
) -> pd.DataFrame:
    """Decisions, objectives and limits of points, and whether each is feasible."""
    names = list(dict.fromkeys([*(o.metric for o in objectives), *(each.metric for each in limits)]))
    found = evaluate(model, names, columns)
    feasible = found.pop("feasible") > 0
    for limit in limits:
        slack = TOLERANCE * abs(limit.value)
        feasible &= limit.sign * found[limit.metric] <= limit.sign * limit.value + slack
    for each in objectives:
        feasible &= np.isfinite(found[each.metric])
    return pd.DataFrame({**columns, **found, "feasible": feasible})


def _nondominated(costs: Floats) -> NDArray[np.bool_]:
    """Which rows no other row beats, of equal ones the first."""
    kept = np.zeros(len(costs), dtype=bool)
    best = np.full((0, costs.shape[1]), inf)
    for row in np.lexsort(costs.T[::-1]):
        if not (best <= costs[row]).all(axis=1).any():
            kept[row] = True
            best = np.vstack([best, costs[row]])
    return kept


def _sorted(table: pd.DataFrame, objectives: Sequence[Objective]) -> pd.DataFrame:
    ascending = [each.sense == "minimize" for each in objectives]
    ordered = table.sort_values([each.metric for each in objectives], ascending=ascending, kind="stable")
    return ordered.reset_index(drop=True)
