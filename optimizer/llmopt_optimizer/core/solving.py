"""Solve a program with one objective: prepare, choose a route, check the answer.

Small joint products of the pruned tables are enumerated; larger ones are handed to HiGHS where every metric
translates. Whatever the route says is checked from the original
expressions (`certify`), and an answer that fails a check is not called optimal.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import inf, nan

from .certify import certified
from .deadline import DeadlineError
from .enumeration import enumerate_front
from .preparation import (
    CompiledProgram,
    SystemTable,
    Tabulated,
    compile_program,
    prepare,
    tabulate_program,
)
from .program import Program
from .resolution import cost_scale
from .selection import Selected, Selection, SelectionModel, build_selection
from .solution import SolveResult
from .solvers.outcome import SolveStatus
from .translation.scope import NotTranslatable

COLUMNS = "columns"
ENUMERATION = "enumeration"
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
    return certified(program, space.tabulated, result, deadline) if check else result


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
