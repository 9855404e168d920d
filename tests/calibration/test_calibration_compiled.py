"""Compiled steps against the expressions they come from, on a law made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from llmopt_calibration.compiled import compile_step, step_compiler, step_seconds, step_work
from llmopt_calibration.lowering import TapeError
from llmopt_calibration.step import Operator, StepLaw, StepSymbols

S = StepSymbols()
TP = sp.Symbol("tp", integer=True, positive=True)
LIMITS = (600, 2400, 64)


def _operator(sees: str, size: sp.Expr, share: sp.Expr = sp.S.One) -> Operator:
    """A roofline with a rounded corner, a tile and an overhead, in terms of one size."""
    flops, traffic = 3e9 * size / share, 1e6 * (40 + size) / share
    compute_s, memory_s = sp.ceiling(size / 128) * 128 * 3e9 / share / 7e14, traffic / 2.5e12
    seconds = 5e-6 + (compute_s**3.7 + memory_s**3.7) ** (1 / sp.Float(3.7))
    return Operator(sees, "test", seconds, flops, traffic, 100 * size, sees, "default")  # type: ignore[arg-type]


def _law(share: sp.Expr) -> StepLaw:
    sizes = {
        "rank_tokens": S.b + S.p,
        "engine_tokens": S.N,
        "heads": S.h,
        "decode": S.b + S.K / 4096,
        "prefill": S.p + S.A / 8192,
        "step": sp.Integer(7),
    }
    return StepLaw(tuple(_operator(sees, size, share) for sees, size in sizes.items()), S)


def _states(
    count: int, *, decode: bool = True, prefill: bool = True
) -> list[tuple[int, float, int, float, int, int]]:
    rng = np.random.default_rng(7)
    states = []
    for _ in range(count):
        b = int(rng.integers(1, 60)) if decode else 0
        p = int(rng.integers(1, 500)) if prefill else 0
        tokens = (b + p) * int(rng.integers(1, 5))
        states.append((b, b * rng.uniform(1, 1e5), p, p * rng.uniform(1, 1e5), tokens, b + int(prefill)))
    return states


@pytest.mark.parametrize(("decode", "prefill"), [(True, True), (True, False), (False, True)])
def test_compiled_step_equals_its_expressions(decode: bool, prefill: bool) -> None:
    law = _law(sp.Integer(4))
    compiled = compile_step(law, *LIMITS)
    arrays, scratch = compiled.arrays(), compiled.scratch()
    parts = [
        part(decode=decode, prefill=prefill)
        for part in (law.seconds, law.flops, law.hbm_bytes, law.network_bytes)
    ]
    exact = sp.lambdify(S.all(), parts, "math")
    for state in _states(300, decode=decode, prefill=prefill):
        found = (step_seconds(arrays, scratch, *state), *step_work(arrays, scratch, *state))
        np.testing.assert_allclose(found, exact(*state), rtol=1e-12)


def test_one_compiler_serves_every_layout() -> None:
    compiler = step_compiler(_law(TP), [TP])
    for tp in (1, 2, 8):
        bound, direct = compiler.compile({TP: tp}, *LIMITS), compile_step(_law(sp.Integer(tp)), *LIMITS)
        for state in _states(50):
            expected = step_seconds(direct.arrays(), direct.scratch(), *state)
            assert step_seconds(bound.arrays(), bound.scratch(), *state) == pytest.approx(expected, rel=1e-13)


def test_every_deployment_has_one_numba_type() -> None:
    compiler = step_compiler(_law(TP), [TP])
    empty = compile_step(StepLaw((), S), *LIMITS)
    step_seconds(empty.arrays(), empty.scratch(), 1, 10.0, 1, 1.0, 2, 1)
    before = len(step_seconds.signatures)
    for compiled in (empty, compiler.compile({TP: 2}, *LIMITS), compile_step(_law(sp.Integer(1)), *LIMITS)):
        step_seconds(compiled.arrays(), compiled.scratch(), 3, 10.0, 1, 1.0, 2, 1)
    assert len(step_seconds.signatures) == before


def test_a_part_that_does_not_run_costs_nothing() -> None:
    compiled = compile_step(StepLaw((_operator("decode", S.b + S.K),), S), *LIMITS)
    assert step_seconds(compiled.arrays(), compiled.scratch(), 0, 0.0, 5, 15.0, 5, 1) == 0.0
    assert step_seconds(compiled.arrays(), compiled.scratch(), 1, 9.0, 5, 15.0, 6, 2) > 5e-6


def test_an_empty_step_costs_nothing() -> None:
    compiled = compile_step(_law(sp.Integer(1)), *LIMITS)
    assert step_seconds(compiled.arrays(), compiled.scratch(), 0, 0.0, 0, 0.0, 0, 0) == 0.0
    assert step_work(compiled.arrays(), compiled.scratch(), 0, 0.0, 0, 0.0, 0, 0) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "state", [(601, 1.0, 0, 0.0, 601, 1), (1, 1.0, 0, 0.0, 2401, 1), (1, 1.0, 0, 0.0, 1, 65)]
)
def test_beyond_the_tables_is_nan_not_a_guess(state: tuple[int, float, int, float, int, int]) -> None:
    compiled = compile_step(_law(sp.Integer(1)), *LIMITS)
    assert np.isnan(step_seconds(compiled.arrays(), compiled.scratch(), *state))


def test_an_operator_that_sees_more_than_it_says_is_refused() -> None:
    dishonest = Operator("x", "test", S.K, S.N, S.N, S.N, "engine_tokens", "default")
    with pytest.raises(TapeError, match="symbol K is not an input"):
        compile_step(StepLaw((dishonest,), S), *LIMITS)
