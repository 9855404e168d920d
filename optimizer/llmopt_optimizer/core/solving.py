"""Solve a program with one objective: prepare, choose a route, check the answer.

Small joint products of the pruned tables are enumerated; larger ones are handed to HiGHS where every metric
translates. Whatever the route says is checked from the original
expressions (`certify`), and an answer that fails a check is not called optimal.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from math import inf, nan

from .certify import certified
from .deadline import DeadlineError
from .enumeration import enumerate_front
from .findings import Check
from .preparation import (
    CompiledProgram,
    SystemTable,
    Tabulated,
    compile_program,
    prepare,
    tabulate_program,
)
from .program import TOLERANCE, Program
from .resolution import cost_scale
from .second_opinion import second_opinion
from .selection import Selected, Selection, SelectionModel, build_selection
from .solution import SolveResult
from .solvers.outcome import SolveStatus
from .solvers.scip import ScipBackEnd
from .translation.scope import NotTranslatable

COLUMNS = "columns"
ENUMERATION = "enumeration"
OPINION_SECONDS = 8.0
"""Time that each other route may take for its opinion of an answer that could not be enumerated."""
JOIN_CELLS = 20_000_000
"""Joint products of the pruned tables up to this size are enumerated, in a second or two, without a
solver.
"""


@dataclass(frozen=True, slots=True)
class Space:
    """A program with its tables: everything that its solves share."""

    program: Program
    tabulated: Tabulated
    tables: tuple[SystemTable, ...]

    @property
    def joint_rows(self) -> int:
        """Joint rows of the pruned tables."""
        return sum(table.size for table in self.tables)


def open_space(
    program: Program,
    compiled: CompiledProgram | None = None,
    ignore: frozenset[str] = frozenset(),
    deadline: float | None = None,
) -> Space:
    """Tabulate and prune; give `compiled` when the same expressions were compiled before.

    Raises `DeadlineError`.
    """
    compiled = compiled or compile_program(program)
    tabulated = tabulate_program(compiled, program.parameters, ignore, deadline)
    return Space(program, tabulated, prepare(tabulated, program, deadline))


def solve(
    program: Program,
    compiled: CompiledProgram | None = None,
    seconds: float | None = None,
    check: bool = True,
    join_cells: int = JOIN_CELLS,
) -> SolveResult:
    """The best assignment for the program's first objective, with its bound and the checks that ran."""
    start = time.monotonic()
    deadline = None if seconds is None else start + seconds
    program = program.with_objectives(program.objectives[0])
    try:
        space = open_space(program, compiled, deadline=deadline)
        result = solve_space(space, start, deadline, join_cells)
    except DeadlineError as error:
        return _nothing(program, SolveStatus.LIMIT, start, COLUMNS, str(error))
    if not check:
        return result
    result = certified(program, space.tabulated, result, deadline)
    return result if _was_enumerated(result) else _opined(space, result, deadline)


def _was_enumerated(result: SolveResult) -> bool:
    return any(check.name == "enumeration" for check in result.checks)


def _opined(space: Space, result: SolveResult, deadline: float | None) -> SolveResult:
    """The result with other routes' opinions: SCIP on the same tables, and SCIP on the expressions."""
    claims = result.status in (SolveStatus.OPTIMAL, SolveStatus.INFEASIBLE)
    checks = [_other_solver(space, result, deadline)] if claims and result.route == COLUMNS else []
    if claims:
        checks.append(second_opinion(space.program, result, _opinion_seconds(deadline)))
    result = replace(result, checks=(*result.checks, *checks))
    if all(check.passed for check in checks):
        return result
    status = SolveStatus.FEASIBLE if result.assignment is not None else SolveStatus.ERROR
    bound = -inf * space.program.objectives[0].sign
    return replace(result, status=status, bound=bound, message="another route refutes the claim")


def _opinion_seconds(deadline: float | None) -> float:
    left = inf if deadline is None else deadline - time.monotonic()
    return max(0.1, min(OPINION_SECONDS, left))


def _other_solver(space: Space, result: SolveResult, deadline: float | None) -> Check:
    """Whether SCIP finds anything better in the same tables; only a point that exact numbers accept
    counts.
    """
    name = "second solver (SCIP) on the columns"
    model = build_selection(space.program, space.tables, ScipBackEnd)
    if model is None:
        return Check(name, result.assignment is None, "no feasible row is left")
    until = time.monotonic() + _opinion_seconds(deadline)
    other = model.solve((inf,), lambda point: True, until)
    mine = inf if result.assignment is None else space.program.objectives[0].sign * result.objective
    theirs = inf if other.point is None else other.point.costs[0]
    better = theirs < mine - TOLERANCE * abs(mine) if mine < inf else theirs < inf
    detail = f"{result.route} {mine:.9g}, SCIP {theirs:.9g} ({other.status})"
    return Check(name, not better, detail)


def solve_space(
    space: Space, start: float, deadline: float | None, join_cells: int = JOIN_CELLS
) -> SolveResult:
    """The best assignment of prepared tables, unchecked; the solver is asked beyond `join_cells` joint
    rows.
    """
    if space.joint_rows <= join_cells:
        return _by_enumeration(space, start, deadline)
    try:
        model = build_selection(space.program, space.tables)
    except NotTranslatable:
        return _by_enumeration(space, start, deadline)
    if model is None:
        return _nothing(space.program, SolveStatus.INFEASIBLE, start, COLUMNS, "no feasible row is left")
    selection = model.solve((inf,), lambda point: True, deadline)
    return _from_selection(space, model, selection, start)


def _from_selection(space: Space, model: SelectionModel, selection: Selection, start: float) -> SolveResult:
    if selection.point is None:
        return _nothing(space.program, selection.status, start, COLUMNS, selection.message)
    bound = selection.bound / model.scales[0]
    return result_of(
        space.program, selection.point, selection.status, bound, time.monotonic() - start, COLUMNS
    )


def _by_enumeration(space: Space, start: float, deadline: float | None) -> SolveResult:
    front, finished = enumerate_front(space.program, space.tables, deadline)
    if not front:
        status = SolveStatus.INFEASIBLE if finished else SolveStatus.LIMIT
        return _nothing(space.program, status, start, ENUMERATION, status.sentence)
    status = SolveStatus.OPTIMAL if finished else SolveStatus.FEASIBLE
    bound = front[0].costs[0] if finished else float(cost_scale(space.program, space.tables).ideal[0])
    return result_of(space.program, front[0], status, bound, time.monotonic() - start, ENUMERATION)


def result_of(
    program: Program, point: Selected, status: SolveStatus, bound: float, seconds: float, route: str
) -> SolveResult:
    """A point as a result; `bound` is for the signed cost and never above it."""
    sign = program.objectives[0].sign
    cost = point.costs[0]
    return SolveResult(status, point.assignment, sign * cost, sign * min(bound, cost), seconds, route)


def _nothing(program: Program, status: SolveStatus, start: float, route: str, message: str) -> SolveResult:
    bound = -inf * program.objectives[0].sign
    return SolveResult(status, None, nan, bound, time.monotonic() - start, route, message=message)
