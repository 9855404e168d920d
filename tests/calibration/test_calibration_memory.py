"""Memory laws against the model's own facts, and against a division of the layers one by one."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import sympy as sp

from llmopt_calibration.memory import MemoryLaw, MemorySymbols, kv_pool_tokens, memory_law
from llmopt_calibration.precision import Precision
from llmopt_calibration.step import SymbolicLayout
from llmopt_problems import catalog
from llmopt_problems.deployment import Layout
from llmopt_problems.models.facts import (
    kv_bytes_of_sequence,
    kv_bytes_per_token,
    weight_breakdown,
    weight_bytes,
)
from llmopt_problems.models.spec import DenseFfn, GroupedQueryAttention, LayerGroup, ModelSpec

HBM_BYTES = 141e9


def _memory(name: str, layout: Layout, kv: str = "bf16", chunk: int = 4096, batch: int = 64) -> MemoryLaw:
    model = catalog.model(name)
    law = memory_law(model, Precision(model.native_weights, kv), layout)  # type: ignore[arg-type]
    return law.at({law.symbols.chunk_tokens: chunk, law.symbols.batch_cap: batch})


@pytest.mark.parametrize("name", catalog.model_names())
def test_one_accelerator_holds_all_weights(name: str) -> None:
    model = catalog.model(name)
    shards = memory_law(model, Precision(model.native_weights, "bf16"), Layout()).weights
    whole = weight_breakdown(model, model.native_weights)
    for component, size in whole.items():
        assert float(shards[component]) == pytest.approx(size, rel=1e-12), component
    assert float(sp.Add(*shards.values())) == pytest.approx(
        weight_bytes(model, model.native_weights), rel=1e-12
    )


def test_tp_two_halves_the_weights() -> None:
    one, two = (_memory("Llama-2-7B", Layout(tp=tp)).weights for tp in (1, 2))
    for component, size in one.items():
        share = 1 if component == "norms" else 0.5
        assert float(two[component]) == pytest.approx(share * float(size), rel=1e-12)


@pytest.mark.parametrize("name", catalog.model_names())
@pytest.mark.parametrize(
    "layout", [Layout(2), Layout(8), Layout(8, ep=8), Layout(8, dp=8), Layout(8, ep=8, dp=8)]
)
def test_the_ranks_together_hold_every_weight(name: str, layout: Layout) -> None:
    for component, size in _memory(name, layout).weights.items():
        whole = weight_breakdown(catalog.model(name), catalog.model(name).native_weights)[component]
        assert float(size) * layout.world >= whole * (1 - 1e-12), component
        assert float(size) <= whole * (1 + 1e-12), component


@pytest.mark.parametrize("ep", [1, 2, 4, 8])
def test_experts_are_divided_by_tp_whatever_ep(ep: int) -> None:
    whole, part = _memory("DeepSeek-R1", Layout()), _memory("DeepSeek-R1", Layout(8, ep=ep))
    assert float(part.weights["routed_experts"]) == pytest.approx(float(whole.weights["routed_experts"]) / 8)


def test_attention_data_parallelism_repeats_attention_weights() -> None:
    whole, parallel = _memory("DeepSeek-R1", Layout()), _memory("DeepSeek-R1", Layout(8, dp=8))
    assert float(parallel.weights["attention"]) == pytest.approx(float(whole.weights["attention"]))


def test_all_to_all_layouts_hold_shared_experts_whole() -> None:
    whole = float(_memory("DeepSeek-R1", Layout()).weights["shared_experts"])
    assert float(_memory("DeepSeek-R1", Layout(8, dp=8)).weights["shared_experts"]) == pytest.approx(
        whole / 8
    )
    assert float(_memory("DeepSeek-R1", Layout(8, ep=8, dp=8)).weights["shared_experts"]) == pytest.approx(
        whole
    )


def test_kv_heads_are_repeated_where_ranks_outnumber_them() -> None:
    """Qwen3-235B has 4 KV heads of 128 + 128: a rank keeps one whole head at TP 4 and at TP 8."""
    one = float(_memory("Qwen3-235B-A22B", Layout()).kv_bytes_per_token)
    assert one == 94 * 4 * (128 + 128) * 2
    for tp, share in ((2, 1 / 2), (4, 1 / 4), (8, 1 / 4)):
        assert float(_memory("Qwen3-235B-A22B", Layout(tp)).kv_bytes_per_token) == pytest.approx(one * share)


def test_replicated_kv_projections_match_a_count_by_hand() -> None:
    """Qwen3-235B, hidden 4096, 64 query and 4 KV heads of 128: TP 8 keeps 8 query heads and 1 KV head."""
    projections = 94 * 4096 * 128 * (8 + 1 + 1 + 8) * 2
    assert float(_memory("Qwen3-235B-A22B", Layout(8)).weights["attention"]) == pytest.approx(
        projections, rel=1e-12
    )


def test_mla_cache_is_not_divided_by_tp() -> None:
    """DeepSeek-V3: 61 layers of 512 + 64 elements, on every rank."""
    for layout in (Layout(), Layout(2), Layout(8), Layout(16, ep=16, dp=16)):
        assert float(_memory("DeepSeek-V3", layout).kv_bytes_per_token) == 61 * 576 * 2


def test_mla_projections_without_heads_are_whole_on_every_rank() -> None:
    parts = {tp: float(_memory("Kimi-K2.5", Layout(tp)).weights["attention"]) for tp in (1, 2, 4)}
    whole = 2 * parts[2] - parts[1]  # parts[tp] = (rest / tp) + whole
    model, a = catalog.model("Kimi-K2.5"), catalog.model("Kimi-K2.5").layers[0].attention
    assert whole == pytest.approx(2 * 61 * model.hidden * (a.q_lora_rank + a.kv_lora_rank + a.rope_head_dim))
    assert parts[4] == pytest.approx((parts[1] - whole) / 4 + whole)


def test_windows_and_states_are_counted_by_sequence() -> None:
    """A long sequence's cache is its tokens in full layers and a constant."""
    for name in ("gpt-oss-120b", "Qwen3.5-397B-A17B"):
        law, tokens = _memory(name, Layout()), 100_000
        held = float(law.kv_bytes_per_token) * tokens + float(law.state_bytes_per_sequence)
        assert held == pytest.approx(kv_bytes_of_sequence(catalog.model(name), "bf16", tokens), rel=1e-12)
        assert float(law.state_bytes_per_sequence) > 0


def test_a_model_with_windows_only_keeps_whole_contexts() -> None:
    attention = GroupedQueryAttention(8, 8, 64, 64, window_tokens=1024)
    model = ModelSpec("windows", 512, 1000, (LayerGroup(4, attention, DenseFfn(1024)),), False, 32768)
    law = memory_law(model, Precision("bf16", "bf16"), Layout())
    assert float(law.kv_bytes_per_token) == kv_bytes_per_token(model, "bf16")
    assert law.state_bytes_per_sequence == 0


def test_fp8_cache_takes_half() -> None:
    whole, half = (
        float(_memory("Llama-3.3-70B", Layout(4), kv).kv_bytes_per_token) for kv in ("bf16", "fp8")
    )
    assert half == whole / 2


@pytest.mark.parametrize("name", ["Llama-3.3-70B", "gpt-oss-120b", "DeepSeek-R1", "Qwen3.5-397B-A17B"])
@pytest.mark.parametrize("pp", [2, 3, 4])
def test_the_fullest_pipeline_stage_is_not_underestimated(name: str, pp: int) -> None:
    """Against every contiguous split into ceil(layers / pp), alternating kinds spread evenly."""
    model, law = catalog.model(name), _memory(name, Layout(4, pp))
    layers = _layer_bytes(model, 4)
    size = -(-len(layers) // pp)
    fullest = max(sum(layers[start : start + size]) for start in range(0, len(layers), size))
    ends = float(law.weights["embedding"] + law.weights["lm_head"])
    found = float(law.weight_bytes) - ends
    assert fullest * (1 - 1e-3) <= found <= fullest * 1.06


def _layer_bytes(model: ModelSpec, tp: int) -> list[float]:
    """Bytes of each layer on one of `tp` ranks, in order; kinds with the same block are dealt evenly."""
    per_group = []
    for index, group in enumerate(model.layers):
        shards = memory_law(
            replace(model, layers=(group,), vocabulary=1),
            Precision(model.native_weights, "bf16"),
            Layout(tp),
        )
        per_group.append((index / len(model.layers), float(shards.weight_bytes) / group.count, group))
    alternating = len({group.ffn for group in model.layers}) == 1
    places = [
        ((i + 0.5) / group.count if alternating else start, size)
        for start, size, group in per_group
        for i in range(group.count)
    ]
    return [size for _, size in sorted(places)]


def test_pipeline_stages_hold_the_caches_of_all_batches_in_flight() -> None:
    one, two = _memory("Llama-3.3-70B", Layout(4, 1)), _memory("Llama-3.3-70B", Layout(4, 2))
    assert float(two.kv_bytes_per_token) == pytest.approx(float(one.kv_bytes_per_token))


def test_a_full_pool_fills_the_memory() -> None:
    for name, layout in product(
        ("Llama-3.3-70B", "gpt-oss-120b", "Qwen3.5-397B-A17B"), (Layout(8), Layout(8, 2))
    ):
        law = _memory(name, layout)
        tokens = law.kv_capacity_tokens(HBM_BYTES, 0.9)
        assert float(law.used_bytes(tokens, 64)) == pytest.approx(0.9 * HBM_BYTES, rel=1e-12)
        assert float(law.missing_tokens(HBM_BYTES, 0.9, tokens / 64)) == pytest.approx(0, abs=1e-3)


def test_larger_caps_leave_fewer_tokens() -> None:
    capacities = [
        float(_memory("gpt-oss-120b", Layout(2), chunk=chunk, batch=batch).kv_capacity_tokens(HBM_BYTES, 0.9))
        for chunk, batch in ((2048, 64), (8192, 64), (8192, 256))
    ]
    assert capacities[0] > capacities[1] > capacities[2]


def test_a_model_that_does_not_fit_has_negative_capacity() -> None:
    law = _memory("DeepSeek-R1", Layout(2))
    assert float(law.kv_capacity_tokens(HBM_BYTES, 0.9)) < 0
    assert kv_pool_tokens(law, HBM_BYTES, 0.9) == 0


def test_the_pool_has_whole_tokens() -> None:
    law = _memory("Llama-3.3-70B", Layout(4))
    exact = float(law.kv_capacity_tokens(HBM_BYTES, 0.9))
    assert exact - 1 < kv_pool_tokens(law, HBM_BYTES, 0.9) <= exact


def test_symbolic_layouts_give_the_numbers_of_numeric_ones() -> None:
    split, caps = SymbolicLayout(), MemorySymbols()
    model = catalog.model("DeepSeek-R1")
    symbolic = memory_law(model, Precision("fp8_block", "fp8"), split, caps)
    for entries in ((8, 1, 1, 1), (16, 2, 1, 2), (32, 1, 32, 32)):
        values = {
            **dict(zip(split.symbols(), entries, strict=True)),
            caps.chunk_tokens: 2048,
            caps.batch_cap: 32,
        }
        found = symbolic.at(values)
        expected = _memory("DeepSeek-R1", Layout(*entries), "fp8", 2048, 32)
        for side in (lambda law: law.weight_bytes, lambda law: law.kv_capacity_tokens(HBM_BYTES, 0.9)):
            assert float(side(found)) == pytest.approx(float(side(expected)), rel=1e-12)
