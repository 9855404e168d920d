"""Enumeration: every joint row; the oracle for small spaces, the fallback for what MILP cannot say.

The joint product of a system's pools is walked in blocks of numpy arrays; each block gives its feasible
rows and their nondominated cost vectors. Costs are objectives with their signs, all to be minimised. Two
cost vectors are told apart only beyond the `resolution`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from .deadline import DeadlineError, check_deadline
from .dominance import nondominated
from .lowering import Floats
from .preparation import SystemTable
from .program import Program
from .resolution import CostScale, cost_scale
from .selection import Selected, point_of

BLOCK_CELLS = 1 << 20


@dataclass(frozen=True, slots=True)
class JointRows:
    """Feasible joint rows of one block: positions [rows, pools] and costs [rows, objectives]."""

    positions: NDArray[np.int64]
    costs: Floats

    def take(self, rows: NDArray[np.int64]) -> JointRows:
        """Only these rows."""
        return JointRows(self.positions[rows], self.costs[rows])


def joint_rows(table: SystemTable, program: Program, deadline: float | None = None) -> Iterator[JointRows]:
    """All feasible joint rows of a system, block by block; raises `DeadlineError`."""
    sizes = [len(pool) for pool in table.pools]
    if not prod(sizes):
        return
    width = max(1, BLOCK_CELLS // prod(sizes[1:]))
    for start in range(0, sizes[0], width):
        check_deadline(deadline)
        first = np.arange(start, min(sizes[0], start + width))
        yield joint_block(table, program, (first, *(np.arange(size) for size in sizes[1:])))


def joint_block(table: SystemTable, program: Program, rows: tuple[NDArray[np.int64], ...]) -> JointRows:
    """The feasible joint rows in the product of these rows of each pool."""
    known, shape = table.known(rows), tuple(len(chosen) for chosen in rows)
    signs = [objective.sign for objective in program.objectives]
    pairs = zip(signs, table.objectives, strict=True)
    costs = [np.broadcast_to(sign * measure.values(known), shape) for sign, measure in pairs]
    feasible = np.logical_and.reduce([np.isfinite(cost) for cost in costs])
    for requirement in table.requirements:
        feasible = feasible & requirement.holds(known)
    for excluded in table.excluded:
        where = [chosen == row for chosen, row in zip(rows, excluded, strict=True)]
        feasible[np.ix_(*where)] = False
    places = np.argwhere(feasible)
    positions = [chosen[places[:, axis]] for axis, chosen in enumerate(rows)]
    return JointRows(np.stack(positions, axis=1), np.stack([cost[feasible] for cost in costs], axis=1))


def enumerate_front(
    program: Program, tables: tuple[SystemTable, ...], deadline: float | None = None
) -> tuple[list[Selected], bool]:
    """One assignment for each nondominated cost vector, sorted by costs, and whether all rows were seen.

    With one objective that is the optimum.
    """
    found: list[Selected] = []
    scale = cost_scale(program, tables)
    try:
        for index, table in enumerate(tables):
            for block in joint_rows(table, program, deadline):
                found = resolved_front(found + _block_front(program, tables, index, block), scale)
    except DeadlineError:
        return found, False
    return found, True


def _block_front(
    program: Program, tables: tuple[SystemTable, ...], index: int, block: JointRows
) -> list[Selected]:
    best = block.take(nondominated(block.costs))
    return [point_of(program, tables, index, tuple(map(int, rows))) for rows in best.positions]


def resolved_front(points: Sequence[Selected], scale: CostScale) -> list[Selected]:
    """The points that no other betters beyond the resolution, sorted by costs; of equal ones the first."""
    if not points:
        return []
    ordered = sorted(points, key=lambda point: point.costs)
    costs = np.array([point.costs for point in ordered])
    candidates = nondominated(costs)
    kept: list[int] = []
    for row in candidates:
        covering = ~scale.better(costs[row], costs[candidates])
        equal = covering & ~scale.better(costs[candidates], costs[row])
        if not np.any(covering & ~equal) and not np.isin(candidates[equal], kept).any():
            kept.append(int(row))
    return [ordered[row] for row in kept]
