"""Step laws against what physics and the model's own parameter count say, and against their compiled form."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import sympy as sp

from llmopt_calibration.coefficients import load
from llmopt_calibration.compiled import CompiledStep, compile_step, step_compiler, step_seconds, step_work
from llmopt_calibration.laws import law
from llmopt_calibration.laws.law import peak_flops
from llmopt_calibration.lowering import lower
from llmopt_calibration.step import (
    Precision,
    StepLaw,
    StepSymbols,
    SymbolicLayout,
    extrapolations,
    layout_violations,
    step_law,
)
from llmopt_problems import catalog
from llmopt_problems.deployment import Layout
from llmopt_problems.models.facts import active_parameter_count, parameter_breakdown
from llmopt_problems.models.spec import LinearAttention, WeightPrecision

S, SPLIT = StepSymbols(), SymbolicLayout()
State = tuple[int, float, int, float, int, int]
"""b, K, p, A, N, h."""

CASES: list[tuple[str, WeightPrecision, Layout]] = [
    ("Llama-2-7B", "bf16", Layout()),
    ("Llama-3.3-70B", "fp8", Layout(4)),
    ("Llama-3.3-70B", "fp8", Layout(8, pp=2)),
    ("DeepSeek-R1", "fp8_block", Layout(8)),
    ("DeepSeek-R1", "fp8_block", Layout(16, ep=16, dp=16)),
    ("DeepSeek-V3.2", "fp8_block", Layout(8, ep=8, dp=4)),
    ("Qwen3-235B-A22B", "bf16", Layout(8, ep=4)),
    ("gpt-oss-120b", "fp4", Layout(2)),
    ("Qwen3.5-397B-A17B", "fp8", Layout(8, dp=8)),
]
NAMES = [f"{name}-{layout.tp}-{layout.pp}-{layout.ep}-{layout.dp}" for name, _, layout in CASES]


@cache
def _law(
    name: str, weights: WeightPrecision, layout: Layout | SymbolicLayout, accelerator: str = "H200-SXM"
) -> StepLaw:
    hardware = catalog.accelerator(accelerator)
    coefficients = load(accelerator, "sglang")
    return step_law(
        catalog.model(name), hardware, Precision(weights, "bf16"), layout, coefficients, symbols=S
    )


def _compiled(law: StepLaw) -> CompiledStep:
    return compile_step(law, 2048, 2048 * 16, 256)


def _seconds(law: StepLaw, *state: float) -> float:
    compiled = _compiled(law)
    return float(step_seconds(compiled.arrays(), compiled.scratch(), *state))


def _states(dp: int, count: int, seed: int) -> list[State]:
    """Random states: a third mixed, a third decode only, a third prefill only."""
    rng, states = np.random.default_rng(seed), []
    for i in range(count):
        b = int(rng.integers(1, 200)) if i % 3 != 2 else 0
        p = int(rng.integers(1, 1500)) if i % 3 != 1 else 0
        context = float(b) * float(np.exp(rng.uniform(0, 11)))
        pairs = p * (float(np.exp(rng.uniform(0, 11))) + p / 2)
        tokens = int(rng.integers(b + p, (b + p) * dp + 1))
        states.append((b, context, p, pairs, tokens, b + min(p, 1)))
    return states


@pytest.mark.parametrize(("name", "weights", "layout"), CASES, ids=NAMES)
def test_compiled_numbers_equal_the_expressions(name: str, weights: WeightPrecision, layout: Layout) -> None:
    """12,600 random states over all cases; the expressions are evaluated by SymPy's own printer."""
    step = _law(name, weights, layout)
    compiled = _compiled(step)
    arrays, scratch = compiled.arrays(), compiled.scratch()
    exact = {}
    for decode, prefill in ((True, True), (True, False), (False, True)):
        parts = [
            part(decode=decode, prefill=prefill)
            for part in (step.seconds, step.flops, step.hbm_bytes, step.network_bytes)
        ]
        exact[decode, prefill] = sp.lambdify(S.all(), parts, "math", cse=True)
    for state in _states(layout.dp, 1400, seed=3):
        found = (step_seconds(arrays, scratch, *state), *step_work(arrays, scratch, *state))
        np.testing.assert_allclose(found, exact[state[0] > 0, state[2] > 0](*state), rtol=1e-9)


@pytest.mark.parametrize(("name", "weights", "layout"), CASES, ids=NAMES)
def test_no_operator_exceeds_the_hardware(name: str, weights: WeightPrecision, layout: Layout) -> None:
    """FLOP, HBM bytes and network bytes of every operator fit in its seconds at the peak rates."""
    hardware = catalog.accelerator("H200-SXM")
    rows = np.array(_states(layout.dp, 60, seed=5), dtype=float)
    mixed = rows[(rows[:, 0] > 0) & (rows[:, 2] > 0)]
    for operator in _law(name, weights, layout).operators:
        seconds, flops, hbm_bytes, sent = lower(operator.quantities(), S.all()).rows(mixed).T
        peak = peak_flops(hardware, law(operator.family).arithmetic)
        assert np.all(seconds > 0), operator.name
        assert np.all(flops <= peak * seconds), operator.name
        assert np.all(hbm_bytes <= hardware.hbm_bytes_per_s * seconds), operator.name
        assert np.all(sent <= hardware.scale_up.bytes_per_s * seconds), operator.name


@pytest.mark.parametrize(("name", "weights", "layout"), CASES, ids=NAMES)
def test_more_work_never_takes_less_time(name: str, weights: WeightPrecision, layout: Layout) -> None:
    step = _law(name, weights, layout)
    tape = lower([step.seconds()], S.all())
    rows = np.array([s for s in _states(layout.dp, 90, seed=9) if s[0] and s[2]], dtype=float)
    for grown in range(6):
        more = rows.copy()
        more[:, grown] *= 1.5
        if grown == 2:  # more queries over the same pairs each
            more[:, 3] *= 1.5
        assert np.all(tape.rows(more) >= tape.rows(rows)), S.all()[grown]


@pytest.mark.parametrize(("name", "weights"), sorted({(name, weights) for name, weights, _ in CASES}))
def test_symbolic_layouts_give_the_numbers_of_numeric_ones(name: str, weights: WeightPrecision) -> None:
    compiler = step_compiler(_law(name, weights, SPLIT), SPLIT.symbols())
    candidates = (Layout(8), Layout(8, pp=2), Layout(8, ep=8), Layout(16, ep=16, dp=16))
    valid = [layout for layout in candidates if not layout_violations(catalog.model(name), layout)]
    assert len(valid) >= 2
    for layout in valid:
        entries = (layout.tp, layout.pp, layout.ep, layout.dp)
        bound = compiler.compile(dict(zip(SPLIT.symbols(), entries, strict=True)), 2048, 2048 * 16, 256)
        direct = _compiled(_law(name, weights, layout))
        for state in _states(layout.dp, 30, seed=1):
            expected = step_seconds(direct.arrays(), direct.scratch(), *state)
            assert step_seconds(bound.arrays(), bound.scratch(), *state) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("name", "weights", "layout"), CASES, ids=NAMES)
def test_what_an_operator_sees_is_all_it_depends_on(
    name: str, weights: WeightPrecision, layout: Layout
) -> None:
    allowed = {
        "rank_tokens": {S.b, S.p},
        "engine_tokens": {S.N},
        "heads": {S.h},
        "decode": {S.b, S.K},
        "prefill": {S.p, S.A},
        "step": set(),
    }
    for operator in _law(name, weights, layout).operators:
        assert set().union(*(part.free_symbols for part in operator.quantities())) <= allowed[operator.sees]
        if operator.sees == "rank_tokens":
            split, joined = ({S.b: b, S.p: p} for b, p in ((300, 700), (1000, 0)))
            for part in operator.quantities():
                assert float(part.subs(split)) == pytest.approx(float(part.subs(joined)), rel=1e-12)


def test_decode_reads_the_weights() -> None:
    """Llama-2-7B in bf16 on one H100: 13.2 GB of weights at 3.35 TB/s."""
    step = _law("Llama-2-7B", "bf16", Layout(), "H100-SXM")
    assert _seconds(step, 1, 1.0, 0, 0.0, 1, 1) >= 4.0e-3
    read = float(step.hbm_bytes(prefill=False).subs({S.b: 1, S.K: 1, S.N: 1, S.h: 1}))
    model = catalog.model("Llama-2-7B")
    embedding = model.vocabulary * model.hidden
    assert read >= 2 * (sum(parameter_breakdown(model).values()) - embedding)


@pytest.mark.parametrize("name", catalog.model_names())
def test_matrix_products_do_two_flop_a_parameter(name: str) -> None:
    """All GEMM FLOP of p fresh tokens are 2 p × the matrix parameters that a token passes."""
    model, tokens = catalog.model(name), 512
    step = _law(name, "bf16", Layout())
    products = [op for op in step.operators if op.family.split("_")[0] in ("gemm", "moe")]
    state = {S.b: 0, S.K: 0, S.p: tokens, S.A: tokens**2 / 2, S.N: tokens, S.h: tokens}
    found = float(sp.Add(*(op.flops for op in products if op.sees != "decode")).subs(state))
    vectors = parameter_breakdown(model)["norms"] + (
        0 if model.tied_embeddings else parameter_breakdown(model)["embedding"]
    )
    linear = any(isinstance(group.attention, LinearAttention) for group in model.layers)
    # Biases, sinks, score corrections and short convolutions are parameters but no matrix products.
    tolerance = 2e-3 if linear else 5e-4
    assert found == pytest.approx(2 * tokens * (active_parameter_count(model) - vectors), rel=tolerance)


def test_absorbed_decode_does_the_flop_of_the_expansion() -> None:
    """Weight absorption moves the products with W_UK and W_UV from keys to queries: 2 × their parameters."""
    step = _law("DeepSeek-V3", "bf16", Layout())
    absorbed = sp.Add(*(op.flops for op in step.operators if op.name.startswith("mla.absorb")))
    assert float(absorbed.subs({S.b: 3})) == 2 * 3 * 61 * 128 * (128 + 128) * 512


def test_latent_prefill_expands_every_key_it_reads() -> None:
    """A chunk of 1,000 tokens: alone, as ten prompts, and behind 3,000 cached tokens."""
    expand = next(op for op in _law("DeepSeek-V3", "bf16", Layout()).operators if op.name == "mla.expand")
    keys = [float(expand.shape["tokens"].subs({S.p: 1000, S.A: 1000 * mean})) for mean in (500, 50, 3500)]
    assert keys == [1000, 1000, 4000]


def test_tensor_parallel_ranks_share_the_flop() -> None:
    state = {S.b: 0, S.K: 0, S.p: 512, S.A: 512.0**2, S.N: 512, S.h: 1}
    one, eight = (float(_law("Llama-3.3-70B", "fp8", Layout(tp)).flops().subs(state)) for tp in (1, 8))
    assert eight == pytest.approx(one / 8, rel=1e-12)


def test_pipeline_parallelism_splits_no_step_and_sends_between_stages() -> None:
    one, four = _law("Llama-3.3-70B", "fp8", Layout(2)), _law("Llama-3.3-70B", "fp8", Layout(2, pp=4))
    state = {S.b: 8, S.K: 8000, S.p: 100, S.A: 5e4, S.N: 108, S.h: 9}
    assert float(four.flops().subs(state)) == pytest.approx(float(one.flops().subs(state)), rel=1e-12)
    sent = float((four.network_bytes() - one.network_bytes()).subs(state))
    assert sent == pytest.approx(3 * 2 * 2 * 108 * 8192)
    assert float(four.seconds().subs(state)) > float(one.seconds().subs(state))


def test_tensor_parallelism_sends_two_all_reduces_a_layer() -> None:
    """2 (r - 1)/r of the activations twice a layer and once after the embedding; the logits gathered once."""
    sent = _law("Llama-3.3-70B", "fp8", Layout(4)).network_bytes()
    tokens, rows = 64, 3
    expected = 2 * 3 / 4 * (tokens * 8192 * 2) * (2 * 80 + 1) + 3 / 4 * rows * 128256 * 2
    assert float(sent.subs({S.b: 3, S.p: tokens - 3, S.N: tokens, S.h: rows})) == pytest.approx(expected)
    assert _law("Llama-3.3-70B", "fp8", Layout()).network_bytes() == 0


def test_nvlink_moves_450_gb_per_second_in_one_direction() -> None:
    for accelerator in ("H100-SXM", "H200-SXM"):
        assert catalog.accelerator(accelerator).scale_up.bytes_per_s == 450e9


def test_collectives_that_leave_the_node_are_slower() -> None:
    hardware, model = catalog.accelerator("H200-SXM"), catalog.model("DeepSeek-R1")
    state = (64, 64e3, 0, 0.0, 64, 64)
    inside, across = (
        _seconds(
            step_law(
                model,
                replace(hardware, scale_up_gpus=gpus),
                Precision("fp8_block", "bf16"),
                Layout(16),
                load("H200-SXM", "sglang"),
                symbols=S,
            ),
            *state,
        )
        for gpus in (16, 8)
    )
    assert across > inside


def test_replicas_on_different_nodes_gather_over_the_network() -> None:
    """TP 16 on nodes of 8 with two replicas: one rank of each node, so every byte crosses the network."""
    operators = _law("DeepSeek-R1", "fp8_block", Layout(16, dp=2)).operators
    gather = next(op for op in operators if op.name == "moe.all_gather")
    assert gather.shape["nodes"] == gather.shape["ranks"] == 2
    sent = float(gather.network_bytes.subs(S.N, 1000))
    assert float(gather.seconds.subs(S.N, 1000)) > sent / catalog.accelerator("H200-SXM").network.bytes_per_s


def test_how_tokens_reach_their_experts() -> None:
    """All-reduce with one replica; gather and scatter with attention DP; all-to-all with EP on top."""
    expected = {
        Layout(8): {"moe.all_reduce"},
        Layout(8, ep=8): {"moe.all_reduce"},
        Layout(8, dp=8): {"moe.all_gather", "moe.reduce_scatter"},
        Layout(8, dp=4): {"moe.all_gather", "moe.reduce_scatter", "moe.regather"},
        Layout(8, ep=8, dp=8): {"moe.dispatch", "moe.combine"},
    }
    families = {"all_reduce", "all_gather", "reduce_scatter", "expert_dispatch", "expert_combine"}
    for layout, names in expected.items():
        operators = _law("DeepSeek-R1", "fp8_block", layout).operators
        sent = {
            op.name
            for op in operators
            if op.family in families and op.name.startswith("moe") and op.network_bytes != 0
        }
        assert sent == names


def test_expert_parallel_ranks_read_their_own_experts() -> None:
    """In a large step every expert is read: E / ep of them, of full width, or all of them sliced."""
    for layout in (Layout(8), Layout(8, ep=8), Layout(8, ep=2), Layout(8, ep=8, dp=8)):
        experts = next(op for op in _law("DeepSeek-R1", "bf16", layout).operators if op.name == "moe.experts")
        weights = 58 * 256 * 3 * 7168 * 2048 * 2 / 8
        assert float(experts.hbm_bytes.subs(S.N, 20_000)) >= weights
        assert float(experts.hbm_bytes.subs(S.N, 1)) < 0.1 * weights


def test_a_window_bounds_what_decode_reads() -> None:
    windowed = next(
        op for op in _law("gpt-oss-120b", "fp4", Layout()).operators if op.name.endswith("128.decode")
    )
    near, far = (float(windowed.hbm_bytes.subs({S.b: 4, S.K: 4 * context})) for context in (128, 100_000))
    assert near == far


def test_a_prefix_hit_skips_compute_but_reads_the_cached_keys() -> None:
    """1,000 fresh tokens behind 3,000 cached ones: cheaper than 4,000, dearer than 1,000 alone."""
    step = _law("Llama-3.3-70B", "fp8", Layout(8))
    alone, hit = ({S.p: 1000, S.A: 1000 * (cached + 500), S.N: 1000, S.h: 1} for cached in (0, 3000))
    miss = {S.p: 4000, S.A: 4000 * 2000, S.N: 4000, S.h: 1}
    for quantity in (step.seconds(decode=False), step.flops(decode=False)):
        assert quantity.subs(alone) < quantity.subs(hit) < quantity.subs(miss)
    cached_bytes = 3000 * 80 * (8 / 8) * (128 + 128) * 2
    more = step.hbm_bytes(decode=False).subs(hit) - step.hbm_bytes(decode=False).subs(alone)
    assert float(more) == pytest.approx(cached_bytes)


def test_one_step_runs_each_layer_once() -> None:
    """Alternating layers of gpt-oss are collected: 36 attention blocks, whatever their order."""
    model = catalog.model("gpt-oss-120b")
    shuffled = replace(
        model, layers=tuple(replace(group, count=1) for _ in range(18) for group in model.layers)
    )
    state = {S.b: 4, S.K: 4000, S.p: 10, S.A: 500, S.N: 14, S.h: 5}
    laws = [
        step_law(
            spec,
            catalog.accelerator("H200-SXM"),
            Precision("fp4", "bf16"),
            Layout(2),
            load("H200-SXM", "sglang"),
            symbols=S,
        )
        for spec in (model, shuffled)
    ]
    assert len(laws[0].operators) == len(laws[1].operators)
    assert float(laws[0].seconds().subs(state)) == pytest.approx(
        float(laws[1].seconds().subs(state)), rel=1e-12
    )


def test_imbalance_slows_the_experts_only() -> None:
    frozen = sp.Symbol("expert_imbalance", positive=True)
    hardware, model = catalog.accelerator("H200-SXM"), catalog.model("DeepSeek-R1")
    step = step_law(
        model,
        hardware,
        Precision("fp8_block", "bf16"),
        Layout(8, ep=8),
        load("H200-SXM", "sglang"),
        imbalance=frozen,
        symbols=S,
    )
    touched = {op.name for op in step.operators if frozen in op.seconds.free_symbols}
    assert touched == {"moe.experts"}
    experts = next(op for op in step.operators if op.name == "moe.experts").seconds.subs(S.N, 8192)
    assert float(experts.subs(frozen, 1.5)) > float(experts.subs(frozen, 1))


def test_one_expert_group_cannot_be_out_of_balance() -> None:
    frozen = sp.Symbol("expert_imbalance", positive=True)
    hardware, model = catalog.accelerator("H200-SXM"), catalog.model("DeepSeek-R1")
    precision, coefficients = Precision("fp8_block", "bf16"), load("H200-SXM", "sglang")
    step = step_law(model, hardware, precision, Layout(8), coefficients, imbalance=frozen)
    assert frozen not in step.seconds().free_symbols


def test_seconds_add_up_over_their_sources() -> None:
    step = _law("DeepSeek-R1", "fp8_block", Layout(8))
    state = {S.b: 4, S.K: 4000, S.p: 10, S.A: 500, S.N: 14, S.h: 5}
    parts = step.seconds_by_basis()
    assert set(parts) == {operator.basis for operator in step.operators}
    assert float(sp.Add(*parts.values()).subs(state)) == pytest.approx(
        float(step.seconds().subs(state)), rel=1e-12
    )


def test_sizes_beyond_the_measured_ones_are_named() -> None:
    coefficients = load("H200-SXM", "sglang")
    low, high = coefficients.family("gemm_bf16").training_range["tokens"]
    step = _law("Llama-2-7B", "bf16", Layout())
    common = {S.b: 0, S.K: 0, S.A: 10.0, S.h: 1}
    inside, beyond = ({**common, S.p: tokens, S.N: tokens} for tokens in (high, 2 * high))
    assert ("dense_ffn.up", "tokens") not in {
        (e.operator, e.size) for e in extrapolations(step, coefficients, inside)
    }
    found = {(e.operator, e.size): e for e in extrapolations(step, coefficients, beyond)}
    assert found["dense_ffn.up", "tokens"].value == 2 * high
    assert found["dense_ffn.up", "tokens"].fitted == (low, high)
    assert not any(name == "attention.decode" for name, _ in found)
