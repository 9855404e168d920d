"""Enumeration: every joint row of the tables, streamed against the front found so far.

The joint product of a system's pools is walked in blocks of numpy arrays; each block gives its feasible rows,
and those that nothing seen so far covers join the front. It uses no solver and no tolerance but the
program's own, so it is the first route wherever the product is small enough, and the oracle of the others.
Costs are objectives with their signs, all to be minimised. Two cost vectors are told apart only beyond the
`resolution`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from .archive import covered, distinct_front
from .deadline import DeadlineError, check_deadline
from .dominance import nondominated
from .lowering import Floats
from .preparation import SystemTable
from .program import Program
from .resolution import CostScale, cost_scale
from .selection import Selected

BLOCK_CELLS = 1 << 18


@dataclass(frozen=True, slots=True)
class JointRows:
    """Feasible joint rows of a block: flat positions in the product of `axes`, costs [rows, objectives]."""

    axes: tuple[NDArray[np.int64], ...]
    """Of each pool, the rows of its table that the block crosses."""
    flat: NDArray[np.int64]
    costs: Floats

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> JointRows:
        """Only these rows."""
        return JointRows(self.axes, self.flat[rows], self.costs[rows])

    @property
    def positions(self) -> NDArray[np.int64]:
        """Rows of the pools' tables [rows, pools]."""
        places = np.unravel_index(self.flat, [len(axis) for axis in self.axes])
        return np.stack([axis[place] for axis, place in zip(self.axes, places, strict=True)], axis=1)


def joint_rows(table: SystemTable, program: Program, deadline: float | None = None) -> Iterator[JointRows]:
    """All feasible joint rows of a system, block by block; raises `DeadlineError`."""
    sizes = [len(pool) for pool in table.pools]
    if not prod(sizes):
        return
    widths = _block_widths(sizes)
    for corner in np.ndindex(*(-(-size // width) for size, width in zip(sizes, widths, strict=True))):
        check_deadline(deadline)
        axes = tuple(
            np.arange(start * width, min(size, (start + 1) * width))
            for start, width, size in zip(corner, widths, sizes, strict=True)
        )
        yield joint_block(table, program, axes)


def _block_widths(sizes: Sequence[int]) -> list[int]:
    """Whole last axes, and as much of the others as fits a block."""
    room, widths = BLOCK_CELLS, []
    for size in reversed(sizes):
        widths.append(max(1, min(size, room)))
        room //= widths[-1]
    return widths[::-1]


def joint_block(table: SystemTable, program: Program, rows: tuple[NDArray[np.int64], ...]) -> JointRows:
    """The feasible joint rows in the product of these rows of each pool."""
    known, shape = table.known(rows), tuple(len(chosen) for chosen in rows)
    signs = [objective.sign for objective in program.objectives]
    pairs = zip(signs, table.objectives, strict=True)
    costs = [np.broadcast_to(sign * measure.values(known), shape) for sign, measure in pairs]
    feasible = np.logical_and.reduce([np.isfinite(cost) for cost in costs])
    for requirement in table.requirements:
        feasible &= requirement.holds(known)
    for excluded in table.excluded:
        where = [chosen == row for chosen, row in zip(rows, excluded, strict=True)]
        feasible[np.ix_(*where)] = False
    flat = np.flatnonzero(feasible)
    return JointRows(rows, flat, np.stack([cost[feasible] for cost in costs], axis=1))


@dataclass(slots=True)
class _Archive:
    """The nondominated rows so far: costs, and where each comes from."""

    costs: Floats
    systems: NDArray[np.int64]
    positions: list[tuple[int, ...]]

    def add(self, system: int, block: JointRows) -> None:
        """Take in the rows of a block that nothing covers, and let go what they cover."""
        fresh = block.take(~covered(block.costs, self.costs))
        fresh = fresh.take(nondominated(fresh.costs))
        if not len(fresh.flat):
            return
        kept = np.flatnonzero(~covered(self.costs, fresh.costs))
        self.costs = np.concatenate([self.costs[kept], fresh.costs])
        self.systems = np.append(self.systems[kept], np.full(len(fresh.flat), system))
        added = [tuple(map(int, rows)) for rows in fresh.positions]
        self.positions = [self.positions[row] for row in kept] + added


def enumerate_front(
    program: Program, tables: tuple[SystemTable, ...], deadline: float | None = None
) -> tuple[list[Selected], bool]:
    """One assignment for each nondominated cost vector, sorted by costs, and whether all rows were seen.

    With one objective that is the optimum.
    """
    archive = _Archive(np.zeros((0, len(program.objectives))), np.zeros(0, dtype=np.int64), [])
    finished = True
    try:
        for index, table in enumerate(tables):
            for block in joint_rows(table, program, deadline):
                archive.add(index, block)
    except DeadlineError:
        finished = False
    rows = zip(archive.systems, archive.positions, archive.costs, strict=True)
    found = [
        Selected(int(system), position, tables[system].assignment(position), tuple(map(float, costs)))
        for system, position, costs in rows
    ]
    return resolved_front(found, cost_scale(program, tables)), finished


def resolved_front(points: Sequence[Selected], scale: CostScale) -> list[Selected]:
    """The points that no other betters beyond the resolution, sorted by costs; of equal ones the first."""
    if not points:
        return []
    ordered = sorted(points, key=lambda point: point.costs)
    costs = np.array([point.costs for point in ordered])
    candidates = nondominated(costs)
    keep = distinct_front(costs[candidates], scale.step(costs[candidates]))
    return [ordered[row] for row in candidates[keep]]
