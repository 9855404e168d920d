"""Roots along chains of neighbours are the roots that each row has alone; directions are what numbers say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Max, Min, Piecewise, Symbol, exp, floor, log, sqrt

from llmopt_optimizer.core.columns import tabulate
from llmopt_optimizer.core.lowering import Floats, compile_expressions
from llmopt_optimizer.core.monotone import EITHER, direction
from llmopt_optimizer.core.neighbours import Chain, Places, neighbouring_roots
from llmopt_optimizer.core.program import Decision, Pool, State, Variant
from llmopt_optimizer.core.states import RootFunction, smallest_roots

A, N, X = (Symbol(name, positive=True) for name in ("a", "n", "x"))


def queue(load: Floats, scale: Floats) -> RootFunction:
    """A queue's shape: s + load * x**2 / (1 + x), convex, saturated at loads of one."""

    def equation(x: Floats, rows: Places) -> Floats:
        return scale[rows] + load[rows] * x**2 / (1 + x)

    return equation


def chain_of(load: Floats, groups: Places) -> Chain:
    order = np.lexsort((load, groups))
    return Chain(order, groups[order])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 200))
def test_chains_give_the_roots_of_single_rows(seed: int, count: int, rows: int) -> None:
    """Saturated rows and rows beyond their own upper bound have none, whichever way."""
    random = np.random.default_rng(seed)
    groups = random.integers(0, count, rows)
    scale = random.uniform(0.1, 5.0, count)[groups]
    load = random.uniform(0.0, 1.05, rows)
    upper = random.choice([5.0, 40.0, 1e4], rows)
    lower = np.zeros(rows)
    equation = queue(load, scale)
    found = neighbouring_roots(equation, lower, upper, chain_of(load, groups), "x")
    expected = smallest_roots(equation, lower, upper, "x")
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def pool(instances: int) -> Pool:
    """A state that falls with the number of instances and with the degree, in blocks of many rows."""
    degree = Symbol("degree", positive=True)
    equation = Max(1e-6, 40 / N * (0.01 + 0.002 * sqrt(X) + X * 1e-3 / degree))
    decisions = (Decision(N, tuple(range(1, instances + 1))), Decision(degree, (1, 2, 4)))
    state = State(X, equation, 1e-6 + 0 * N, 64 + 0 * N)
    return Pool("pool", (Variant("v", decisions, {A: X}, (state,)),))


def test_tables_along_chains_solve_their_equations() -> None:
    columns = tabulate(pool(2000), {})
    assert len(columns) == 6000
    degree, n = (
        np.array([dict(columns.choice(row).values)[s] for row in range(6000)]) for s in ("degree", "n")
    )
    x = columns.states[X]
    image = np.maximum(1e-6, 40 / n * (0.01 + 0.002 * np.sqrt(x) + x * 1e-3 / degree))
    np.testing.assert_allclose(image, x, rtol=1e-14)


EXPRESSIONS = [
    Max(1e-6, A / N * (1 + X * log(1 + A) + exp(-A))),
    Min(A, 3) * N - A / (1 + N),
    Piecewise((A * N, A > 1), (2 * A * N, True)),
    A * (N - sqrt(N)) + X,
    floor(A * N) / (A + X),
]


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
def test_the_direction_of_one_symbol_is_what_numbers_do(expression: object) -> None:
    ranges = {A: (0.5, 4.0), N: (1.0, 9.0), X: (0.1, 2.0)}
    moves = direction(expression, N, ranges)  # type: ignore[arg-type]
    function = compile_expressions((expression,))  # type: ignore[arg-type]
    random = np.random.default_rng(3)
    for _ in range(200):
        known = {symbol: np.asarray(random.uniform(*span)) for symbol, span in ranges.items()}
        grid = {**known, N: np.linspace(1.0, 9.0, 50)}
        steps = np.diff(function({s: grid[s] for s in function.symbols}, (50,))[0])
        assert moves == EITHER or np.all(moves * steps >= -1e-12)


def test_a_direction_is_found_where_parts_of_other_symbols_defeat_calculus() -> None:
    """What stands beside the symbol may do anything, as long as its sign is known."""
    beside = (1 + X - X**2 / 9) ** 2 + X * exp(-X)
    assert direction(beside / N, N, {X: (0.0, 8.0), N: (1.0, 9.0)}) == -1
