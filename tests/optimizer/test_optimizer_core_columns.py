"""Columns: values equal plain Python's, states are smallest roots, invalid rows are gone early."""

from __future__ import annotations

import itertools
import math

import numpy as np
import optimizer_core_naive as naive
import pytest
from optimizer_core_random import LOAD, random_case
from sympy import Expr, Integer, Max, Min, Piecewise, Rational, Symbol, ceiling, floor

from llmopt_optimizer.core.columns import decode, encode, tabulate
from llmopt_optimizer.core.lowering import compile_expressions
from llmopt_optimizer.core.program import (
    Choice,
    Constraint,
    Decision,
    Pool,
    Program,
    ProgramError,
    State,
    System,
    Variant,
)
from llmopt_optimizer.core.states import smallest_roots

N, C, X, T, LOSS = (Symbol(name, positive=True) for name in ("n", "c", "x", "t", "loss"))


def pool(*constraints: Constraint, states: tuple[State, ...] = (), attribute: Expr = N * C) -> Pool:
    decisions = (Decision(N, (1, 2, 3)), Decision(C, (0.5, 4, 8)))
    return Pool("pool", (Variant("only", decisions, {T: attribute}, states, constraints),))


def test_columns_of_random_programs_equal_plain_python() -> None:
    compared = 0
    for seed in range(7000, 7060):
        program = random_case(seed).program
        parameters = {LOAD: float(program.parameters[LOAD])}
        for each in (p for system in program.systems for p in system.pools):
            rows = {
                r.choice: r.attributes for v in each.variants for r in naive.variant_rows(each, v, parameters)
            }
            columns = tabulate(each, parameters)
            assert {columns.choice(i) for i in range(len(columns))} == set(rows)
            for i in range(len(columns)):
                for symbol, value in rows[columns.choice(i)].items():
                    assert columns.attributes[symbol][i] == pytest.approx(value, rel=1e-9, abs=1e-12)
                    compared += 1
    assert compared > 500


def test_rows_are_the_product_in_order_and_map_back() -> None:
    columns = tabulate(pool(), {})
    expected = [(n, c) for n, c in itertools.product((1, 2, 3), (0.5, 4, 8))]
    by_code = {int(code): row for row, code in enumerate(columns.code)}
    chosen = [tuple(v for _, v in columns.choice(by_code[code]).values) for code in range(9)]
    assert chosen == expected
    assert all(columns.row_of(columns.choice(row)) == row for row in range(9))
    assert columns.row_of(Choice("pool", "only", (("n", 7), ("c", 4)))) is None


@pytest.mark.parametrize("code", range(9))
def test_codes_round_trip(code: int) -> None:
    variant = pool().variants[0]
    assert encode(variant, Choice("pool", "only", decode(variant, code))) == code


def test_constraints_drop_partial_rows_before_the_product_is_complete() -> None:
    columns = tabulate(pool(Constraint("few", N - 1)), {})
    assert len(columns) == 3
    assert columns.dropped == {"few": 2}  # two values of n, not six rows


def test_comparison_tolerates_rounding_and_no_more() -> None:
    third = Rational(1, 3)
    assert len(tabulate(pool(Constraint("edge", N * third - 1)), {})) == 9
    assert len(tabulate(pool(Constraint("edge", N * third - (1 - 1e-8))), {})) == 6


def test_zero_or_infinite_attributes() -> None:
    columns = tabulate(pool(attribute=1 / (N - 2)), {})
    assert len(columns) == 6
    assert columns.dropped == {"an attribute is no finite number": 3}


def test_max_min_piecewise_and_numbers_broadcast() -> None:
    expressions = [
        Max(N, 2, C),
        Min(N, Rational(3, 2)),
        Piecewise((Integer(7), N < 2), (C, C > 3), (Integer(1), True)),
        Integer(5),
        ceiling(Rational(2, 3) * N / 2),
        floor(N / 3 * 3),
    ]
    function = compile_expressions(expressions)
    n, c = np.array([[1.0], [2.0], [3.0]]), np.array([[0.5, 4.0]])
    got = function({N: n, C: c}, (3, 2))
    for i, j in itertools.product(range(3), range(2)):
        values = {N: float(n[i, 0]), C: float(c[0, j])}
        expected = [naive.formula(expression)(values) for expression in expressions]
        assert [float(array[i, j]) for array in got] == pytest.approx(expected)


def test_ceiling_ignores_rounding_noise() -> None:
    exact_six = compile_expressions([ceiling(N * 3)])
    assert exact_six({N: np.array([0.1 * 3 / 0.3 * 2])}, (1,))[0][0] == 6.0


@pytest.mark.parametrize("slope", [0.0, 0.3, 0.9, 0.99, 0.9999])
def test_linear_states_have_their_closed_form(slope: float) -> None:
    a = np.linspace(0.1, 5.0, 50)
    roots = smallest_roots(lambda x, rows: a[rows] + slope * x, np.zeros(50), np.full(50, 1e6), "x")
    np.testing.assert_allclose(roots, a / (1 - slope), rtol=1e-10)


def test_quadratic_states_take_the_smaller_root_or_none() -> None:
    # x = a + x^2/4 has roots 2 -+ 2 sqrt(1 - a): none above a = 1
    a = np.concatenate([np.linspace(0.01, 0.999999, 200), np.linspace(1.000001, 3.0, 50)])
    roots = smallest_roots(lambda x, rows: a[rows] + x**2 / 4, np.zeros(250), np.full(250, 100.0), "x")
    with np.errstate(invalid="ignore"):
        exact = a / (0.5 * (1 + np.sqrt(1 - a)))  # the smaller root, without cancellation
    np.testing.assert_allclose(roots[:200], exact[:200], rtol=1e-9)
    assert np.isnan(roots[200:]).all()


def test_power_states_against_bisection() -> None:
    a = np.linspace(0.1, 4.0, 60)
    roots = smallest_roots(lambda x, rows: a[rows] + 0.9 * x**0.9, np.zeros(60), np.full(60, 1e6), "x")
    for root, constant in zip(roots, a, strict=True):
        low, high = 0.0, 1e6
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if constant + 0.9 * middle**0.9 > middle else (low, middle)
        assert root == pytest.approx(low, rel=1e-10)


def test_step_states_are_exact() -> None:
    a = np.array([0.4, 1.2, 2.5, 7.0])
    roots = smallest_roots(lambda x, rows: a[rows] + 0.5 * np.ceil(x / 2), np.zeros(4), np.full(4, 50.0), "x")
    for root, constant in zip(roots, a, strict=True):
        x = 0.0
        while constant + 0.5 * math.ceil(x / 2) != x:
            x = constant + 0.5 * math.ceil(x / 2)
        assert root == x


def test_roots_above_the_upper_bound_and_poles_are_infeasible() -> None:
    upper = np.array([9.99, 10.01])
    assert np.isnan(smallest_roots(lambda x, rows: 1 + 0.9 * x, np.zeros(2), upper, "x")).tolist() == [
        True,
        False,
    ]

    def queue(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(
                x < 1, 1 / np.sqrt(1 - x), np.nan
            )  # above x everywhere, no number beyond its pole

    assert np.isnan(smallest_roots(queue, np.zeros(3), np.full(3, 50.0), "x")).all()


def test_lower_bound_above_its_image_is_refused() -> None:
    with pytest.raises(ProgramError, match="smaller lower bound"):
        smallest_roots(lambda x, rows: 0.5 * x, np.ones(2), np.full(2, 9.0), "x")


def test_states_may_read_states_before_them() -> None:
    y = Symbol("y", positive=True)
    states = (
        State(X, N + X / 2, Integer(0), Integer(100)),
        State(y, X + y / 4, Integer(0), Integer(100)),
    )
    columns = tabulate(pool(states=states, attribute=y), {})
    for row in range(len(columns)):
        n = dict(columns.choice(row).values)["n"]
        assert columns.attributes[T][row] == pytest.approx(2 * n * 4 / 3, rel=1e-11)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: pool(Constraint("rule", LOSS)), "loss"),
        (lambda: pool(attribute=LOSS + N), "loss"),
        (lambda: pool(states=(State(X, X / 2, LOSS, Integer(1)),)), "loss"),
    ],
)
def test_unknown_symbols_are_named(change: object, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        Program((System("s", (change(),), {"m": T}),), ())  # type: ignore[operator]


def test_metrics_that_a_system_lacks_are_named() -> None:
    from llmopt_optimizer.core.program import Objective

    with pytest.raises(ProgramError, match="'latency'"):
        Program((System("s", (pool(),), {"m": T}),), (Objective("latency"),))
