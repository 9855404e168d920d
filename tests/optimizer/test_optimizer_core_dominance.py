"""Pruning is exact: intervals and directions are sound, and what is dropped is never missed."""

from __future__ import annotations

import random

import numpy as np
import optimizer_core_naive as naive
import pytest
from optimizer_core_random import attribute
from sympy import Add, Max, Min, Mul, Piecewise, Symbol, ceiling, exp, log, sqrt

from llmopt_optimizer.core.dominance import nondominated, undominated_rows
from llmopt_optimizer.core.monotone import DOWN, EITHER, UP, bounds, directions

A, B, C = (Symbol(name, real=True) for name in "abc")


def brute_force_front(costs: np.ndarray) -> set[tuple[float, ...]]:
    points = {tuple(row) for row in costs}
    return {
        p
        for p in points
        if not any(q != p and all(x <= y for x, y in zip(q, p, strict=True)) for q in points)
    }


@pytest.mark.parametrize("width", [1, 2, 3, 5])
@pytest.mark.parametrize("levels", [3, 50])
def test_nondominated_equals_brute_force(width: int, levels: int) -> None:
    rng = np.random.default_rng(width * levels)
    for _ in range(20):
        costs = rng.integers(0, levels, (rng.integers(1, 60), width)).astype(float)
        kept = nondominated(costs)
        assert {tuple(row) for row in costs[kept]} == brute_force_front(costs)
        assert len(kept) == len(brute_force_front(costs))  # of equal rows one stays
        assert (np.diff(kept) > 0).all()


def test_nondominated_of_nothing() -> None:
    assert nondominated(np.zeros((0, 3))).size == 0


@pytest.mark.parametrize("seed", range(30))
def test_pruning_keeps_an_optimum_of_every_function_with_the_directions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = {s: rng.integers(0, 6, 80).astype(float) for s in (A, B, C)}
    signs = {A: UP, B: DOWN, C: EITHER}
    barred = rng.random(80) < 0.2
    kept = undominated_rows(features, signs, barred)
    table = np.exp(rng.normal(size=6))  # any function of c
    weights = rng.random(2)

    def cost(rows: np.ndarray) -> np.ndarray:
        a, b, c = (features[s][rows] for s in (A, B, C))
        return (
            weights[0] * a**2 - weights[1] * b + table[c.astype(int)] * np.ceil(a / 2) - table[c.astype(int)]
        )

    everything = np.arange(80)
    assert cost(kept).min() == cost(everything).min()
    free = everything[~barred]  # exclude all barred rows: the rest must not have been dropped for them
    assert cost(np.intersect1d(kept, free)).min() == cost(free).min()


def test_features_without_direction_are_ignored() -> None:
    features = {A: np.array([1.0, 1.0, 2.0]), B: np.array([3.0, 1.0, 0.0])}
    assert undominated_rows(features, {A: UP}, np.zeros(3, dtype=bool)).tolist() == [0]
    assert undominated_rows(features, {A: UP, B: UP}, np.zeros(3, dtype=bool)).tolist() == [1, 2]


def test_a_row_of_an_exclusion_replaces_nothing() -> None:
    features = {A: np.array([1.0, 2.0, 3.0])}
    assert undominated_rows(features, {A: UP}, np.array([True, False, False])).tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(200))
def test_bounds_contain_and_directions_hold_on_random_expressions(seed: int) -> None:
    rng = random.Random(seed)
    symbols = [Symbol(name, positive=True) for name in "xy"]
    expression = attribute(rng, symbols) * rng.choice((1, -1, symbols[0])) + rng.choice(
        (0, attribute(rng, symbols))
    )
    load = Symbol("load", positive=True)
    ranges = {s: (rng.uniform(0.1, 1), rng.uniform(1.5, 9)) for s in (*symbols, load)}
    value = naive.formula(expression)
    low, high = bounds(expression, ranges)
    signs = directions(expression, ranges)
    for _ in range(60):
        point = {s: rng.uniform(*ranges[s]) for s in ranges}
        here = value(point)
        assert low - 1e-9 * abs(here) <= here <= high + 1e-9 * abs(here)
        for symbol, sign in signs.items():
            step = value({**point, symbol: rng.uniform(point[symbol], ranges[symbol][1])}) - here
            assert sign * step >= -1e-9 * abs(here) or sign == EITHER


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (A + 2 * B - C, {A: UP, B: UP, C: DOWN}),
        (Max(A, B) / C, {A: UP, B: UP, C: DOWN}),
        (ceiling(A) * Min(B, 3) - sqrt(C), {A: UP, B: UP, C: DOWN}),
        (A * (B - 5), {A: EITHER, B: UP}),
        (A / (A + B), {A: UP, B: DOWN}),
        (exp(-A) * log(1 + B), {A: DOWN, B: UP}),
        (Piecewise((A, C < 2), (A + B, True)), {A: UP, B: UP, C: EITHER}),
    ],
)
def test_directions_of_known_expressions(expression: Add | Mul, expected: dict[Symbol, int]) -> None:
    assert directions(expression, dict.fromkeys((A, B, C), (1.0, 9.0))) == expected


def test_reciprocal_across_its_pole_has_no_direction() -> None:
    assert directions(1 / A, {A: (-1.0, 1.0)}) == {A: EITHER}
    assert directions(1 / A, {A: (-2.0, -1.0)}) == {A: DOWN}
