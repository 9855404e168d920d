"""The exact nondominated front of one to four objectives, with a certificate of completeness.

Where the joint product of the pruned tables is small enough, every joint row is looked at (`enumeration`).
Else the region that may still hold a nondominated point is kept as a union of boxes `costs < u` (`boxes`). A
box is solved by minimising the sum of scaled costs in it: the answer is nondominated, and splits every box
that contains it. "Infeasible" closes a box. The front is complete when no box is open. With two objectives
this is the epsilon-constraint method. Boxes are half open by the program's resolution; a point that the
solver lets through within its own tolerance is refused by exact numbers. Either way the other method audits
the answer: boxes beside an enumerated front are handed to the solver, and small fronts of the solver are
enumerated. When the time ends first, the open boxes bound what is missing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf, nan
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .audit import audited_boxes, compared, points_checked
from .boxes import split
from .deadline import DeadlineError
from .enumeration import enumerate_front, resolved_front
from .findings import Check
from .hypervolume import hypervolume, missing_hypervolume
from .lowering import Floats
from .preparation import CompiledProgram
from .program import Assignment, Program
from .resolution import CostScale, cost_scale
from .selection import Selected, SelectionModel, build_selection
from .solution import relative_gap
from .solvers.outcome import SolveStatus
from .solving import COLUMNS, ENUMERATION, JOIN_CELLS, Space, open_space
from .translation.scope import NotTranslatable

Box: TypeAlias = tuple[float, ...]
"""A local upper bound of signed costs: points of the box are below it in every objective."""
COMPLETION_CELLS_PER_SECOND = 2_000_000
MISSING_POINTS = 400
"""Points and boxes up to which the missing hypervolume of four objectives is worked out."""


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
    missing: float = nan
    """At most this share of the hypervolume is missing, between the best and worst possible costs; 0 when
    complete, nan when it was not worked out."""


@dataclass(frozen=True, slots=True)
class FrontMethod:
    """How far each method goes; the defaults suit one core and some seconds."""

    join_cells: int = JOIN_CELLS
    """Joint products up to this size are enumerated instead of handed to the solver."""
    completion_cells: int = 50_000_000
    """Joint products up to this size are enumerated when the solver leaves boxes open."""
    audit_boxes: int = 4
    """Boxes beside an enumerated front that the solver must find empty."""
    audit_cells: int = 100_000
    """Fronts of the solver over joint products up to this size are compared with enumeration."""
    check_points: bool = True
    """Whether each point is checked from the original expressions; not for proposals that others judge."""


DEFAULT = FrontMethod()


@dataclass(slots=True)
class _Search:
    """What is known of the front so far; boxes are rows of upper bounds."""

    boxes: Floats
    points: list[Selected] = field(default_factory=list)
    closed: list[Floats] = field(default_factory=list)
    unsettled: list[Floats] = field(default_factory=list)
    solves: int = 0
    message: str = ""

    @property
    def open(self) -> Floats:
        """Boxes not shown to be empty."""
        return np.concatenate([self.boxes, *(box[None] for box in self.unsettled)])


def pareto(
    program: Program,
    compiled: CompiledProgram | None = None,
    seconds: float | None = None,
    method: FrontMethod = DEFAULT,
) -> Front:
    """The exact front of the program's objectives, or as much of it as the time allows."""
    start = time.monotonic()
    deadline = None if seconds is None else start + seconds
    try:
        space = open_space(program, compiled, deadline=deadline)
    except DeadlineError as error:
        box = (inf,) * len(program.objectives)
        took = time.monotonic() - start
        return Front((), False, (box,), SolveStatus.LIMIT, 0, took, COLUMNS, (), str(error), 1.0)
    return front_of(space, start, deadline, method)


def front_of(space: Space, start: float, deadline: float | None, method: FrontMethod = DEFAULT) -> Front:
    """The front of prepared tables, each point checked from the original expressions."""
    if space.joint_rows <= method.join_cells:
        search, route = _enumerated(space, deadline, ""), ENUMERATION
    else:
        search, route = _boxed(space, deadline, method)
    return _finished(space, search, route, start, deadline, method)


def _everything(space: Space) -> Floats:
    return np.full((1, len(space.program.objectives)), inf)


def _boxed(space: Space, deadline: float | None, method: FrontMethod) -> tuple[_Search, str]:
    try:
        model = build_selection(space.program, space.tables)
    except NotTranslatable as error:
        return _enumerated(space, deadline, str(error)), ENUMERATION
    search = _Search(_everything(space))
    if model is None:
        return replace(search, boxes=search.boxes[:0]), COLUMNS
    _run(search, model, cost_scale(space.program, model.tables), _milp_deadline(space, deadline, method))
    if len(search.open) and space.joint_rows <= method.completion_cells:
        return _completed(space, search, deadline), f"{COLUMNS}, {ENUMERATION}"
    return search, COLUMNS


def _milp_deadline(space: Space, deadline: float | None, method: FrontMethod) -> float | None:
    """When to give up on boxes so that enumeration, where it is possible at all, still ends in time."""
    if deadline is None or space.joint_rows > method.completion_cells:
        return deadline
    wanted = 2.0 + space.joint_rows / COMPLETION_CELLS_PER_SECOND
    return deadline - min(wanted, (deadline - time.monotonic()) / 2)


def _completed(space: Space, search: _Search, deadline: float | None) -> _Search:
    """The front by enumeration when boxes are left, or what both found when that does not end either."""
    points, finished = enumerate_front(space.program, space.tables, deadline)
    if not finished:
        return replace(search, points=search.points + points)
    message = "boxes left by the solver closed by enumeration"
    return _Search(search.boxes[:0], points, solves=search.solves, message=message)


def _run(search: _Search, model: SelectionModel, scale: CostScale, deadline: float | None) -> None:
    """Solve boxes until none is left or the time is over."""
    inside = partial(_inside_boxes, scale=scale)
    while len(search.boxes) and (deadline is None or time.monotonic() < deadline):
        box, search.boxes = search.boxes[-1], search.boxes[:-1]
        inner = closed_box(box, scale)
        selection = model.solve(tuple(inner), partial(_inside, closed_box=inner), deadline)
        search.solves += 1
        if selection.status is SolveStatus.INFEASIBLE:
            search.closed.append(box)
            continue
        if selection.point is None or selection.status is not SolveStatus.OPTIMAL:
            search.unsettled.append(box)
            search.message = selection.message or selection.status.sentence
        else:
            point, closed = np.array(selection.point.costs), _stacked(search.closed, search.boxes)
            search.boxes = split(np.concatenate([search.boxes, box[None]]), point, closed, inside)
        if selection.point is not None:
            search.points.append(selection.point)


def _stacked(closed: list[Floats], like: Floats) -> Floats:
    return np.array(closed) if closed else like[:0]


def closed_box(box: Floats, scale: CostScale) -> Floats:
    """The largest costs that are better than the box's edge beyond the resolution."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(box), box - scale.step(box), inf)


def _inside(point: Selected, closed_box: Floats) -> bool:
    return bool(np.all(np.array(point.costs) <= closed_box))


def _inside_boxes(point: Floats, boxes: Floats, scale: CostScale) -> NDArray[np.bool_]:
    return np.asarray(np.all(point <= closed_box(boxes, scale), axis=1))


def _enumerated(space: Space, deadline: float | None, reason: str) -> _Search:
    points, finished = enumerate_front(space.program, space.tables, deadline)
    boxes = _everything(space)
    return _Search(boxes[:0] if finished else boxes, points, message=reason)


def _finished(
    space: Space,
    search: _Search,
    route: str,
    start: float,
    deadline: float | None,
    method: FrontMethod,
) -> Front:
    scale = cost_scale(space.program, space.tables)
    points = resolved_front(search.points, scale)
    unsettled = tuple(tuple(map(float, box)) for box in search.open)
    checks = points_checked(space, points, deadline) if method.check_points else []
    if not unsettled and route == ENUMERATION:
        checks += audited_boxes(space, points, scale, method.audit_boxes, deadline)
    elif not unsettled and space.joint_rows <= method.audit_cells:
        checks += compared(space, points, scale)
    complete = not unsettled and all(check.passed for check in checks)
    lowest = None if complete else float(scale.ideal[0])
    described = tuple(_front_point(space.program, point, lowest) for point in points)
    return Front(
        described,
        complete,
        unsettled,
        _status(bool(points), complete, bool(unsettled)),
        search.solves,
        time.monotonic() - start,
        route,
        tuple(checks),
        search.message,
        0.0 if complete else _missing(search, points, scale),
    )


def _missing(search: _Search, points: list[Selected], scale: CostScale) -> float:
    """The share of the hypervolume between ideal and worst costs that may be missing."""
    width = len(scale.ideal)
    sizes = len(points) + len(search.closed)
    if not np.all(np.isfinite(scale.ideal) & np.isfinite(scale.worst)) or (
        width > 3 and sizes > MISSING_POINTS
    ):
        return nan
    reference = scale.worst + 1e-9 * np.abs(scale.worst) + 1e-12
    costs = np.array([point.costs for point in points]).reshape(-1, width)
    closed = _stacked(search.closed, np.zeros((0, width)))
    lost = missing_hypervolume(costs, closed, scale.ideal, reference)
    whole = lost + hypervolume(costs, reference)
    return lost / whole if whole > 0 else 1.0


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
