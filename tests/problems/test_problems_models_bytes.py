"""Weight and KV bytes: known values, closed forms, and what each attention kind may not do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmopt_problems import catalog
from llmopt_problems.models.facts import (
    component_precision,
    kv_bytes_of_sequence,
    kv_bytes_per_token,
    kv_layout,
    parameter_count,
    weight_breakdown,
    weight_bytes,
)
from llmopt_problems.models.spec import LatentAttention


@pytest.mark.parametrize(
    ("name", "precision", "expected"),
    [
        ("Llama-3.1-8B", "bf16", 32 * 2 * 8 * 128 * 2),  # 131072
        ("Llama-3.3-70B", "bf16", 80 * 2 * 8 * 128 * 2),  # 327680
        ("Llama-3.3-70B", "fp8", 163840),
        ("Llama-2-7B", "bf16", 524288),
        ("GPT-3-175B", "bf16", 96 * 2 * 12288 * 2),
        ("DeepSeek-V3", "bf16", 70272),  # 61 layers of a latent of 512 + 64
        ("DeepSeek-R1", "fp8", 35136),
        ("Kimi-K2.5", "bf16", 70272),
        ("gpt-oss-120b", "bf16", 36 * 2 * 8 * 64 * 2),
        ("Qwen3.5-397B-A17B", "bf16", 15 * 2 * 2 * 256 * 2),  # 15 of its 60 layers have a cache
        ("GLM-5", "bf16", 78 * (576 * 2 + 128 + 4)),  # and the indexer's fp8 key with its scale
    ],
)
def test_kv_bytes_per_token(name: str, precision: str, expected: float) -> None:
    assert kv_bytes_per_token(catalog.model(name), precision) == expected


def test_latent_is_shared_by_all_heads() -> None:
    spec = catalog.model("DeepSeek-V3")
    halved = tuple(
        replace(group, attention=replace(group.attention, query_heads=64))
        for group in spec.layers
        if isinstance(group.attention, LatentAttention)
    )
    assert kv_bytes_per_token(replace(spec, layers=halved), "bf16") == kv_bytes_per_token(spec, "bf16")
    assert {group.max_shards for group in kv_layout(spec, "bf16")} == {1}


def test_grouped_query_cache_splits_by_kv_head() -> None:
    assert [group.max_shards for group in kv_layout(catalog.model("Llama-3.3-70B"), "fp8")] == [8]


def test_windows_stop_growing() -> None:
    spec = catalog.model("gpt-oss-120b")
    layer = 2 * 8 * 64 * 2
    assert sorted(group.window_tokens or 0 for group in kv_layout(spec, "bf16")) == [0, 128]
    assert [group.count for group in kv_layout(spec, "bf16")] == [18, 18]
    assert kv_bytes_of_sequence(spec, "bf16", 100) == 36 * layer * 100
    assert kv_bytes_of_sequence(spec, "bf16", 10_000) == 18 * layer * (128 + 10_000)


def test_linear_attention_has_a_constant_state() -> None:
    spec = catalog.model("Qwen3.5-397B-A17B")
    recurrent = 64 * 128 * 128 * 4
    convolution = (2 * 16 * 128 + 64 * 128) * 3 * 2
    state = 45 * (recurrent + convolution)
    assert sum(group.state_bytes_per_sequence for group in kv_layout(spec, "bf16")) == state
    assert kv_bytes_of_sequence(spec, "bf16", 1000) == state + 1000 * 30720


@pytest.mark.parametrize("name", catalog.model_names())
def test_bf16_weights_are_two_bytes_a_parameter(name: str) -> None:
    spec = catalog.model(name)
    if spec.native_weights == "bf16":
        assert weight_bytes(spec, "bf16") == 2 * parameter_count(spec)


@pytest.mark.parametrize(
    ("name", "gigabytes", "precision", "citation"),
    [
        ("gpt-oss-120b", 65.25, 0.005, "gpt-oss model card, table 1: checkpoint of 60.8 GiB"),
        ("gpt-oss-20b", 13.76, 0.01, "gpt-oss model card, table 1: checkpoint of 12.8 GiB"),
        ("Kimi-K2.5", 595, 0.01, "Hugging Face: files of 595 GB"),
    ],
)
def test_checkpoint_sizes(name: str, gigabytes: float, precision: float, citation: str) -> None:
    spec = catalog.model(name)
    size = weight_bytes(spec, spec.native_weights) / 1e9
    assert size == pytest.approx(gigabytes, rel=precision), citation


def test_block_scales_are_counted() -> None:
    spec = catalog.model("Llama-3.1-8B")
    matrices = [(4096, 4096), (1024, 4096), (1024, 4096), (4096, 4096)]
    matrices += [(14336, 4096), (14336, 4096), (4096, 14336)]
    elements = 32 * sum(rows * columns for rows, columns in matrices)
    scales = 32 * sum((rows // 128) * (columns // 128) * 4 for rows, columns in matrices)
    rest = 2 * (parameter_count(spec) - elements)
    assert weight_bytes(spec, "fp8_block") == elements + scales + rest
    channel_scales = 32 * 4 * sum(rows for rows, _ in matrices)
    assert weight_bytes(spec, "fp8") == elements + channel_scales + rest
    assert weight_bytes(spec, "fp4") == elements / 2 + elements / 16 + rest
    assert weight_bytes(spec, "int4") == elements / 2 + 2 * elements / 128 + rest


def test_native_checkpoint_says_what_stays_wide() -> None:
    assert component_precision(catalog.model("gpt-oss-120b"), "fp4")["attention"] == "bf16"
    assert component_precision(catalog.model("Kimi-K2.5"), "int4")["shared_experts"] == "bf16"
    assert component_precision(catalog.model("DeepSeek-R1"), "fp8_block")["attention"] == "fp8_block"
    # 4 bits asked of a mixture with another native precision: routed experts only.
    asked = component_precision(catalog.model("DeepSeek-R1"), "fp4")
    assert {name for name, width in asked.items() if width == "fp4"} == {"routed_experts"}


@pytest.mark.parametrize("name", catalog.model_names())
@pytest.mark.parametrize("precision", ["bf16", "fp8", "fp8_block", "fp4", "int4"])
def test_tables_router_and_norms_stay_in_bf16(name: str, precision: str) -> None:
    spec = catalog.model(name)
    narrow, wide = weight_breakdown(spec, precision), weight_breakdown(spec, "bf16")
    for component in ("embedding", "lm_head", "router", "norms"):
        assert narrow[component] == wide[component]
    assert sum(narrow.values()) == weight_bytes(spec, precision) <= weight_bytes(spec, "bf16")
