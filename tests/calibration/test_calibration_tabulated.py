"""Measured grids and tabulated laws: exact entries, interpolation against SciPy, Vidur's formula by hand."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy.interpolate import RegularGridInterpolator

from llmopt_calibration.compiled import step_seconds, step_work
from llmopt_calibration.grid import Grid, GridError
from llmopt_calibration.lowering import TapeError, bind, lower
from llmopt_calibration.tabulated import VidurConstants, compile_tabulated, vidur_law

X, Y = sp.symbols("x y", nonnegative=True)
F, G = sp.Function("f"), sp.Function("g")


def test_a_lookup_is_the_entry_and_nan_outside() -> None:
    values = np.arange(12.0).reshape(3, 4)
    tape = lower([F(X, Y) + 1, F(2 * X, Y)], [X, Y], {"f": Grid(values)})
    rows = np.array([[i + u, j + u] for i in range(3) for j in range(4) for u in (0.0, 0.5)])
    np.testing.assert_array_equal(tape.rows(rows)[:, 0], np.repeat(values.ravel(), 2) + 1.0)
    outside = [[3.0, 0.0], [0.0, 4.0], [-0.1, 0.0], [np.nan, 0.0]]
    assert np.isnan(tape.rows(outside)[:, 0]).all()


def test_interpolation_agrees_with_scipy_inside_and_beyond() -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.sort(rng.uniform(0, 9, 6)), np.sort(rng.uniform(0, 9, 4))
    values = rng.normal(size=(6, 4))
    points = rng.uniform(-3, 12, (500, 2))
    tape = lower([F(X, Y)], [X, Y], {"f": Grid(values, rows, columns)})
    referee = RegularGridInterpolator((rows, columns), values, bounds_error=False, fill_value=None)
    np.testing.assert_allclose(tape.rows(points)[:, 0], referee(points), rtol=1e-12, atol=1e-12)


def test_binding_an_input_keeps_several_grids() -> None:
    grids = {
        "f": Grid(np.array([[1.0, 2.0]])),
        "g": Grid(np.array([[5.0], [7.0]])),
        "h": Grid(np.zeros((9, 9))),
    }
    tape = lower([F(0, X) * G(Y, 0)], [X, Y], grids)
    assert len(tape.arrays.grids) == 5 + 5  # a grid that nobody names is not carried
    assert bind(tape, {Y: 1.0})({X: 1.0})[0] == 14.0
    assert bind(tape, {X: 1.0, Y: 0.0})({})[0] == 10.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3),), r"shape \(rows, columns\), not \(3,\)"),
        ((np.zeros((2, 2)), np.arange(2.0)), "for rows and columns, or for neither"),
        ((np.zeros((2, 2)), np.arange(2.0), np.arange(3.0)), "axis 1 of shape .* has 3 knots"),
        ((np.zeros((2, 2)), np.zeros(2), np.arange(2.0)), "the knots of axis 0 do not rise"),
    ],
)
def test_broken_grids_are_named(arguments: tuple[np.ndarray, ...], message: str) -> None:
    with pytest.raises(GridError, match=message):
        Grid(*arguments)


def test_functions_without_a_grid_or_with_other_arguments_are_refused() -> None:
    with pytest.raises(TapeError, match="cannot hold f"):
        lower([F(X, Y)], [X, Y])
    with pytest.raises(TapeError, match="reads grid f at 1 places"):
        lower([F(X)], [X], {"f": Grid(np.zeros((1, 1)))})


def vidur_tables(rng: np.random.Generator) -> dict[str, np.ndarray]:
    names = ("attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj", "mlp_act", "attn_rope")
    names += ("attn_kv_cache_save", "input_layernorm", "post_attention_layernorm", "add", "all_reduce")
    tables = {name: rng.uniform(0.01, 1.0, 64) for name in names}
    return tables | {"attn_prefill": rng.uniform(size=(9, 64)), "attn_decode": rng.uniform(size=(8, 9))}


def vidur_by_hand(tables, contexts: list[int], chunks: list[tuple[int, int]]) -> float:
    """Milliseconds of a layer, as the data's README words it; `chunks` are (context before, tokens)."""
    n = len(contexts) + sum(tokens for _, tokens in chunks)
    at = -(-n // 8) * 8 - 1
    once = [
        name
        for name in tables
        if name not in ("all_reduce", "attn_kv_cache_save", "attn_prefill", "attn_decode")
    ]
    total = sum(tables[name][at] for name in once) + tables["attn_kv_cache_save"][n - 1]
    total += 2 * (tables["all_reduce"][at] + 0.02)
    if contexts:
        granules = -(-int(np.mean(contexts)) // 64)
        total += tables["attn_decode"][len(contexts) - 1][granules] * (1.1 if len(contexts) > 1 else 1.0)
    if chunks:
        row, column = sum(-(-c // 64) for c, _ in chunks), round(sum(t * t for _, t in chunks) ** 0.5) - 1
        total += tables["attn_prefill"][row][column] * (1.1 if len(chunks) > 1 else 1.0)
    return total


def test_vidur_law_by_hand() -> None:
    rng = np.random.default_rng(1)
    tables = vidur_tables(rng)
    step = compile_tabulated(vidur_law(tables, VidurConstants(layers_per_stage=3)))
    arrays, scratch = step.arrays(), step.scratch()
    for _ in range(300):
        contexts = rng.integers(1, 500, rng.integers(0, 8)).tolist()
        chunks = [(int(rng.integers(0, 200)), int(rng.integers(1, 25))) for _ in range(rng.integers(0, 3))]
        if not contexts and not chunks:
            continue
        p = sum(t for _, t in chunks)
        state = (len(contexts), float(sum(contexts)), p, 0.0, len(contexts) + p, len(contexts) + len(chunks))
        sums = float(sum(-(-c // step.granule) for c, _ in chunks)), float(sum(t * t for _, t in chunks))
        expected = vidur_by_hand(tables, contexts, chunks) * 3 / 1000
        assert step_seconds(arrays, scratch, *state, *sums) == pytest.approx(expected, rel=1e-13)
        assert step_work(arrays, scratch, *state, *sums) == (0.0, 0.0, 0.0)
    assert np.isnan(step_seconds(arrays, scratch, 0, 0.0, 65, 0.0, 65, 1, 0.0, 65.0**2))
