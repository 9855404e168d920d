"""A front judged by what did not make it: its points one by one, and the emptiness of what lies beside
them.
"""

from __future__ import annotations

import time
from functools import partial
from math import inf

import numpy as np

from .boxes import boxes_of
from .certify import points_checks
from .enumeration import enumerate_front
from .findings import Check
from .lowering import Floats
from .resolution import CostScale
from .selection import Selected, build_selection
from .solvers.outcome import SolveStatus
from .solving import Space
from .translation.scope import NotTranslatable

MOST_BOXES = 20_000
AUDIT_SECONDS = 3.0
"""Time that a solver may take for the boxes that it is asked about."""
POINTS_TOGETHER = 256
"""Points evaluated between two looks at the clock."""
MODEL_ROWS = 5_000
"""Tables with more rows than this are not made a model for an audit alone."""


def points_checked(space: Space, points: list[Selected], deadline: float | None) -> list[Check]:
    """Checks from the original expressions, summed up: one for each check's name, with the failures.

    When the time is over the remaining points go unchecked, and the details say how many were.
    """
    listed: list[Check] = []
    seen = 0
    while seen < len(points) and (not seen or deadline is None or time.monotonic() < deadline):
        together = [point.assignment for point in points[seen : seen + POINTS_TOGETHER]]
        listed += [check for checks in points_checks(space.program, together) for check in checks]
        seen += len(together)
    summed = []
    for name in dict.fromkeys(check.name for check in listed):
        failed = [check.detail for check in listed if check.name == name and not check.passed]
        detail = "; ".join(failed) if failed else f"holds at {seen} of {len(points)} points"
        summed.append(Check(name, not failed, detail))
    return summed


def compared(space: Space, points: list[Selected], scale: CostScale) -> list[Check]:
    """The same front by enumeration of the pruned joint product."""
    expected, _ = enumerate_front(space.program, space.tables)
    costs = np.array([point.costs for point in points]).reshape(-1, len(space.program.objectives))
    matched = [
        np.any(~scale.better(np.array(e.costs), costs) & ~scale.better(costs, np.array(e.costs)))
        for e in expected
    ]
    same = len(expected) == len(points) and all(matched)
    detail = f"{len(points)} points; enumeration of {space.joint_rows} joint rows gives {len(expected)}"
    return [Check("front equals enumeration", bool(same), detail)]


def audited_boxes(
    space: Space, points: list[Selected], scale: CostScale, most: int, deadline: float | None
) -> list[Check]:
    """Some of the boxes that an enumerated front leaves, handed to the solver, which must find them empty.

    Only a point that the solver finds there, feasible by exact numbers, counts against the front.
    """
    rows = sum(len(pool) for table in space.tables for pool in table.pools)
    if not most or rows > MODEL_ROWS:
        return []
    boxes = boxes_of(np.array([p.costs for p in points]).reshape(-1, len(scale.ideal)), MOST_BOXES)
    if boxes is None:
        return []
    chosen = boxes[np.unique(np.linspace(0, len(boxes) - 1, most).astype(np.int64))]
    return _emptied(space, chosen, len(boxes), scale, deadline)


def _emptied(
    space: Space, chosen: Floats, count: int, scale: CostScale, deadline: float | None
) -> list[Check]:
    try:
        model = build_selection(space.program, space.tables)
    except NotTranslatable:
        return []
    if model is None:
        return []
    until = min(inf if deadline is None else deadline, time.monotonic() + AUDIT_SECONDS)
    empty, found = 0, 0
    for box in chosen:
        with np.errstate(invalid="ignore"):
            inner = np.where(np.isfinite(box), box - scale.step(box), inf)
        answer = model.solve(tuple(inner), partial(_below, edge=inner), until)
        empty += answer.status is SolveStatus.INFEASIBLE
        found += answer.point is not None
    detail = f"{empty} of {len(chosen)} boxes, of {count} in all, shown empty by {model.solver.name}"
    return [Check("boxes beside the front are empty", not found, detail)]


def _below(point: Selected, edge: Floats) -> bool:
    return bool(np.all(np.array(point.costs) <= edge))
