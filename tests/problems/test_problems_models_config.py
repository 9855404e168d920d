"""Reading configs: the families' peculiarities, and refusals that name file, key, rule and remedy."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest

from llmopt_problems import catalog
from llmopt_problems.errors import ProblemError
from llmopt_problems.models.config import model_from_config
from llmopt_problems.models.facts import parameter_count
from llmopt_problems.models.families import FAMILIES
from llmopt_problems.models.spec import GroupedQueryAttention, LatentAttention, LinearAttention, MoeFfn

LLAMA: dict[str, object] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 100,
    "max_position_embeddings": 512,
}
MIXTRAL = {**LLAMA, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}


def test_a_file_and_its_content_agree(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA))
    assert model_from_config(path, "m") == model_from_config(LLAMA, "m")
    assert model_from_config(path).name == tmp_path.name


@pytest.mark.parametrize("key", ["num_experts", "num_local_experts", "n_routed_experts"])
def test_the_three_names_of_the_expert_count(key: str) -> None:
    config = {k: v for k, v in MIXTRAL.items() if k != "num_local_experts"} | {key: 4}
    assert model_from_config(config) == model_from_config(MIXTRAL)


def test_dense_first_layers_and_shared_experts() -> None:
    spec = catalog.model("DeepSeek-R1")
    assert [(group.count, isinstance(group.ffn, MoeFfn)) for group in spec.layers] == [(3, False), (58, True)]
    assert spec.layers[1].ffn.shared_intermediate == 2048


def test_hybrid_layers_with_and_without_layer_types() -> None:
    raw = json.loads(Path(catalog.__file__).parent.joinpath("models/Qwen3.5-397B-A17B.json").read_text())
    spec = catalog.model("Qwen3.5-397B-A17B")
    kinds = {type(group.attention): group.count for group in spec.layers}
    assert kinds == {LinearAttention: 45, GroupedQueryAttention: 15}
    del raw["text_config"]["layer_types"]
    assert model_from_config(raw, spec.name) == spec


def test_shared_indexers_have_no_weights_of_their_own() -> None:
    raw = json.loads(Path(catalog.__file__).parent.joinpath("models/GLM-5.json").read_text())
    types = ["full"] * 3 + ["shared", "shared", "shared", "full"] * 18 + ["shared"] * 3
    shared = model_from_config(raw | {"indexer_types": types})
    indexer = 32 * 128 * 2048 + 128 * 6144 + 32 * 6144 + 2 * 128
    assert (
        parameter_count(catalog.model("GLM-5")) - parameter_count(shared) == types.count("shared") * indexer
    )
    assert all(
        group.attention.indexer_top_tokens == 2048
        for group in shared.layers
        if isinstance(group.attention, LatentAttention)
    )


def test_windows_by_max_window_layers() -> None:
    config = LLAMA | {"model_type": "qwen3", "sliding_window": 32, "max_window_layers": 1}
    groups = model_from_config(config | {"use_sliding_window": True}).layers
    assert [group.attention.window_tokens for group in groups] == [None, 32]
    groups = model_from_config(config | {"use_sliding_window": False}).layers
    assert [group.attention.window_tokens for group in groups] == [None]


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, ("fp8_block", None, ())),
        ({"quant_method": "fp8"}, ("fp8", None, ())),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, ("fp8", None, ())),
        ({"quant_algo": "NVFP4", "exclude_modules": ["m.0.self_attn*"]}, ("fp4", 16, ("attention",))),
        ({"quant_algo": "NVFP4", "exclude_modules": ["m.0.self_attn.indexer*"]}, ("fp4", 16, ())),
        ({"quant_method": "mxfp4"}, ("fp4", 32, ())),
        ({"quant_method": "awq", "bits": 4, "group_size": 64}, ("int4", 64, ())),
    ],
)
def test_native_precision(quantization: dict[str, object], expected: tuple[object, ...]) -> None:
    spec = model_from_config(LLAMA | {"quantization_config": quantization})
    assert (spec.native_weights, spec.native_group, spec.native_unquantized) == expected


def test_quantization_in_a_file_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "FP8"}}))
    assert model_from_config(tmp_path / "config.json").native_weights == "fp8"


@pytest.mark.parametrize(
    ("change", "key", "rule"),
    [
        ({"model_type": "mamba"}, "model_type", "known-architecture"),
        ({"model_type": None}, "model_type", "known-architecture"),
        ({"num_attention_heads": None}, "num_attention_heads", "positive-integer"),
        ({"num_attention_heads": 0}, "num_attention_heads", "positive-integer"),
        ({"num_attention_heads": True}, "num_attention_heads", "positive-integer"),
        ({"hidden_size": "64"}, "hidden_size", "positive-integer"),
        ({"num_key_value_heads": 3}, "num_key_value_heads", "heads-divide"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers", "layer-count"),
        ({"layer_types": ["full_attention"]}, "layer_types", "one-entry-a-layer"),
        ({"layer_types": ["full_attention", "chunked"]}, "layer_types", "known-layer-type"),
        ({"layer_types": [["x"], {}]}, "layer_types", "known-layer-type"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings", "boolean"),
        ({"quantization_config": 8}, "quantization_config", "section"),
        (
            {"quantization_config": {"quant_method": "exl2"}},
            "quantization_config.quant_method",
            "known-quantization",
        ),
        (
            {"quantization_config": {"quant_method": "fp8", "weight_block_size": [64, 64]}},
            "quantization_config.weight_block_size",
            "known-quantization",
        ),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 3, "group_size": 64}},
            "quantization_config.bits",
            "known-quantization",
        ),
    ],
)
def test_unusable_configs_are_refused(change: dict[str, object], key: str, rule: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA | change))
    with pytest.raises(ProblemError) as caught:
        model_from_config(path)
    fault = caught.value.faults[0]
    assert (fault.file, fault.key, fault.rule) == (str(path), key, rule)
    assert fault.remedy


def test_a_token_cannot_pass_more_experts_than_there_are() -> None:
    with pytest.raises(ProblemError, match="num_experts_per_tok"):
        model_from_config(MIXTRAL | {"num_experts_per_tok": 5})


@pytest.mark.parametrize("text", ["", "{", "[1]", "\ud800".encode("utf-8", "surrogatepass"), "[" * 100_000])
def test_files_that_are_no_config(text: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ProblemError) as caught:
        model_from_config(path)
    assert caught.value.file == str(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="cannot be read"):
        model_from_config(tmp_path / "absent.json")


@pytest.mark.parametrize("name", catalog.model_names())
def test_catalog_names_aliases_and_sources(name: str) -> None:
    raw = json.loads(Path(catalog.__file__).parent.joinpath(f"models/{name}.json").read_text())
    assert "http" in catalog.model_source(name) or "arXiv" in catalog.model_source(name)
    for alias in (name, *raw["_aliases"]):
        assert catalog.model(alias.upper()).name == name


def test_an_unknown_model_is_answered_with_near_names() -> None:
    with pytest.raises(ProblemError, match=r"did you mean Llama-3\.3-70B.*llmopt catalog"):
        catalog.model("Lama-3.3-70B")


def _corpus() -> Path | None:
    """Folder of the published configs of aiconfigurator-core, when it is at hand."""
    given = os.environ.get("LLMOPT_AICONFIGURATOR")
    found = importlib.util.find_spec("aiconfigurator_core")
    root = Path(given) if given else Path(found.origin).parent if found and found.origin else None
    return next((p for p in root.rglob("model_configs") if p.is_dir()), None) if root else None


CORPUS = _corpus()


@pytest.mark.skipif(CORPUS is None, reason="set LLMOPT_AICONFIGURATOR or install aiconfigurator_core")
def test_published_configs_are_read_or_refused_by_name() -> None:
    assert CORPUS is not None
    paths = [path for path in sorted(CORPUS.glob("*_config.json")) if "hf_quant" not in path.name]
    outcomes = {path: _outcome(path) for path in paths}
    counts = [outcome for outcome in outcomes.values() if isinstance(outcome, int)]
    assert len(counts) >= 55
    assert min(counts) > 5e8
    for path, outcome in outcomes.items():
        values = json.loads(path.read_text())
        if values.get("text_config", values).get("model_type") in FAMILIES:
            assert isinstance(outcome, int) or outcome == "known-quantization", path.name
        else:
            assert outcome == "known-architecture", path.name


def _outcome(path: Path) -> int | str:
    """Parameters of the config, or the rule by which it was refused."""
    try:
        return parameter_count(model_from_config(path))
    except ProblemError as error:
        return error.rule
