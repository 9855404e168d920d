"""Polynomials answer for decode tapes exactly, whatever was asked before, and only where that is proven."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from llmopt_calibration import coefficients
from llmopt_calibration.compiled import compile_step, decode_seconds
from llmopt_calibration.curve import new_scratch, on_curve
from llmopt_calibration.dependence import AFFINE, BROKEN, CONSTANT, SMOOTH, dependence
from llmopt_calibration.grid import Grid
from llmopt_calibration.lowering import lower
from llmopt_calibration.step import Precision, step_law
from llmopt_problems import catalog
from llmopt_problems.deployment import Layout

b, K = sp.symbols("b K", positive=True)


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        (sp.sqrt(b) + 3, CONSTANT),
        (2 * K / b + sp.Max(b, 3) * K, AFFINE),
        ((K**3.5 + (2 * K + b) ** 3.5) ** 0.3, SMOOTH),
        (K * K, SMOOTH),
        (b / K, SMOOTH),
        (sp.Min(K, 128 * b), BROKEN),
        (sp.ceiling(K / b) * sp.exp(-b), BROKEN),
        (sp.Piecewise((K, b < K), (b, True)), BROKEN),
        (sp.Function("grid")(b, K), BROKEN),
        (sp.Function("grid")(b, b), CONSTANT),
    ],
)
def test_dependence_is_read_off_the_instructions(expression: sp.Expr, kind: int) -> None:
    tape = lower([sp.S.One, expression], (b, K), {"grid": Grid(np.ones((3, 3)))})
    assert dependence(tape, 1) == kind


@pytest.mark.parametrize("accelerator", ["A100-80GB", "H100-SXM", "B200", "L40S"])
def test_polynomials_equal_the_tape(accelerator: str) -> None:
    """To a few units in the last place, over five orders of magnitude of context and every batch."""
    fitted = coefficients.load(accelerator, "vllm")
    model, hardware = catalog.model("Qwen3-32B"), catalog.accelerator(accelerator)
    step = compile_step(step_law(model, hardware, Precision("bf16", "bf16"), Layout(tp=2), fitted), 8, 8, 8)
    assert step.arrays().curved
    assert step.arrays().linear_work
    rng, arrays, scratch = np.random.default_rng(1), step.arrays(), step.scratch()
    batches = rng.integers(1, 2048, 3000)
    contexts = np.floor(batches * np.exp(rng.uniform(0.0, 12.0, 3000)))
    exact = step.decode_seconds.rows(np.column_stack([batches, contexts]))[:, 0]
    found = [decode_seconds(arrays, scratch, *state) for state in zip(batches, contexts, strict=True)]
    np.testing.assert_allclose(found, exact, rtol=1e-14)
    curved = [
        on_curve(arrays.decode_seconds, scratch, *state) for state in zip(batches, contexts, strict=True)
    ]
    assert np.mean(np.isnan(curved)) < 0.2


def test_answers_do_not_depend_on_what_was_asked_before() -> None:
    """Bit for bit, though rows are taken over by other batches all the time."""
    tape = lower([(K**3.5 + (2 * K + 900 * b) ** 3.5) ** sp.Rational(2, 7)], (b, K)).arrays
    rng, used = np.random.default_rng(2), new_scratch(64, curves=True)
    states = [(int(rng.integers(1, 9000)), float(rng.integers(1, 1 << 24))) for _ in range(3000)]
    first = [on_curve(tape, used, *state) for state in states]
    assert len(set(used.names.tolist())) > 1000
    again = [on_curve(tape, used, *state) for state in reversed(states)]
    assert first == again[::-1]


def test_a_near_corner_is_left_to_the_tape() -> None:
    """A sharpness of 40 is smooth on paper; the tail of its coefficients tells otherwise."""
    x = sp.Symbol("x", positive=True)
    tape = lower([((K / 1000) ** 40 + x**40) ** sp.Rational(1, 40)], (x, K)).arrays
    work = new_scratch(64, curves=True)
    assert np.isnan(on_curve(tape, work, 1, 1001.0))
    assert on_curve(tape, work, 1, 3000.0) == pytest.approx(3.0, rel=1e-14)
