"""Packing a stock with mixed groups: brute force, two methods against each other, and what mixing gains."""

from __future__ import annotations

import itertools
import random

import pytest

from llmopt_optimizer.core import packing
from llmopt_optimizer.core.packing import Packing, Shape, packed, replicated, undominated
from llmopt_optimizer.core.solvers.outcome import SolveStatus


def shapes_of(rng: random.Random, resources: int, count: int) -> list[Shape]:
    found = []
    for index in range(count):
        uses = tuple(rng.randint(0, 5) for _ in range(resources))
        uses = uses if any(uses) else (1,) * resources
        found.append(Shape(f"s{index}", uses, round(sum(uses) * rng.uniform(0.5, 1.5), 3)))
    return found


def by_hand(shapes: list[Shape], stock: tuple[int, ...]) -> float:
    """Every combination of counts."""
    most = [min(h // u for h, u in zip(stock, s.uses, strict=True) if u) for s in shapes]
    best = 0.0
    for counts in itertools.product(*(range(m + 1) for m in most)):
        used = [sum(s.uses[r] * n for s, n in zip(shapes, counts, strict=True)) for r in range(len(stock))]
        if all(a <= b for a, b in zip(used, stock, strict=True)):
            best = max(best, sum(s.capacity * n for s, n in zip(shapes, counts, strict=True)))
    return best


def sound(answer: Packing, shapes: list[Shape], stock: tuple[int, ...]) -> None:
    by_name = {shape.name: shape for shape in shapes}
    for resource, have in enumerate(stock):
        assert sum(by_name[name].uses[resource] * n for name, n in answer.counts.items()) <= have
    carried = sum(by_name[name].capacity * n for name, n in answer.counts.items())
    assert answer.capacity == pytest.approx(carried, rel=1e-12)
    assert all(check.passed for check in answer.checks)


@pytest.mark.parametrize("seed", range(40))
def test_the_packing_is_the_best_of_all(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    resources = rng.randint(1, 3)
    shapes = shapes_of(rng, resources, rng.randint(1, 4))
    stock = tuple(rng.randint(0, 9) for _ in range(resources))
    expected = by_hand(shapes, stock)
    answer = packed(shapes, stock)
    sound(answer, shapes, stock)
    assert answer.status is SolveStatus.OPTIMAL
    assert answer.capacity == pytest.approx(expected, rel=1e-12)
    assert answer.bound == answer.capacity
    if resources > 1:
        monkeypatch.setattr(packing, "TABLE_CELLS", 0)
        solved = packed(shapes, stock)
        sound(solved, shapes, stock)
        assert solved.capacity == pytest.approx(expected, rel=1e-9)


def test_a_shape_that_another_carries_with_less_is_left_out() -> None:
    kept = undominated(
        [Shape("a", (4,), 8.0), Shape("b", (5,), 8.0), Shape("c", (2,), 1.0), Shape("d", (9,), 99.0)], (8,)
    )
    assert [shape.name for shape in kept] == ["a", "c"]


def test_nothing_fits_and_nothing_is_taken() -> None:
    assert packed([Shape("a", (4,), 8.0)], (3,)).counts == {}
    with pytest.raises(ValueError, match="takes"):
        packed([Shape("a", (0,), 8.0)], (3,))


GROUPS = (
    Shape("4 aggregated", (4,), 4 * 0.80),
    Shape("8 disaggregated 1:1", (8,), 8 * 0.86),
    Shape("12 disaggregated 1:2", (12,), 12 * 0.93),
    Shape("20 disaggregated 2:3", (20,), 20 * 0.97),
    Shape("48 disaggregated 7:5", (48,), 48 * 1.0),
)
"""Made-up requests a second of groups of one model within its levels, per accelerator better when larger."""


def test_mixing_is_never_worse_than_replicating_and_often_better() -> None:
    gains = []
    for gpus in range(40, 129, 4):
        _, _, alone = replicated(GROUPS, (gpus,))
        mixed = packed(GROUPS, (gpus,))
        sound(mixed, list(GROUPS), (gpus,))
        gains.append(mixed.capacity / alone - 1)
    assert min(gains) >= -1e-12
    assert max(gains) > 0.02
    assert gains[2] == pytest.approx(0, abs=1e-12)  # 48 accelerators: one group of 48 is the best there is


def test_large_stocks_of_several_kinds_are_packed_with_proof() -> None:
    rng = random.Random(7)
    shapes = [
        Shape(f"s{i}", (rng.randint(0, 8), rng.randint(0, 8), rng.randint(1, 8)), rng.uniform(1, 9))
        for i in range(30)
    ]
    answer = packed(shapes, (500, 700, 900), 60)
    sound(answer, shapes, (500, 700, 900))
    assert answer.status is SolveStatus.OPTIMAL
