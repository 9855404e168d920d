"""Parameter counts against published ones, and against formulas written out here by hand."""

from __future__ import annotations

import pytest

from llmopt_problems import catalog
from llmopt_problems.models.facts import active_parameter_count, parameter_breakdown, parameter_count

HUB = "safetensors parameter count shown on the model's Hugging Face page"

# (model, published parameters, citation): the hub's counts are exact, so equality is asked of them.
EXACT = [
    ("Llama-3.1-8B", 8_030_261_248, HUB),
    ("Llama-3.3-70B", 70_553_706_496, HUB),
    ("Llama-2-7B", 6_738_415_616, HUB),
    ("Llama-2-13B", 13_015_864_320, HUB),
    ("Llama-2-70B", 68_976_648_192, HUB),
    ("Qwen3-8B", 8_190_735_360, HUB),
    ("Qwen3-32B", 32_762_123_264, HUB),
    ("Qwen3-30B-A3B", 30_532_122_624, HUB),
    ("Qwen3-235B-A22B", 235_093_634_560, HUB),
    ("Mixtral-8x7B", 46_702_792_704, HUB),
]

# (model, published billions, relative precision of the published figure, citation)
TOTAL = [
    ("Llama-3.1-8B", 8.03, 0.01, HUB),
    ("Llama-3.3-70B", 70.55, 0.01, HUB),
    ("Llama-3.1-405B", 405.0, 0.01, "The Llama 3 Herd of Models (arXiv:2407.21783), table 3"),
    ("Llama-2-7B", 6.74, 0.01, HUB),
    ("Llama-2-13B", 13.02, 0.01, HUB),
    ("Llama-2-70B", 68.98, 0.01, HUB),
    ("CodeLlama-34B", 33.7, 0.01, "Hugging Face page: 33.7B"),
    ("GPT-3-175B", 174.6, 0.01, "arXiv:2005.14165, table D.1: 174,600 million parameters"),
    ("Qwen3-32B", 32.76, 0.01, "model card: 32.8B"),
    ("Qwen3-30B-A3B", 30.5, 0.01, "model card: 30.5B"),
    ("Qwen3-235B-A22B", 235.0, 0.01, "model card: 235B"),
    ("Mixtral-8x7B", 46.7, 0.01, "Mistral AI, Mixtral of experts, 2023-12-11: 46.7B"),
    ("DeepSeek-V3", 671.0, 0.01, "arXiv:2412.19437: 671B, without the 14B of the MTP module"),
    ("DeepSeek-R1", 671.0, 0.01, "arXiv:2501.12948 and model card: 671B"),
    ("DeepSeek-V3.2", 671.0, 0.01, "model card: DeepSeek-V3 with an indexer a layer, the same 671B"),
    ("gpt-oss-120b", 116.83, 0.01, "gpt-oss model card (arXiv:2508.10925), table 1"),
    ("gpt-oss-20b", 20.91, 0.01, "gpt-oss model card (arXiv:2508.10925), table 1"),
    ("MiniMax-M2.5", 229.0, 0.01, "Hugging Face page: 229B; the card rounds to 230B"),
    ("GLM-5", 744.0, 0.01, "GLM-5 technical report (arXiv:2602.15763): 744B"),
    ("Qwen3.5-397B-A17B", 397.0, 0.01, "model card: 397B; ours has no vision tower and no MTP layer"),
    # The widths of Kimi-K2's config give 1.026T; its report rounds to 1.04T and its card to 1T: 1.5% and 5%.
    ("Kimi-K2", 1040.0, 0.015, "Kimi K2 technical report (arXiv:2507.20534): 1.04T"),
    ("Kimi-K2.5", 1000.0, 0.05, "model card: 1T, vision tower included"),
]

# (model, published active billions, embedding table counted?, precision, citation)
ACTIVE = [
    ("Mixtral-8x7B", 12.88, True, 0.01, "Mistral AI, Mixtral of experts: 12.9B a token"),
    ("Qwen3-235B-A22B", 22.0, True, 0.01, "model card: 22B"),
    ("Qwen3-30B-A3B", 3.3, True, 0.02, "model card: 3.3B, two digits"),
    # The report's 37B is rounded; with the embedding table the sum is 37.55B.
    ("DeepSeek-V3", 36.6, False, 0.01, "README_WEIGHTS.md: 36.6B, with 0.9B for the output head"),
    ("DeepSeek-R1", 37.0, True, 0.016, "arXiv:2501.12948: 37B"),
    ("gpt-oss-120b", 5.13, False, 0.01, "gpt-oss model card, table 1: counts the head, not the embedding"),
    ("gpt-oss-20b", 3.61, False, 0.01, "gpt-oss model card, table 1: counts the head, not the embedding"),
    # Cards round the following to whole billions (10, 32, 40, 17): half a billion either way, or as said.
    ("MiniMax-M2.5", 10.0, False, 0.05, "model card: 10B"),
    ("Kimi-K2.5", 32.0, False, 0.016, "Kimi K2 technical report: 32B"),
    ("GLM-5", 40.0, False, 0.025, "GLM-5 technical report: 40B"),
    ("Qwen3.5-397B-A17B", 17.0, True, 0.03, "model card: 17B"),
]


@pytest.mark.parametrize(("name", "published", "citation"), EXACT)
def test_counts_equal_the_hubs(name: str, published: int, citation: str) -> None:
    assert parameter_count(catalog.model(name)) == published, citation


@pytest.mark.parametrize(("name", "billions", "precision", "citation"), TOTAL)
def test_totals_agree_with_publications(name: str, billions: float, precision: float, citation: str) -> None:
    count = parameter_count(catalog.model(name)) / 1e9
    assert count == pytest.approx(billions, rel=precision), citation


@pytest.mark.parametrize(("name", "billions", "embedding", "precision", "citation"), ACTIVE)
def test_active_counts_agree_with_publications(
    name: str, billions: float, embedding: bool, precision: float, citation: str
) -> None:
    count = active_parameter_count(catalog.model(name), embedding) / 1e9
    assert count == pytest.approx(billions, rel=precision), citation


@pytest.mark.parametrize("name", catalog.model_names())
def test_every_catalog_model_has_a_published_count(name: str) -> None:
    aliases_of_tested = {"Llama-3.1-70B": "Llama-3.3-70B"}
    tested = {entry[0] for entry in (*EXACT, *TOTAL)}
    assert aliases_of_tested.get(name, name) in tested


def test_deepseek_v3_matches_its_formula() -> None:
    hidden, heads, layers, dense = 7168, 128, 61, 3
    attention = (
        hidden * 1536
        + 1536 * heads * (128 + 64)
        + hidden * (512 + 64)
        + 512 * heads * (128 + 128)
        + heads * 128 * hidden
    )
    norms = 2 * hidden + 1536 + 512
    expert = 3 * hidden * 2048
    mixture = 257 * expert + 256 * hidden + 256
    expected = (
        layers * (attention + norms)
        + dense * 3 * hidden * 18432
        + (layers - dense) * mixture
        + 2 * 129280 * hidden
        + hidden
    )
    assert parameter_count(catalog.model("DeepSeek-V3")) == expected


def test_gpt_oss_matches_its_formula() -> None:
    hidden, query, kv, experts = 2880, 64 * 64, 8 * 64, 128
    attention = hidden * (query + 2 * kv) + query + 2 * kv + query * hidden + hidden + 64
    expert = 3 * hidden * hidden + 3 * hidden
    layer = attention + 2 * hidden + experts * (hidden + 1) + experts * expert
    expected = 36 * layer + 2 * 201088 * hidden + hidden
    assert parameter_count(catalog.model("gpt-oss-120b")) == expected


def test_qwen3_5_matches_its_formula() -> None:
    hidden = 4096
    key, value = 16 * 128, 64 * 128
    linear = hidden * (2 * key + 2 * value + 2 * 64) + (2 * key + value) * 4 + 2 * 64 + 128 + value * hidden
    full = hidden * (2 * 32 * 256 + 2 * 2 * 256) + 32 * 256 * hidden + 2 * 256
    mixture = 513 * 3 * hidden * 1024 + 512 * hidden + hidden
    expected = 45 * linear + 15 * full + 60 * (mixture + 2 * hidden) + 2 * 248320 * hidden + hidden
    assert parameter_count(catalog.model("Qwen3.5-397B-A17B")) == expected


@pytest.mark.parametrize("name", catalog.model_names())
def test_breakdowns_add_up(name: str) -> None:
    spec = catalog.model(name)
    whole = parameter_breakdown(spec)
    groups = [parameter_breakdown(spec, index) for index in range(len(spec.layers))]
    assert sum(whole.values()) == parameter_count(spec)
    for component in ("attention", "dense_ffn", "routed_experts", "shared_experts", "router"):
        assert whole[component] == sum(group[component] for group in groups)
    assert whole["embedding"] >= spec.vocabulary * spec.hidden
    assert active_parameter_count(spec) <= parameter_count(spec)
