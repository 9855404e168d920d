"""Tapes against SymPy's own exact arithmetic."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from llmopt_calibration.lowering import TapeError, bind, lower

X, Y, Z = SYMBOLS = sp.symbols("x y z", positive=True)
STATES = 40
"""Random states an expression; 300 expressions make 12,000 states."""


def _grown(smaller: st.SearchStrategy[sp.Expr]) -> st.SearchStrategy[sp.Expr]:
    """Expressions that stay positive and well conditioned, so that 1e-12 is a property of the tape."""
    pair = st.tuples(smaller, smaller)
    exponents = st.sampled_from(
        [2, 3, sp.Rational(1, 2), sp.Rational(3, 2), -1, -2, sp.Float(1.7), -sp.Float(0.3)]
    )
    return st.one_of(
        pair.map(lambda e: e[0] + e[1]),
        pair.map(lambda e: e[0] * e[1]),
        pair.map(lambda e: e[0] / e[1]),
        pair.map(lambda e: sp.Max(e[0], e[1] / 3)),
        pair.map(lambda e: sp.Min(e[0], 2 * e[1])),
        st.tuples(smaller, exponents).map(lambda e: e[0] ** e[1]),
        smaller.map(lambda e: sp.exp(-e / (1 + e))),
        smaller.map(lambda e: sp.log(2 + e)),
        pair.map(
            lambda e: sp.Piecewise((e[0], X < Y), (e[1], sp.And(Z >= 1, sp.Not(X > 3))), (e[0] + 1, True))
        ),
        smaller.map(lambda e: e + sp.Abs(X - 2 * Y)),
    )


def _leaves() -> st.SearchStrategy[sp.Expr]:
    numbers = st.sampled_from([1, 2, 7, sp.Rational(3, 7), sp.Float("0.37"), sp.pi]).map(sp.sympify)
    steps = st.sampled_from([sp.ceiling(X), sp.floor(Y * 3 + 1), sp.ceiling(Z / 3)])
    return st.one_of(st.sampled_from(SYMBOLS), numbers, steps)


EXPRESSIONS = st.recursive(_leaves(), _grown, max_leaves=8)


def _reference(expression: sp.Expr, rows: np.ndarray) -> list[float]:
    """The values with 40 digits, by mpmath, at the exact values of the floats."""
    exact = sp.lambdify(SYMBOLS, expression, "mpmath")
    with mpmath.workdps(40):
        return [float(exact(*(mpmath.mpf(value) for value in row))) for row in rows.tolist()]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(EXPRESSIONS, st.integers(0, 2**32 - 1))
def test_random_expressions_agree_with_mpmath(expression: sp.Expr, seed: int) -> None:
    rows = np.random.default_rng(seed).uniform(0.1, 5.0, size=(STATES, 3))
    found = lower([expression], SYMBOLS).rows(rows)[:, 0]
    expected = _reference(expression, rows)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(EXPRESSIONS, st.integers(0, 2**32 - 1))
def test_binding_an_input_is_evaluating_there(expression: sp.Expr, seed: int) -> None:
    rows = np.random.default_rng(seed).uniform(0.1, 5.0, size=(3, 3))
    tape = lower([expression, 1 + expression], SYMBOLS)
    for row in rows:
        bound = bind(tape, {Y: row[1]})
        assert bound.symbols == (X, Z)
        assert len(bound.arrays.code) <= len(tape.arrays.code)
        np.testing.assert_allclose(bound({X: row[0], Z: row[2]}), tape.rows([row])[0], rtol=1e-15)


def test_common_subexpressions_are_evaluated_once() -> None:
    shared = sp.sqrt(X + Y)
    tape = lower([shared * 3, shared + 1, sp.exp(shared)], SYMBOLS)
    assert len(tape.arrays.code) == 5  # add, sqrt, and one each


def test_constants_are_folded() -> None:
    tape = lower([sp.Piecewise((X, sp.pi > 3), (Y, True)) * 0 + sp.exp(2) * sp.Integer(3)], SYMBOLS)
    assert len(tape.arrays.code) == 0
    assert tape({X: 1, Y: 1, Z: 1})[0] == pytest.approx(3 * np.exp(2), rel=1e-15)


def test_tiles_are_divided_not_multiplied_by_a_reciprocal() -> None:
    counts = np.arange(1, 20_000)
    for tile in (3, 7, 49, 120, 132):
        found = lower([sp.ceiling(X / tile)], [X]).rows(counts[:, None])[:, 0]
        np.testing.assert_array_equal(found, -(-counts // tile))


def test_no_condition_holds_is_nan() -> None:
    assert np.isnan(lower([sp.Piecewise((X, X < 1))], [X])({X: 2.0})[0])


def test_unselected_branch_may_divide_by_zero() -> None:
    tape = lower([sp.Piecewise((1 / (X - Y), X > Y), (sp.S.Zero, True))], SYMBOLS)
    assert tape({X: 1.0, Y: 1.0, Z: 0.0})[0] == 0.0


def test_unknown_function_is_named() -> None:
    with pytest.raises(TapeError, match=r"cannot hold gamma \(in gamma\(x\)\)"):
        lower([sp.gamma(X)], SYMBOLS)


def test_unknown_symbol_is_named_with_the_inputs() -> None:
    with pytest.raises(TapeError, match="symbol w is not an input of this tape; inputs: x, y, z"):
        lower([sp.Symbol("w") + 1], SYMBOLS)


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pass \(n, 3\), columns x, y, z"):
        lower([X], SYMBOLS).rows([[1.0, 2.0]])
