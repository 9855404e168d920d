"""Evaluations of one step law: the compiled tables and tapes, numpy from lambdify, and SymPy itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sympy as sp
from harness import Figure, Outcome, rate, timed
from numba import njit
from numpy.typing import NDArray

from llmopt_calibration import coefficients
from llmopt_calibration.compiled import StepArrays, compile_step, step_seconds
from llmopt_calibration.curve import Scratch
from llmopt_calibration.step import Precision, StepLaw, step_law
from llmopt_problems import catalog
from llmopt_problems.deployment import Layout

States = NDArray[np.float64]
"""Shape (n, 6): b, K, p, A, N, h."""


def _law() -> StepLaw:
    model, accelerator = catalog.model("Llama-3.3-70B"), catalog.accelerator("H200-SXM")
    fitted = coefficients.load("H200-SXM", "sglang")
    return step_law(model, accelerator, Precision("fp8", "fp8"), Layout(tp=4), fitted)


def _states(count: int) -> States:
    random = np.random.default_rng(1)
    b, p = random.integers(1, 257, count), random.integers(1, 1792, count)
    return np.column_stack([b, b * 4250.0, p, p * 2000.0, b + p, b + 1]).astype(np.float64)


@njit
def _sum_steps(step: StepArrays, scratch: Scratch, states: States) -> float:
    """A compiled caller, as the simulator's kernel is one; the sum keeps the work from being skipped."""
    total = 0.0
    for i in range(len(states)):
        b, p, N, h = int(states[i, 0]), int(states[i, 2]), int(states[i, 4]), int(states[i, 5])
        total += step_seconds(step, scratch, b, states[i, 1], p, states[i, 3], N, h)
    return total


def run(smoke: bool) -> Outcome:
    """Check that the three ways agree, then time each."""
    law, building = timed("build", _law)
    compiled, compiling = timed("compile", lambda: compile_step(law, 2048, 2048, 257))
    states, arrays, scratch = _states(1000 if smoke else 20_000), compiled.arrays(), compiled.scratch()
    seconds = law.seconds()
    vectorised, _ = timed("lambdify", lambda: sp.lambdify(law.symbols.all(), seconds, "numpy", cse=True))
    total = _sum_steps(arrays, scratch, states)  # compiles this caller, once
    np.testing.assert_allclose(total, np.sum(vectorised(*states.T)), rtol=1e-9)

    least = 0.05 if smoke else 1.0
    ours, measuring = timed(
        "evaluate", lambda: rate(lambda: _counted(_sum_steps, arrays, scratch, states), least)
    )
    calls_rate = rate(lambda: _one_by_one(vectorised, states[:200]), least)
    numpy_rate = rate(lambda: _counted(vectorised, *states.T), least)
    sympy_rate = rate(lambda: _exact(seconds, law, states[:3]), least)
    figures = (
        Figure("evaluations_per_s", ours, "1/s", numpy_rate),
        Figure("evaluations_per_s_against_single_calls", ours, "1/s", calls_rate),
        Figure("evaluations_per_s_against_sympy", ours, "1/s", sympy_rate),
    )
    return Outcome(figures, (building, compiling, measuring))


def _counted(evaluate: Callable[..., object], *arguments: object) -> int:
    """Call once, and count the states of the last argument."""
    evaluate(*arguments)
    return len(arguments[-1])  # type: ignore[arg-type]


def _one_by_one(evaluate: Callable[..., object], states: States) -> int:
    """As a simulator would call it, which knows one state at a time."""
    for state in states:
        evaluate(*state)
    return len(states)


def _exact(seconds: sp.Expr, law: StepLaw, states: States) -> int:
    for state in states:
        seconds.evalf(subs=dict(zip(law.symbols.all(), state, strict=True)))
    return len(states)
