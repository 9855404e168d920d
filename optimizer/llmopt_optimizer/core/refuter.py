"""The refuter: is there a better assignment close to the one that is claimed to be optimal?

All assignments of the same system that differ from the claim in at most two decisions (a variant counts as
one) are evaluated on the unpruned columns. It is cheap, asks no solver, and has exposed wrong certificates.
"""

from __future__ import annotations

from itertools import combinations
from math import inf

import numpy as np
from numpy.typing import NDArray

from .columns import Columns
from .enumeration import joint_block
from .preparation import PoolTable, SystemTable, Tabulated, unpruned_table
from .program import Assignment, Choice, Number, Program, Variant

Rows = NDArray[np.int64]


def best_neighbour(program: Program, tabulated: Tabulated, assignment: Assignment) -> float:
    """The smallest signed cost within two decisions of the assignment.

    It is -inf when the tables do not know the assignment itself: then something is wrong with one of the two.
    """
    names = [system.name for system in program.systems]
    table = unpruned_table(tabulated, names.index(assignment.system), program)
    distances = [_distances(p, c) for p, c in zip(table.pools, assignment.choices, strict=True)]
    if not all((distance == 0).any() for distance in distances):
        return -inf
    return min(_best_cost(table, program, rows) for rows in _neighbourhoods(distances))


def _best_cost(table: SystemTable, program: Program, rows: tuple[Rows, ...]) -> float:
    costs = joint_block(table, program, rows).costs
    return float(costs[:, 0].min()) if len(costs) else inf


def _neighbourhoods(distances: list[NDArray[np.int64]]) -> list[tuple[Rows, ...]]:
    """Products of rows: two decisions changed in one pool, or one in each of two pools."""
    budgets = [{index: 2} for index in range(len(distances))]
    budgets += [dict.fromkeys(pair, 1) for pair in combinations(range(len(distances)), 2)]
    return [
        tuple(np.flatnonzero(distance <= budget.get(index, 0)) for index, distance in enumerate(distances))
        for budget in budgets
    ]


def _distances(pool: PoolTable, choice: Choice) -> NDArray[np.int64]:
    """For every row of the table, how many decisions differ from the choice."""
    columns = pool.columns
    result = np.zeros(len(columns), dtype=np.int64)
    chosen = dict(choice.values)
    for index, variant in enumerate(columns.pool.variants):
        rows = np.flatnonzero(columns.variant == index)
        result[rows] = _changed(variant, columns, rows, chosen) + (variant.name != choice.variant)
    return result[pool.rows]


def _changed(variant: Variant, columns: Columns, rows: Rows, chosen: dict[str, Number]) -> NDArray[np.int64]:
    sizes = [len(decision.values) for decision in variant.decisions]
    digits = np.unravel_index(columns.code[rows], sizes) if sizes else ()
    count = np.zeros(len(rows), dtype=np.int64)
    for decision, digit in zip(variant.decisions, digits, strict=True):
        value = chosen.get(decision.symbol.name)
        own = decision.values.index(value) if value in decision.values else -1
        count += digit != own
    return count
