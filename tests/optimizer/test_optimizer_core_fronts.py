"""Fronts of two to four objectives against brute force; hypervolume, what may be missing, and subsets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Float, Max, Symbol, sqrt

from llmopt_optimizer.core.archive import covered
from llmopt_optimizer.core.boxes import boxes_of, split
from llmopt_optimizer.core.dominance import nondominated
from llmopt_optimizer.core.hypervolume import hypervolume, missing_hypervolume, representatives
from llmopt_optimizer.core.pareto import Front, FrontMethod, pareto
from llmopt_optimizer.core.program import Decision, Objective, Pool, Program, System, Variant
from llmopt_optimizer.core.scalarization import lexicographic, weighted
from llmopt_optimizer.core.solving import COLUMNS, ENUMERATION, solve

settings.register_profile("fronts", derandomize=True, deadline=None, max_examples=30)
settings.load_profile("fronts")
N, M = Symbol("n", positive=True), Symbol("m", positive=True)
A, B, C, D, E, F = (Symbol(name, positive=True) for name in "abcdef")
BY_SOLVER = FrontMethod(join_cells=-1)


def program(seed: int, objectives: int) -> Program:
    """Two pools of six rows that conflict in cost, delay, power and memory."""
    random = np.random.default_rng(seed)

    def pool(name: str, symbol: Symbol, shown: tuple[Symbol, ...]) -> Pool:
        weights = [Float(round(float(w), 3)) for w in random.uniform(0.5, 3.0, 4)]
        formulas = (
            weights[0] * symbol,
            weights[1] / symbol + Float(0.1),
            weights[2] * sqrt(symbol) + weights[3] / symbol,
        )
        values = tuple(sorted({int(v) for v in random.integers(1, 25, 6)}))
        return Pool(
            name, (Variant("v", (Decision(symbol, values),), dict(zip(shown, formulas, strict=True))),)
        )

    pools = (pool("first", N, (A, B, C)), pool("second", M, (D, E, F)))
    metrics = {"cost": A + D, "delay": Max(B, E) + B / 2, "power": C + F, "memory": Max(A, F) - E}
    chosen = tuple(Objective(name) for name in list(metrics)[:objectives])
    return Program((System("s", pools, metrics),), chosen)


def by_hand(of: Program) -> set[tuple[float, ...]]:
    """The front by looking at every pair, in plain Python."""
    system = of.systems[0]
    names = [objective.metric for objective in of.objectives]
    vectors = []
    for first, second in itertools.product(*(pool.variants[0].decisions[0].values for pool in system.pools)):
        values = {}
        for pool, number in zip(system.pools, (first, second), strict=True):
            variant = pool.variants[0]
            at = {variant.decisions[0].symbol: number}
            values |= {symbol: float(formula.subs(at)) for symbol, formula in variant.attributes.items()}
        vectors.append(tuple(float(system.metrics[name].subs(values)) for name in names))

    def better(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return a != b and all(x <= y for x, y in zip(a, b, strict=True))

    return {vector for vector in vectors if not any(better(other, vector) for other in vectors)}


def same(front: Front, expected: set[tuple[float, ...]]) -> bool:
    found = sorted(point.objectives for point in front.points)
    return len(found) == len(expected) and np.allclose(found, sorted(expected), rtol=1e-9)


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_fronts_equal_brute_force_by_either_method(seed: int, objectives: int) -> None:
    of = program(seed, objectives)
    expected = by_hand(of)
    for method, route in ((FrontMethod(), ENUMERATION), (BY_SOLVER, COLUMNS)):
        front = pareto(of, method=method)
        assert front.complete, front.checks
        assert front.route == route
        assert same(front, expected)
    names = {check.name for check in pareto(of).checks}
    assert "boxes beside the front are empty" in names


def volume_by_cells(points: np.ndarray, reference: np.ndarray) -> float:
    """The covered volume, cell by cell of the grid that the points span."""
    axes = [np.unique(np.append(points[:, k], reference[k])) for k in range(points.shape[1])]
    total = 0.0
    for corner in itertools.product(*(range(len(axis) - 1) for axis in axes)):
        low = np.array([axis[place] for axis, place in zip(axes, corner, strict=True)])
        high = np.array([axis[place + 1] for axis, place in zip(axes, corner, strict=True)])
        if np.any(np.all(points <= low, axis=1)) and np.all(high <= reference):
            total += float(np.prod(high - low))
    return total


POINTS = st.integers(1, 4).flatmap(
    lambda k: st.lists(st.lists(st.integers(0, 8).map(float), min_size=k, max_size=k), min_size=1, max_size=7)
)


@given(POINTS)
def test_hypervolume_equals_the_sum_of_cells(points: list[list[float]]) -> None:
    costs = np.array(points)
    reference = np.full(costs.shape[1], 9.0)
    assert hypervolume(costs, reference) == pytest.approx(volume_by_cells(costs, reference), rel=1e-12)


@given(POINTS, st.data())
def test_boxes_hold_what_no_point_covers(points: list[list[float]], data: st.DataObject) -> None:
    costs = np.array(points)
    boxes = boxes_of(costs, 10_000)
    assert boxes is not None
    x = np.array(data.draw(st.lists(st.floats(-1, 10), min_size=costs.shape[1], max_size=costs.shape[1])))
    in_a_box = bool(np.any(np.all(x < boxes, axis=1)))
    if not np.any(np.all(costs <= x, axis=1)):
        assert in_a_box  # what nothing covers stays open
    inside = np.all(boxes[:, None] <= boxes[None], axis=2)
    assert np.array_equal(inside, np.eye(len(boxes), dtype=bool))  # none lies inside another


@given(POINTS, st.data())
def test_what_may_be_missing_is_never_understated(points: list[list[float]], data: st.DataObject) -> None:
    """A search that found some points and closed some empty boxes: the true loss stays below the bound."""
    costs = np.array(points)[nondominated(np.array(points))]
    width = costs.shape[1]
    ideal, reference = np.zeros(width), np.full(width, 9.0)
    known = np.array(data.draw(st.lists(st.booleans(), min_size=len(costs), max_size=len(costs))))
    boxes = np.full((1, width), np.inf)
    for point in costs[known]:
        boxes = split(boxes, point, boxes[:0])
    empty = np.array([not np.any(np.all(costs < box, axis=1)) for box in boxes])
    bound = missing_hypervolume(costs[known], boxes[empty], ideal, reference)
    lost = hypervolume(costs, reference) - hypervolume(costs[known], reference)
    assert lost <= bound + 1e-9
    if known.all():
        assert bound == pytest.approx(0, abs=1e-9)


@given(POINTS, st.integers(1, 4))
def test_chosen_subsets_keep_the_most_hypervolume(points: list[list[float]], count: int) -> None:
    costs = np.unique(np.array(points), axis=0)
    costs = costs[nondominated(costs)]
    reference = np.full(costs.shape[1], 9.0)
    chosen, exact = representatives(costs, count, reference)
    assert exact
    assert len(chosen) == min(count, len(costs))
    best = max(
        hypervolume(costs[list(subset)], reference)
        for subset in itertools.combinations(range(len(costs)), min(count, len(costs)))
    )
    assert hypervolume(costs[chosen], reference) == pytest.approx(best, rel=1e-12)


def test_greedy_subsets_say_that_they_are_not_proven() -> None:
    random = np.random.default_rng(1)
    sphere = np.abs(random.normal(size=(60, 3)))
    costs = 1 - sphere / np.linalg.norm(sphere, axis=1)[:, None]
    chosen, exact = representatives(costs, 6, np.full(3, 1.0))
    assert not exact
    assert len(set(chosen)) == 6


@given(POINTS)
def test_covering_is_exact_whatever_the_order(points: list[list[float]]) -> None:
    costs = np.array(points)
    half = costs[: len(costs) // 2 + 1]
    expected = [any(np.all(other <= row) for other in half) for row in costs]
    assert covered(costs, half).tolist() == expected


def test_an_early_end_bounds_what_is_missing() -> None:
    """The share that the open boxes may hide is no smaller than what the whole front shows to be missing."""
    values = tuple(range(1, 120))
    first = Pool("first", (Variant("v", (Decision(N, values),), {A: N, B: 1 / N}),))
    second = Pool("second", (Variant("v", (Decision(M, values),), {D: M, E: 1 / M}),))
    metrics = {"cost": A + D, "delay": sqrt(B) + E}
    of = Program((System("s", (first, second), metrics),), (Objective("cost"), Objective("delay")))
    whole = pareto(of)
    early = pareto(of, seconds=1.5, method=FrontMethod(join_cells=-1, completion_cells=0))
    assert whole.complete
    assert whole.missing == 0
    assert not early.complete
    assert 0 < early.missing < 1
    reference = np.array([238.0, 2.0]) * (1 + 1e-9) + 1e-12
    all_points = hypervolume(np.array([p.objectives for p in whole.points]), reference)
    some = hypervolume(np.array([p.objectives for p in early.points]), reference)
    assert (all_points - some) / all_points <= early.missing + 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_weighted_sums_and_lexicographic_order_equal_brute_force(seed: int) -> None:
    of = program(seed, 3)
    front = by_hand(of)
    weights = (1.0, 4.0, 0.5)
    best = min(sum(w * v for w, v in zip(weights, vector, strict=True)) for vector in front)
    assert solve(weighted(of, weights)).objective == pytest.approx(best, rel=1e-9)
    results = lexicographic(of)
    assert [result.objective for result in results] == pytest.approx(min(front), rel=1e-8)
    with pytest.raises(ValueError, match="positive weights"):
        weighted(of, (1.0, 0.0, 1.0))
