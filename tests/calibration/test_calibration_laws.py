"""The laws obey physics: never below the roofline, monotone in the work, sane defaults, exact counts."""

from __future__ import annotations

import numpy as np
import pytest
from sympy import Symbol, lambdify, simplify

from llmopt_calibration.coefficients import CoefficientSet, load
from llmopt_calibration.laws import HARDWARE, Law, hardware_values, law, laws, operator_expressions
from llmopt_calibration.laws.law import peak_flops
from llmopt_problems import catalog

ACCELERATOR = catalog.accelerator("H100-SXM")
RANGES = {
    "tokens": (1, 16384),
    "output_width": (64, 65536),
    "input_width": (64, 32768),
    "pairs": (1, 1e8),
    "sequences": (1, 2048),
    "context": (1, 1e7),
    "query_heads": (1, 128),
    "kv_heads": (1, 16),
    "head_dim": (32, 256),
    "value_dim": (32, 256),
    "key_dim": (64, 256),
    "latent_dim": (256, 1024),
    "rope_dim": (32, 128),
    "matrices": (2, 128),
    "hidden": (1024, 16384),
    "intermediate": (128, 16384),
    "experts": (8, 512),
    "local_experts": (1, 8),
    "experts_per_token": (1, 8),
    "imbalance": (1, 3),
    "bytes_moved": (1, 1e10),
    "state_bytes": (1e4, 1e8),
    "channels": (256, 65536),
    "value_heads": (1, 64),
    "layers": (1, 128),
    "message_bytes": (1, 1e9),
    "ranks": (2, 64),
    "nodes": (1, 2),
}
FAMILIES = sorted(laws())


def random_shapes(of: Law, count: int, seed: int) -> dict[str, np.ndarray]:
    """Log-uniform integers in RANGES; a prefill sees at least its own triangle of pairs."""
    rng = np.random.default_rng(seed)
    shapes = {
        symbol.name: np.floor(np.exp(rng.uniform(*np.log(RANGES[symbol.name]), count))) for symbol in of.shape
    }
    if "pairs" in shapes:
        shapes["pairs"] = np.maximum(shapes["pairs"], shapes["tokens"] * (shapes["tokens"] + 1) / 2)
    if "nodes" in shapes and "ranks" in shapes:
        shapes["ranks"] = np.maximum(shapes["ranks"], shapes["nodes"])
    return shapes


def random_coefficients(of: Law, count: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {item.symbol.name: rng.uniform(item.lower, item.upper, count) for item in of.coefficients}


def evaluate(of: Law, what: str, shapes: dict[str, np.ndarray], values: dict[str, np.ndarray]) -> np.ndarray:
    names = [*of.shape, *(item.symbol for item in of.coefficients)]
    expression = getattr(of, what).xreplace(hardware_values(ACCELERATOR, of.arithmetic))
    arguments = [shapes[s.name] for s in of.shape] + [values[c.symbol.name] for c in of.coefficients]
    return np.broadcast_to(lambdify(names, expression, "numpy")(*arguments), arguments[0].shape)


def test_every_family_of_the_design_has_a_law() -> None:
    expected = {
        "elementwise",
        "engine_step",
        "all_reduce",
        "all_gather",
        "reduce_scatter",
        "all_to_all",
        "expert_dispatch",
        "expert_combine",
        "linear_attention_decode",
        "linear_attention_prefill",
        "send",
    }
    expected |= {f"gemm_{p}" for p in ("bf16", "fp8", "fp8_block", "fp4", "int4")}
    expected |= {f"moe_{p}" for p in ("bf16", "fp8", "fp8_block", "fp4", "int4")}
    expected |= {f"{kind}_{p}" for kind in ("attention_prefill", "attention_decode") for p in ("bf16", "fp8")}
    expected |= {f"{kind}_{p}" for kind in ("mla_prefill", "mla_decode") for p in ("bf16", "fp8")}
    assert expected <= set(laws())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_law_uses_only_the_symbols_that_it_declares(family: str) -> None:
    of = law(family)
    declared = {*of.shape, *(item.symbol for item in of.coefficients)}
    hardware = {getattr(HARDWARE, name) for name in HARDWARE.__dataclass_fields__}
    assert of.seconds.free_symbols <= declared | hardware
    for work in (of.flops, of.hbm_bytes, of.network_bytes):
        assert work.free_symbols <= set(of.shape)
    used = set().union(*(getattr(of, part).free_symbols for part in ("seconds", "hbm_bytes", "flops")))
    assert {item.symbol for item in of.coefficients} <= used


@pytest.mark.parametrize("family", FAMILIES)
def test_defaults_are_sane_and_inside_their_bounds(family: str) -> None:
    for item in law(family).coefficients:
        assert item.lower <= item.default <= item.upper, item
        assert item.unit, item
        assert item.meaning, item
        if item.symbol.name.endswith("_efficiency"):
            assert item.default < 1, item
            assert item.upper <= 1, item


@pytest.mark.parametrize("family", FAMILIES)
def test_no_law_beats_the_data_sheet(family: str) -> None:
    of = law(family)
    shapes, values = random_shapes(of, 500, seed=1), random_coefficients(of, 500, seed=2)
    seconds = evaluate(of, "seconds", shapes, values)
    compute_s = evaluate(of, "flops", shapes, values) / peak_flops(ACCELERATOR, of.arithmetic)
    memory_s = evaluate(of, "hbm_bytes", shapes, values) / ACCELERATOR.hbm_bytes_per_s
    fastest = max(ACCELERATOR.scale_up.bytes_per_s, ACCELERATOR.network.bytes_per_s)
    network_s = evaluate(of, "network_bytes", shapes, values) / fastest
    assert np.isfinite(seconds).all()
    for bound_s in (compute_s, memory_s, network_s):
        assert (seconds >= bound_s * (1 - 1e-12)).all()


@pytest.mark.parametrize(
    ("kind", "grown"),
    [
        ("gemm", ("tokens",)),
        ("gemm", ("output_width",)),
        ("gemm", ("input_width",)),
        ("batched_gemm", ("tokens",)),
        ("attention_decode", ("context",)),
        ("attention_decode", ("sequences",)),
        ("attention_prefill", ("pairs",)),
        ("mla_decode", ("context",)),
        ("mla_decode", ("sequences",)),
        ("mla_prefill", ("pairs",)),
        ("moe", ("tokens",)),
        ("all_reduce", ("message_bytes",)),
        ("all_to_all", ("message_bytes",)),
        ("expert_", ("message_bytes",)),
        ("linear_attention_decode", ("sequences", "tokens")),
        ("linear_attention_prefill", ("tokens", "pairs")),
    ],
)
def test_more_work_never_takes_less_time(kind: str, grown: tuple[str, ...]) -> None:
    for family in (name for name in FAMILIES if name.startswith(kind)):
        of = law(family)
        values = random_coefficients(of, 500, seed=3)
        shapes = random_shapes(of, 500, seed=4)
        larger = {name: column * (1.5 if name in grown else 1) for name, column in shapes.items()}
        before, after = evaluate(of, "seconds", shapes, values), evaluate(of, "seconds", larger, values)
        assert (after >= before * (1 - 1e-12)).all(), family


@pytest.mark.parametrize("family", FAMILIES)
def test_no_work_is_finite(family: str) -> None:
    of = law(family)
    shapes = random_shapes(of, 50, seed=5)
    for name in ("tokens", "pairs", "sequences", "context", "message_bytes", "bytes_moved"):
        if name in shapes:
            shapes[name] = np.zeros(50)
    values = random_coefficients(of, 50, seed=6)
    for what in ("seconds", "flops", "hbm_bytes", "network_bytes"):
        assert np.isfinite(evaluate(of, what, shapes, values)).all()


@pytest.mark.parametrize("engine", ["sglang", "vllm", "trtllm"])
def test_llama_2_7b_cannot_step_faster_than_its_weights(engine: str) -> None:
    """6.74e9 parameters in bf16 at 3.35 TB/s are 4.02 ms; embeddings are not read, the head is."""
    coefficients = load("H100-SXM", engine).family("gemm_bf16")
    hidden, inner, layers, vocabulary = 4096, 11008, 32, 32000
    shapes = [(3 * hidden, hidden), (hidden, hidden), (2 * inner, hidden), (hidden, inner)]
    costs = [(layers, *shape) for shape in shapes] + [(1, vocabulary, hidden)]
    seconds = hbm_bytes = 0.0
    for count, width, depth in costs:
        shape = {"tokens": 1, "output_width": width, "input_width": depth}
        cost = operator_expressions(law("gemm_bf16"), shape, ACCELERATOR, coefficients.values)
        seconds += count * float(cost.seconds)
        hbm_bytes += count * float(cost.hbm_bytes)
    assert hbm_bytes == pytest.approx(2 * 6.607e9, rel=1e-2)
    assert 3.9e-3 < hbm_bytes / ACCELERATOR.hbm_bytes_per_s < seconds < 8e-3
    assert seconds > 4.0e-3


def test_gemm_counts_by_hand() -> None:
    shape = {"tokens": 3, "output_width": 5, "input_width": 7}
    cost = operator_expressions(law("gemm_bf16"), shape, ACCELERATOR, law("gemm_bf16").defaults())
    assert float(cost.flops) == 2 * 3 * 5 * 7
    assert float(cost.hbm_bytes) == 2 * (3 * 7 + 7 * 5 + 3 * 5)
    assert float(cost.network_bytes) == 0


def test_decode_attention_reads_kv_heads_not_query_heads() -> None:
    shape = {
        "sequences": 4,
        "context": 1000,
        "query_heads": 32,
        "kv_heads": 8,
        "head_dim": 128,
        "value_dim": 128,
    }
    of = law("attention_decode_bf16")
    cost = operator_expressions(of, shape, ACCELERATOR, of.defaults())
    assert float(cost.hbm_bytes) == 1000 * 8 * 256 * 2 + 2 * 4 * 32 * 256
    assert float(cost.flops) == 2 * 1000 * 32 * 256


def test_latent_attention_reads_one_latent_whatever_the_heads() -> None:
    of = law("mla_decode_bf16")
    shape = {"sequences": 1, "context": 100_000, "latent_dim": 512, "rope_dim": 64}
    few, many = (
        operator_expressions(of, {**shape, "query_heads": heads}, ACCELERATOR, of.defaults()).hbm_bytes
        for heads in (16, 128)
    )
    assert float(few) == 100_000 * 576 * 2 + 2 * 16 * 1088
    assert float(many - few) == 2 * 112 * 1088


def test_expected_experts_agree_with_simulated_routing() -> None:
    experts, per_token, tokens = 64, 4, 10
    rng = np.random.default_rng(0)
    hits = [
        len({int(e) for _ in range(tokens) for e in rng.choice(experts, per_token, replace=False)})
        for _ in range(2000)
    ]
    of = law("moe_bf16")
    shape = {
        "tokens": tokens, "hidden": 1024, "intermediate": 512, "experts": experts, "local_experts": experts,
        "experts_per_token": per_token, "matrices": 3, "imbalance": 1,
    }  # fmt: skip
    cost = operator_expressions(of, shape, ACCELERATOR, of.defaults())
    rows_bytes = tokens * per_token * 2 * (1024 + 512)
    active = (float(cost.hbm_bytes) - rows_bytes) / (3 * 1024 * 512 * 2)
    assert active == pytest.approx(np.mean(hits), abs=4 * np.std(hits) / np.sqrt(len(hits)))


@pytest.mark.parametrize("family", ["all_reduce", "all_gather", "reduce_scatter", "all_to_all"])
def test_a_collective_of_one_rank_is_free(family: str) -> None:
    of = law(family)
    shape = {"message_bytes": 1e6, "ranks": 1, "nodes": 1}
    cost = operator_expressions(of, shape, ACCELERATOR, of.defaults())
    assert float(cost.seconds) == 0
    assert float(cost.network_bytes) == 0


def test_all_reduce_moves_what_a_ring_moves() -> None:
    of = law("all_reduce")
    cost = operator_expressions(
        of, {"message_bytes": 8e6, "ranks": 8, "nodes": 1}, ACCELERATOR, of.defaults()
    )
    assert float(cost.network_bytes) == pytest.approx(2 * 7 / 8 * 8e6)


def test_an_all_to_all_sends_each_byte_once() -> None:
    of = law("all_to_all")
    shape = {"message_bytes": 16e6, "ranks": 16, "nodes": 2}
    cost = operator_expressions(of, shape, ACCELERATOR, of.defaults())
    assert float(cost.network_bytes) == pytest.approx(15 / 16 * 16e6)


def test_shapes_may_be_expressions() -> None:
    b, width = Symbol("b", positive=True), Symbol("w", positive=True)
    of = law("gemm_fp8")
    symbolic = operator_expressions(
        of, {"tokens": 2 * b, "output_width": width, "input_width": 4096}, ACCELERATOR, of.defaults()
    )
    numeric = operator_expressions(
        of, {"tokens": 32, "output_width": 1024, "input_width": 4096}, ACCELERATOR, of.defaults()
    )
    for left, right in zip(symbolic, numeric, strict=True):
        assert float(left.subs({b: 16, width: 1024})) == pytest.approx(float(right), rel=1e-12)
    assert simplify(symbolic.flops - 2 * 2 * b * width * 4096) == 0


def test_wrong_names_are_refused_by_name() -> None:
    of = law("gemm_fp8")
    with pytest.raises(ValueError, match="missing \\['input_width'\\], unknown \\['rows'\\]"):
        operator_expressions(of, {"tokens": 1, "output_width": 1, "rows": 1}, ACCELERATOR, of.defaults())
    with pytest.raises(KeyError, match=r"no law called .gemm_fp3.; known: .*gemm_fp8"):
        law("gemm_fp3")


def test_an_accelerator_without_an_arithmetic_computes_in_bf16() -> None:
    a100 = catalog.accelerator("A100-80GB")
    assert peak_flops(a100, "fp8") == a100.peak_flops_per_s["bf16"]


def test_defaults_follow_the_hardware() -> None:
    """A faster memory makes a default law faster in proportion to its bytes."""
    empty = CoefficientSet("none", "sglang", {})
    values = empty.family("elementwise").values
    times = {
        name: float(
            operator_expressions(
                law("elementwise"), {"bytes_moved": 1e9}, catalog.accelerator(name), values
            ).seconds
        )
        for name in ("H100-SXM", "H200-SXM")
    }
    overhead = values["overhead_s"]
    ratio = (times["H100-SXM"] - overhead) / (times["H200-SXM"] - overhead)
    assert ratio == pytest.approx(4.8 / 3.35)
