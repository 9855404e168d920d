"""The exact nondominated front of one to three objectives, with a certificate of completeness.

The region that may still hold a nondominated point is a union of boxes `costs < u`, one for each *local
upper bound* u (Klamroth, Lacour and Vanderpooten 2015). A box is solved by minimising the sum of scaled
costs in it: the answer is nondominated, and every box that contains it is split, one copy for each
objective lowered to the answer. "Infeasible" closes a box. The front is complete when no box is open. With
two objectives this is the epsilon-constraint method. Boxes are half open by the program's relative
`TOLERANCE`, the resolution at which cost vectors are told apart; a point that the solver lets through
within its own tolerance is refused by exact numbers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import TypeAlias

import numpy as np

from .certify import point_checks
from .deadline import DeadlineError
from .enumeration import enumerate_front, resolved_front
from .findings import Check
from .preparation import CompiledProgram
from .program import Assignment, Program
from .resolution import CostScale, cost_scale
from .selection import Selected, SelectionModel, build_selection
from .solution import relative_gap
from .solvers.outcome import SolveStatus
from .solving import COLUMNS, ENUMERATION, Space, open_space
from .translation.scope import NotTranslatable

Box: TypeAlias = tuple[float, ...]
"""A local upper bound of signed costs: points of the box are below it in every objective."""
ENUMERATION_CHECK_CELLS = 100_000
COMPLETION_CELLS = 50_000_000
"""Joint products up to this size are enumerated when the solver leaves boxes open."""
COMPLETION_CELLS_PER_SECOND = 2_000_000


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A nondominated assignment; objectives, bound and gap in the caller's units and senses."""

    assignment: Assignment
    objectives: tuple[float, ...]
    bound: float
    """Proven bound of the first objective among assignments that are as good in the others."""
    gap: float


@dataclass(frozen=True, slots=True)
class Front:
    """All nondominated points found, and whether these are all there are."""

    points: tuple[FrontPoint, ...]
    complete: bool
    open_boxes: tuple[Box, ...]
    """Local upper bounds of signed costs (maximised objectives negated) of boxes not shown to be empty."""
    status: SolveStatus
    solves: int
    seconds: float
    route: str
    checks: tuple[Check, ...]
    message: str = ""


@dataclass(slots=True)
class _Search:
    """What is known of the front so far."""

    boxes: list[Box]
    points: list[Selected] = field(default_factory=list)
    closed: list[Box] = field(default_factory=list)
    unsettled: list[Box] = field(default_factory=list)
    solves: int = 0
    message: str = ""


def pareto(program: Program, compiled: CompiledProgram | None = None, seconds: float | None = None) -> Front:
    """The exact front of the program's objectives, or as much of it as the time allows."""
    start = time.monotonic()
    deadline = None if seconds is None else start + seconds
    try:
        space = open_space(program, compiled, deadline=deadline)
    except DeadlineError as error:
        box = (inf,) * len(program.objectives)
        took = time.monotonic() - start
        return Front((), False, (box,), SolveStatus.LIMIT, 0, took, COLUMNS, (), str(error))
    return front_of(space, start, deadline)


def front_of(space: Space, start: float, deadline: float | None) -> Front:
    """The front of prepared tables, each point checked from the original expressions."""
    search, route = _Search([(inf,) * len(space.program.objectives)]), COLUMNS
    try:
        model = build_selection(space.program, space.tables)
    except NotTranslatable as error:
        search, route = _enumerated(space, deadline, str(error)), ENUMERATION
    else:
        if model is None:
            search.boxes.clear()
        else:
            _run(search, model, cost_scale(space.program, model.tables), _milp_deadline(space, deadline))
            if search.boxes or search.unsettled:
                search, route = _completed(space, search, deadline), f"{COLUMNS}, {ENUMERATION}"
    return _finished(space, search, route, start, deadline)


def _milp_deadline(space: Space, deadline: float | None) -> float | None:
    """When to give up on boxes so that enumeration, where it is possible at all, still ends in time."""
    size = sum(table.size for table in space.tables)
    if deadline is None or size > COMPLETION_CELLS:
        return deadline
    wanted = 2.0 + size / COMPLETION_CELLS_PER_SECOND
    return deadline - min(wanted, (deadline - time.monotonic()) / 2)


def _completed(space: Space, search: _Search, deadline: float | None) -> _Search:
    """The front by enumeration when boxes are left and the joint product allows it, else as it stands."""
    if sum(table.size for table in space.tables) > COMPLETION_CELLS:
        return search
    points, finished = enumerate_front(space.program, space.tables, deadline)
    if not finished:
        return replace(search, points=search.points + points)
    return _Search([], points, solves=search.solves, message="boxes left by the solver closed by enumeration")


def _run(search: _Search, model: SelectionModel, scale: CostScale, deadline: float | None) -> None:
    """Solve boxes until none is left or the time is over."""
    while search.boxes and (deadline is None or time.monotonic() < deadline):
        box = search.boxes.pop()
        inner = _closed_box(box, scale)
        selection = model.solve(inner, partial(_inside, closed_box=inner), deadline)
        search.solves += 1
        if selection.status is SolveStatus.INFEASIBLE:
            search.closed.append(box)
            continue
        if selection.point is None or selection.status is not SolveStatus.OPTIMAL:
            search.unsettled.append(box)
            search.message = selection.message or selection.status.sentence
        else:
            search.boxes = _split([*search.boxes, box], selection.point, search.closed, scale)
        if selection.point is not None:
            search.points.append(selection.point)


def _closed_box(box: Box, scale: CostScale) -> Box:
    """The largest costs that are better than the box's edge beyond the resolution."""
    steps = scale.step(np.array(box))
    return tuple(u - float(step) if u < inf else inf for u, step in zip(box, steps, strict=True))


def _inside(point: Selected, closed_box: Box) -> bool:
    return all(cost <= u for cost, u in zip(point.costs, closed_box, strict=True))


def _split(boxes: list[Box], point: Selected, closed: list[Box], scale: CostScale) -> list[Box]:
    """Boxes that together hold what the old ones held, less what the point covers; none inside another."""
    pieces: list[Box] = []
    for box in boxes:
        if _inside(point, _closed_box(box, scale)):
            pieces += [(*box[:k], cost, *box[k + 1 :]) for k, cost in enumerate(point.costs)]
        else:
            pieces.append(box)
    distinct = sorted(set(pieces))
    return [b for b in distinct if not any(_within(b, other) for other in [*distinct, *closed] if other != b)]


def _within(inner: Box, outer: Box) -> bool:
    return all(a <= b for a, b in zip(inner, outer, strict=True))


def _enumerated(space: Space, deadline: float | None, reason: str) -> _Search:
    points, finished = enumerate_front(space.program, space.tables, deadline)
    boxes = [] if finished else [(inf,) * len(space.program.objectives)]
    return _Search(boxes, points, message=reason)


def _finished(space: Space, search: _Search, route: str, start: float, deadline: float | None) -> Front:
    scale = cost_scale(space.program, space.tables)
    points = resolved_front(search.points, scale)
    unsettled = tuple(search.boxes + search.unsettled)
    checks = (*_checked_points(space, points, deadline), *_compared(space, points, unsettled, scale))
    complete = not unsettled and all(check.passed for check in checks)
    lowest = None if complete else float(scale.ideal[0])
    described = tuple(_front_point(space.program, point, lowest) for point in points)
    status = _status(bool(points), complete, bool(unsettled))
    took = time.monotonic() - start
    return Front(described, complete, unsettled, status, search.solves, took, route, checks, search.message)


def _status(found: bool, complete: bool, unsettled: bool) -> SolveStatus:
    if complete:
        return SolveStatus.OPTIMAL if found else SolveStatus.INFEASIBLE
    if found:
        return SolveStatus.FEASIBLE
    return SolveStatus.LIMIT if unsettled else SolveStatus.ERROR


def _front_point(program: Program, point: Selected, lowest: float | None) -> FrontPoint:
    signs = [objective.sign for objective in program.objectives]
    values = tuple(sign * cost for sign, cost in zip(signs, point.costs, strict=True))
    bound = values[0] if lowest is None else signs[0] * min(lowest, point.costs[0])
    return FrontPoint(point.assignment, values, bound, relative_gap(values[0], bound))


def _checked_points(space: Space, points: list[Selected], deadline: float | None) -> list[Check]:
    """Checks from the original expressions, summed up: one for each check's name, with the failures.

    When the time is over the remaining points go unchecked, and the details say how many were.
    """
    listed: list[Check] = []
    seen = 0
    for point in points:
        if seen and deadline is not None and time.monotonic() > deadline:
            break
        listed += point_checks(space.program, point.assignment)
        seen += 1
    summed = []
    for name in dict.fromkeys(check.name for check in listed):
        failed = [check.detail for check in listed if check.name == name and not check.passed]
        detail = "; ".join(failed) if failed else f"holds at {seen} of {len(points)} points"
        summed.append(Check(name, not failed, detail))
    return summed


def _compared(
    space: Space, points: list[Selected], unsettled: tuple[Box, ...], scale: CostScale
) -> list[Check]:
    """Where the pruned joint product is small: the same front by enumeration."""
    size = sum(table.size for table in space.tables)
    if size > ENUMERATION_CHECK_CELLS or unsettled:
        return []
    expected, _ = enumerate_front(space.program, space.tables)
    costs = np.array([point.costs for point in points]).reshape(-1, len(space.program.objectives))
    matched = [
        np.any(~scale.better(np.array(e.costs), costs) & ~scale.better(costs, np.array(e.costs)))
        for e in expected
    ]
    same = len(expected) == len(points) and all(matched)
    detail = f"{len(points)} points; enumeration of {size} joint rows gives {len(expected)}"
    return [Check("front equals enumeration", bool(same), detail)]
