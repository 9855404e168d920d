"""Stocks of several kinds: the best packing of every number of units, the cheapest stock, by brute force."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmopt_optimizer.core.covering import Stock, best_below, cheapest, frontier, table, total
from llmopt_optimizer.core.packing import Shape

SHAPES = st.lists(
    st.tuples(st.integers(1, 5), st.floats(0, 10, allow_nan=False)).map(lambda t: t), min_size=0, max_size=4
).map(lambda found: [Shape(f"s{i}", (uses,), capacity) for i, (uses, capacity) in enumerate(found)])
FEW = settings(max_examples=60, deadline=None)


def most_of(shapes: list[Shape], units: int) -> Fraction:
    """Every combination of counts."""
    ranges = [range(units // shape.uses[0] + 1) for shape in shapes]
    return max(
        sum((Fraction(s.capacity) * n for s, n in zip(shapes, counts, strict=True)), Fraction(0))
        for counts in itertools.product(*ranges)
        if sum(s.uses[0] * n for s, n in zip(shapes, counts, strict=True)) <= units
    )


@FEW
@given(SHAPES, st.integers(0, 9))
def test_the_table_knows_the_best_packing_of_every_number_of_units(shapes: list[Shape], units: int) -> None:
    known = table(shapes, units)
    by_name = {shape.name: shape for shape in shapes}
    for have in range(units + 1):
        packing = known.packing(have)
        assert sum(by_name[name].uses[0] * n for name, n in packing.items()) <= have
        assert known.best[have] == total(packing, shapes) == most_of(shapes, have)


@FEW
@given(
    st.lists(SHAPES, min_size=1, max_size=3),
    st.lists(st.floats(0.1, 5), min_size=3, max_size=3),
    st.floats(0, 40),
)
def test_the_frontier_holds_the_cheapest_stock_for_every_load(
    kinds: list[list[Shape]], prices: list[float], load: float
) -> None:
    counts = [4, 3, 2][: len(kinds)]
    tables = [table(shapes, count) for shapes, count in zip(kinds, counts, strict=True)]
    stocks = frontier(tables, prices[: len(kinds)])
    everything = [
        Stock(
            units,
            sum((Fraction(p) * u for p, u in zip(prices, units, strict=False)), Fraction(0)),
            sum((t.best[u] for t, u in zip(tables, units, strict=True)), Fraction(0)),
        )
        for units in itertools.product(*(range(count + 1) for count in counts))
    ]
    enough = [stock.cost for stock in everything if stock.load >= Fraction(load)]
    found = cheapest(stocks, load)
    assert (found is None) == (not enough)
    if found is not None:
        assert found.cost == min(enough)
        below = [stock.load for stock in everything if stock.cost < found.cost]
        assert best_below(stocks, found.cost) == max(below, default=Fraction(0))
    assert all(a.cost < b.cost and a.load < b.load for a, b in itertools.pairwise(stocks))


def test_a_shape_of_two_kinds_is_refused() -> None:
    with pytest.raises(ValueError, match="one kind"):
        table([Shape("both", (1, 1), 2.0)], 4)
