"""Stocks of several kinds, each packed with shapes of its own: the most they carry, the cheapest for a load.

A `Table` knows the best packing of 0, 1, 2, … units of one kind, by dynamic programming. A *stock* takes
some units of every kind; what it costs and carries is the sum over kinds. `frontier` lists the stocks that
no other one betters in cost and load; the cheapest stock for a load, and the most for a stock, are read from
it. All in exact rational numbers, so every answer is its own proof, given the shapes' capacities.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from .packing import Shape


@dataclass(frozen=True, slots=True)
class Table:
    """The best packing of every number of units of one kind."""

    best: tuple[Fraction, ...]
    """Load carried by 0, 1, 2, … units; never decreases."""
    last: tuple[Shape | None, ...]
    """A shape of that packing; None where the packing of one unit less is as good."""

    def packing(self, units: int) -> dict[str, int]:
        """How many of each shape, by name."""
        counts: Counter[str] = Counter()
        while units:
            shape = self.last[units]
            units -= 1 if shape is None else shape.uses[0]
            counts.update({} if shape is None else {shape.name: 1})
        return dict(counts)


@dataclass(frozen=True, slots=True)
class Stock:
    """Units of every kind, with what they cost and carry together."""

    units: tuple[int, ...]
    cost: Fraction
    load: Fraction


def table(shapes: Sequence[Shape], units: int) -> Table:
    """best[u] = max(best[u - 1], capacity + best[u - uses] over shapes), for every u up to `units`.

    Raises `ValueError` for a shape that takes no unit, or more than one kind.
    """
    for shape in shapes:
        if len(shape.uses) != 1 or shape.uses[0] < 1:
            raise ValueError(f"shape {shape.name!r} takes {shape.uses}: take at least one unit of one kind")
    exact = [(shape, Fraction(shape.capacity)) for shape in shapes if shape.capacity > 0]
    best, last = [Fraction(0)], list[Shape | None]([None])
    for have in range(1, units + 1):
        value, chosen = best[have - 1], None
        for shape, capacity in exact:
            left = have - shape.uses[0]
            if left >= 0 and capacity + best[left] > value:
                value, chosen = capacity + best[left], shape
        best.append(value)
        last.append(chosen)
    return Table(tuple(best), tuple(last))


def frontier(tables: Sequence[Table], prices: Sequence[float]) -> tuple[Stock, ...]:
    """The stocks that carry more than every stock that costs no more, cheapest first.

    `tables` and `prices` (of one unit) have an entry a kind.
    """
    found: tuple[Stock, ...] = (Stock((), Fraction(0), Fraction(0)),)
    for kind, price in zip(tables, prices, strict=True):
        steps = [(u, Fraction(price) * u, load) for u, load in enumerate(kind.best)]
        grown = (
            Stock((*stock.units, units), stock.cost + cost, stock.load + load)
            for stock in found
            for units, cost, load in steps
        )
        found = _undominated(sorted(grown, key=lambda stock: (stock.cost, -stock.load, sum(stock.units))))
    return found


def cheapest(stocks: Sequence[Stock], load: float) -> Stock | None:
    """The cheapest stock of a frontier that carries `load`; None when none does."""
    return next((stock for stock in stocks if stock.load >= Fraction(load)), None)


def best_below(stocks: Sequence[Stock], cost: Fraction) -> Fraction:
    """The most that a stock of a frontier carries for less than `cost`; 0 when there is none."""
    return max((stock.load for stock in stocks if stock.cost < cost), default=Fraction(0))


def _undominated(ordered: Sequence[Stock]) -> tuple[Stock, ...]:
    kept: list[Stock] = []
    for stock in ordered:
        if not kept or stock.load > kept[-1].load:
            kept.append(stock)
    return tuple(kept)


def total(counts: Mapping[str, int], shapes: Sequence[Shape]) -> Fraction:
    """What so many of each shape carry, in exact numbers."""
    by_name = {shape.name: Fraction(shape.capacity) for shape in shapes}
    return sum((by_name[name] * count for name, count in counts.items()), Fraction(0))
