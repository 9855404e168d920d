"""The deployments that may still be better than everything verified: what an honest gap is about.

`Openings` are joint rows whose optimistic metrics keep every limit, with their optimistic costs. Measured
against a verified front, each has a *potential*: the relative improvement, over the front point that comes
nearest, which simulation could at most find there. Nothing with a potential within the tolerance need be
simulated; the largest potential of what is left is the gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmopt_optimizer.bounds.metrics import Joined, Offered, between
from llmopt_optimizer.bounds.roles import Floats, Ints
from llmopt_optimizer.bounds.space import Block, BoundedSystem, blocks
from llmopt_optimizer.core.program import TOLERANCE, Assignment, Objective, Program

MOST_OPEN = 4_000_000
"""Openings kept one by one; of what is beyond only the largest potential is known."""


@dataclass(frozen=True, slots=True)
class Openings:
    """Joint rows of all systems, arrays of shape (k, …)."""

    systems: tuple[BoundedSystem, ...]
    system: Ints
    rows: Ints
    """Row of every pool; the second column is -1 in systems of one pool."""
    costs: Floats
    """Optimistic objectives, signed so that smaller is better, shape (k, objectives)."""
    uncounted: float = 0.0
    """Largest potential of openings that are not kept."""

    def __len__(self) -> int:
        return len(self.system)

    def take(self, chosen: Ints | NDArray[np.bool_]) -> Openings:
        """Only these openings."""
        return Openings(
            self.systems, self.system[chosen], self.rows[chosen], self.costs[chosen], self.uncounted
        )

    def positions(self, assignments: Sequence[Assignment]) -> Ints:
        """Where these assignments are among the openings; those that are not there are left out."""
        width = np.int64(max(max(s.rows.shape) for s in self.systems) + 1)
        known = (self.system * width + self.rows[:, 0]) * width + self.rows[:, 1] + 1
        order = np.argsort(known)
        wanted = np.array([c for a in assignments if (c := self._code(a, int(width))) is not None], np.int64)
        places = np.minimum(np.searchsorted(known, wanted, sorter=order), max(len(known) - 1, 0))
        found = order[places] if len(known) else order
        return np.asarray(found[known[found] == wanted] if len(known) else found, dtype=np.int64)

    def _code(self, assignment: Assignment, width: int) -> int | None:
        index = next(i for i, s in enumerate(self.systems) if s.rows.system.name == assignment.system)
        tables = self.systems[index].rows.columns
        found = [t.row_of(choice) for t, choice in zip(tables, assignment.choices, strict=True)]
        rows = [row for row in found if row is not None]
        if len(rows) < len(found):
            return None
        first, second = (*rows, -1)[:2]
        return (index * width + first) * width + second + 1

    def assignment(self, index: int) -> Assignment:
        """An opening in the program's words."""
        rows = self.systems[int(self.system[index])].rows
        return rows.assignment([int(row) for row in self.rows[index][: len(rows.columns)]])


def openings(
    systems: tuple[BoundedSystem, ...], program: Program, offered: Offered, verified: Floats, slack: float
) -> Openings:
    """The deployments whose optimistic metrics keep every limit and whose potential exceeds `slack`.

    `verified` holds the signed costs of the verified front, shape (f, objectives).
    """
    found = _nothing(systems, len(program.objectives))
    for index, system in enumerate(systems):
        for block in blocks(system.rows):
            mine = _of_block(systems, index, block, program, offered)
            found = _joined(found, mine.take(potentials(mine.costs, verified) > slack))
            found = _largest(found, verified)
    return found


def potentials(costs: Floats, verified: Floats) -> Floats:
    """Largest relative improvement that each of these costs would be over its nearest verified point.

    Infinite where nothing is verified; shape (k,).
    """
    best = np.full(len(costs), np.inf)
    for own in verified:
        scale = np.where(own == 0, 1.0, np.abs(own))
        best = np.minimum(best, ((own - costs) / scale).max(axis=1))
    return np.asarray(np.maximum(best, 0.0))


def within(costs: Floats, limits: Sequence[float]) -> NDArray[np.bool_]:
    """Which costs are at most `limits` in every objective."""
    return np.asarray((costs <= np.asarray(limits)).all(axis=1))


def _nothing(systems: tuple[BoundedSystem, ...], objectives: int) -> Openings:
    nobody = np.zeros(0, dtype=np.int64)
    return Openings(systems, nobody, np.zeros((0, 2), dtype=np.int64), np.zeros((0, objectives)))


def _joined(first: Openings, second: Openings) -> Openings:
    if not len(second):
        return first
    return Openings(
        first.systems,
        np.concatenate([first.system, second.system]),
        np.concatenate([first.rows, second.rows]),
        np.concatenate([first.costs, second.costs]),
        first.uncounted,
    )


def _largest(found: Openings, verified: Floats) -> Openings:
    """No more than `MOST_OPEN`, those with the largest potential."""
    if len(found) <= MOST_OPEN:
        return found
    potential = potentials(found.costs, verified)
    order = np.argsort(-potential, kind="stable")
    kept = found.take(order[:MOST_OPEN])
    left = float(potential[order[MOST_OPEN]])
    return Openings(kept.systems, kept.system, kept.rows, kept.costs, max(found.uncounted, left))


def _of_block(
    systems: tuple[BoundedSystem, ...], index: int, block: Block, program: Program, offered: Offered
) -> Openings:
    system = systems[index]
    good = Joined(system, block, offered).possible() & _within_limits(system, block, program, offered)
    places = np.argwhere(good)
    costs = [_signed(system, block, objective, offered)[good] for objective in program.objectives]
    rows = np.full((len(places), 2), -1, dtype=np.int64)
    for axis, (position, _) in enumerate(zip(block.positions, block.shape, strict=True)):
        rows[:, axis] = places[:, axis] + position.start
    return Openings(systems, np.full(len(places), index), rows, np.stack(costs, axis=1))


def _within_limits(
    system: BoundedSystem, block: Block, program: Program, offered: Offered
) -> NDArray[np.bool_]:
    good = np.ones(block.shape, dtype=np.bool_)
    for limit in program.limits:
        low, high = between(limit.metric, system, block, offered)
        best = low if limit.sign > 0 else -high
        good &= best <= limit.sign * limit.value + TOLERANCE * abs(limit.value)
    return good


def _signed(system: BoundedSystem, block: Block, objective: Objective, offered: Offered) -> Floats:
    low, high = between(objective.metric, system, block, offered)
    return np.broadcast_to(low if objective.sign > 0 else -high, block.shape)


def at(
    system: BoundedSystem, rows: Sequence[int], metrics: Sequence[str], offered: Offered
) -> Iterator[tuple[str, float, float]]:
    """Each metric of one deployment with the two numbers between which it lies."""
    positions = tuple(slice(row, row + 1) for row in rows)
    block = Block(system.rows, positions, (1,) * len(rows))
    for key in metrics:
        low, high = between(key, system, block, offered)
        yield key, float(np.max(low)), float(np.min(high))
