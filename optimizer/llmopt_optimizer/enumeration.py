"""Enumeration: every joint row, evaluated; the oracle for small spaces and the fallback for what MILP cannot say.

The joint product of a system's pools is walked in blocks of numpy arrays; each block gives its feasible
rows and their nondominated cost vectors. Costs are objectives with their signs, all to be minimised. Two
cost vectors are told apart only beyond the program's relative `TOLERANCE`: `covered` is the one rule, used
here and in `pareto`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from .deadline import check_deadline
from .dominance import nondominated
from .lowering import Floats
from .preparation import SystemTable
from .program import TOLERANCE, Program
from .selection import Selected, point_of

BLOCK_CELLS = 1 << 20


def covered(costs: Floats, by: Floats) -> NDArray[np.bool_]:
    """Whether `costs` [..., objectives] is nowhere better than `by` beyond the tolerance."""
    return np.all(costs >= by - TOLERANCE * np.abs(by), axis=-1)


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
    width = max(1, BLOCK_CELLS // max(1, prod(sizes[1:])))
    for start in range(0, sizes[0], width):
        check_deadline(deadline)
        yield _block(table, program, start, min(sizes[0], start + width))


def _block(table: SystemTable, program: Program, start: int, stop: int) -> JointRows:
    slices = (slice(start, stop), *(slice(None) for _ in table.pools[1:]))
    shape = (stop - start, *(len(pool) for pool in table.pools[1:]))
    known = table.known(slices)
    signs = [objective.sign for objective in program.objectives]
    with np.errstate(invalid="ignore"):
        costs = [
            s * np.broadcast_to(m.values(known), shape) for s, m in zip(signs, table.objectives, strict=True)
        ]
    feasible = np.logical_and.reduce([np.isfinite(cost) for cost in costs])
    for requirement in table.requirements:
        feasible = feasible & requirement.holds(known)
    for rows in table.excluded:
        if start <= rows[0] < stop:
            feasible[(rows[0] - start, *rows[1:])] = False
    positions = np.argwhere(feasible)
    positions[:, 0] += start
    return JointRows(positions, np.stack([cost[feasible] for cost in costs], axis=1))


def enumerate_front(
    program: Program, tables: Sequence[SystemTable], deadline: float | None = None
) -> list[Selected]:
    """One assignment for each nondominated cost vector of all systems, sorted by costs.

    With one objective that is the optimum. Raises `DeadlineError`.
    """
    found: list[Selected] = []
    for index, table in enumerate(tables):
        for block in joint_rows(table, program, deadline):
            best = block.take(nondominated(block.costs))
            found += [point_of(program, tables, index, tuple(map(int, rows))) for rows in best.positions]
    return resolved_front(found)


def resolved_front(points: Sequence[Selected]) -> list[Selected]:
    """The points that no other covers, sorted by costs; of points that cover each other the first stays."""
    ordered = sorted(points, key=lambda point: point.costs)
    costs = np.array([point.costs for point in ordered]).reshape(len(ordered), -1)
    candidates = nondominated(costs)
    kept: list[int] = []
    for row in candidates:
        others = [other for other in candidates if other != row]
        strictly = [o for o in others if covered(costs[row], costs[o]) and not covered(costs[o], costs[row])]
        if not strictly and not any(covered(costs[row], costs[other]) for other in kept):
            kept.append(int(row))
    return [ordered[row] for row in kept]
