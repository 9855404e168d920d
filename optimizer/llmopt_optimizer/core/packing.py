"""Packing a stock with groups of different shapes: how many of each, so that together they carry the most.

A `Shape` takes whole units of each resource and carries a load; shapes may be repeated and mixed.
Replicating one shape leaves a remainder idle; a mixture fills it. With one resource the optimum is found by
dynamic programming over its units in exact rational numbers, which is its own proof; with several, HiGHS
packs, and the answer is compared with dynamic programming where the table of all stocks is small enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import prod

import pyomo.environ as pyo

from .findings import Check
from .solvers.highs import HighsBackEnd
from .solvers.outcome import SolveStatus
from .solvers.watchdog import WatchedBackEnd

TABLE_CELLS = 200_000
"""Cells of dynamic programming, times shapes, up to which it is worth it."""
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Shape:
    """A group that may be repeated."""

    name: str
    uses: tuple[int, ...]
    """Whole units of each resource."""
    capacity: float
    """What one group carries."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How many groups of each shape, what they carry, and how that is known to be the most."""

    counts: Mapping[str, int]
    capacity: float
    bound: float
    """No packing carries more."""
    status: SolveStatus
    checks: tuple[Check, ...]


def packed(shapes: Sequence[Shape], stock: Sequence[int], seconds: float | None = None) -> Packing:
    """The packing that carries the most; `stock` has the units of each resource.

    Raises `ValueError` for a shape that takes nothing or a negative number of units.
    """
    _check(shapes, stock)
    useful = undominated(shapes, stock)
    if not useful:
        return Packing(
            {}, 0.0, 0.0, SolveStatus.OPTIMAL, (Check("packing", True, "no shape fits the stock"),)
        )
    cells = prod(units + 1 for units in stock) * len(useful)
    if len(stock) == 1 or cells <= TABLE_CELLS:
        return _by_table(useful, stock)
    return _by_solver(useful, stock, seconds)


def replicated(shapes: Sequence[Shape], stock: Sequence[int]) -> tuple[str, int, float]:
    """The best single shape, how often it fits, and what that carries: what sweep tools answer."""
    fits = [(min(have // take for have, take in zip(stock, s.uses, strict=True) if take), s) for s in shapes]
    count, best = max(fits, key=lambda pair: pair[0] * pair[1].capacity)
    return best.name, count, count * best.capacity


def undominated(shapes: Sequence[Shape], stock: Sequence[int]) -> list[Shape]:
    """The shapes that fit, carry something, and that no other carries as much as with no more units."""
    fitting = [
        s for s in shapes if s.capacity > 0 and all(u <= have for u, have in zip(s.uses, stock, strict=True))
    ]
    kept: list[Shape] = []
    for shape in sorted(fitting, key=lambda s: (-s.capacity, s.uses)):
        if not any(all(a <= b for a, b in zip(other.uses, shape.uses, strict=True)) for other in kept):
            kept.append(shape)
    return kept


def _check(shapes: Sequence[Shape], stock: Sequence[int]) -> None:
    for shape in shapes:
        if len(shape.uses) != len(stock) or min(shape.uses) < 0 or not any(shape.uses):
            raise ValueError(
                f"shape {shape.name!r} takes {shape.uses} of {len(stock)} resources: take some of each kind"
            )


def _by_table(shapes: Sequence[Shape], stock: Sequence[int]) -> Packing:
    """best[u] = max over shapes of capacity + best[u - uses], in exact numbers, for every stock u."""
    zero = Fraction(0)
    exact = [Fraction(shape.capacity) for shape in shapes]
    best: dict[tuple[int, ...], tuple[Fraction, int | None]] = {}
    for units in product(*(range(have + 1) for have in stock)):
        options: list[tuple[Fraction, int | None]] = [(zero, None)]
        for index, shape in enumerate(shapes):
            left = tuple(have - take for have, take in zip(units, shape.uses, strict=True))
            if min(left) >= 0:
                options.append((exact[index] + best[left][0], index))
        best[units] = max(options, key=lambda option: option[0])
    counts: dict[str, int] = {}
    units = tuple(stock)
    while (choice := best[units][1]) is not None:
        counts[shapes[choice].name] = counts.get(shapes[choice].name, 0) + 1
        units = tuple(have - take for have, take in zip(units, shapes[choice].uses, strict=True))
    capacity = float(best[tuple(stock)][0])
    detail = f"exact dynamic programming over {len(best)} stocks and {len(shapes)} shapes"
    return Packing(counts, capacity, capacity, SolveStatus.OPTIMAL, (Check("packing", True, detail),))


def _by_solver(shapes: Sequence[Shape], stock: Sequence[int], seconds: float | None) -> Packing:
    model = pyo.ConcreteModel()
    model.count = pyo.Var(range(len(shapes)), domain=pyo.NonNegativeIntegers, bounds=(0, max(stock)))
    model.stock = pyo.ConstraintList()
    for resource, have in enumerate(stock):
        used = [
            shape.uses[resource] * model.count[i] for i, shape in enumerate(shapes) if shape.uses[resource]
        ]
        if used:
            model.stock.add(pyo.quicksum(used) <= have)
    scale = 100.0 / max(shape.capacity for shape in shapes)
    carried = (shape.capacity * scale * model.count[i] for i, shape in enumerate(shapes))
    model.total = pyo.Objective(expr=-pyo.quicksum(carried))
    outcome = WatchedBackEnd(HighsBackEnd(model)).solve(seconds)
    if outcome.status not in (SolveStatus.OPTIMAL, SolveStatus.FEASIBLE):
        return Packing({}, 0.0, float("inf"), outcome.status, ())
    counts = [round(model.count[i].value or 0.0) for i in range(len(shapes))]
    return _recounted(shapes, stock, counts, -outcome.bound / scale, outcome.status)


def _recounted(
    shapes: Sequence[Shape], stock: Sequence[int], counts: Sequence[int], bound: float, status: SolveStatus
) -> Packing:
    """The solver's counts in exact numbers; an optimum whose bound is not its capacity is only feasible."""
    pairs = list(zip(shapes, counts, strict=True))
    used = [sum(shape.uses[r] * count for shape, count in pairs) for r in range(len(stock))]
    carried = float(sum((Fraction(shape.capacity) * count for shape, count in pairs), Fraction(0)))
    fits = all(a <= b for a, b in zip(used, stock, strict=True)) and min(counts) >= 0
    closed = abs(bound - carried) <= 1e-7 * max(carried, TOLERANCE)
    checks = (
        Check("stock in exact numbers", fits, f"{used} of {list(stock)}"),
        Check("bound is reached", closed, f"carries {carried:.9g}, bound {bound:.9g}"),
    )
    if not fits:
        return Packing({}, 0.0, float("inf"), SolveStatus.ERROR, checks)
    proven = status if closed else SolveStatus.FEASIBLE
    return Packing({s.name: n for s, n in pairs if n}, carried, max(bound, carried), proven, checks)
