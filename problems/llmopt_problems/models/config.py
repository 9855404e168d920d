"""A Hugging Face `config.json` becomes a `ModelSpec`.

The config's `model_type` names the family (`families.py`), which gives the blocks of every layer; equal
layers are then gathered into groups. Multimodal configs are read at their `text_config`: the language model
is what llmopt plans for. An architecture that llmopt does not know is refused, never approximated.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from llmopt_problems.errors import Fault, ProblemError
from llmopt_problems.models.families import FAMILIES, Layer
from llmopt_problems.models.quantization import read_quantization
from llmopt_problems.models.reader import ConfigReader
from llmopt_problems.models.spec import GroupedQueryAttention, LayerGroup, LinearAttention, ModelSpec, MoeFfn

_LARGEST_CONFIG_BYTES = 4_000_000


def model_from_config(config: Mapping[str, object] | str | Path, name: str | None = None) -> ModelSpec:
    """The `ModelSpec` of a Hugging Face config, given as a mapping or as the path of its `config.json`.

    `name` defaults to the path's folder or to `config.json`. Raises `ProblemError` with file, key, rule and
    remedy when the file cannot be read, the architecture is unknown or a key is missing or unusable.
    """
    if isinstance(config, Mapping):
        return _spec(_text_reader(config, name or "config.json"), name or "config.json")
    path = Path(config)
    values = {**_neighbour_quantization(path), **_read_json(path)}
    return _spec(_text_reader(values, str(path)), name or path.resolve().parent.name)


def _neighbour_quantization(path: Path) -> Mapping[str, object]:
    """The quantisation that NVIDIA's ModelOpt writes into a file beside `config.json`, if there is one."""
    beside = path.with_name("hf_quant_config.json")
    return {"quantization_config": _read_json(beside).get("quantization")} if beside.is_file() else {}


def _read_json(path: Path) -> Mapping[str, object]:
    try:
        if path.stat().st_size > _LARGEST_CONFIG_BYTES:
            raise _file_error(path, "too large for a model config", "config-size")
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _file_error(path, f"cannot be read: {error.strerror}", "config-readable") from error
    except ValueError as error:  # json.JSONDecodeError and UnicodeDecodeError
        raise _file_error(path, f"is not JSON: {error}", "config-json") from error
    except RecursionError as error:
        raise _file_error(path, "is nested too deeply", "config-json") from error
    if not isinstance(values, dict):
        raise _file_error(path, "is not a JSON object", "config-json")
    return values


def _file_error(path: Path, what: str, rule: str) -> ProblemError:
    remedy = "give the path of a Hugging Face config.json"
    return ProblemError(Fault(f"model config {what}", rule, remedy, file=str(path)))


def _text_reader(values: Mapping[str, object], file: str) -> ConfigReader:
    """Reader of the language model's keys; keys of the multimodal wrapper fill what its text config lacks."""
    nested = ConfigReader(file, values).section("text_config")
    if nested is None:
        return ConfigReader(file, values)
    outer = {key: values[key] for key in ("quantization_config", "tie_word_embeddings") if key in values}
    return ConfigReader(file, {**outer, **nested.values})


def _spec(config: ConfigReader, name: str) -> ModelSpec:
    kind = config.text("model_type")
    if kind is None or kind not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise config.error("model_type", kind, "known-architecture", f"use a model of a known type: {known}")
    config.integer("num_attention_heads", "n_head")
    groups = _group(FAMILIES[kind](config))
    _check(config, groups)
    quantization = read_quantization(config)
    classic = kind == "gpt2"  # LayerNorm with bias, learned positions, tied table: the GPT-2 and GPT-3 papers
    context = config.integer("max_position_embeddings", "n_positions")
    return ModelSpec(
        name=name,
        hidden=config.integer("hidden_size", "n_embd"),
        vocabulary=config.integer("vocab_size"),
        layers=groups,
        tied_embeddings=config.flag("tie_word_embeddings", classic),
        max_context_tokens=context,
        norm_bias=classic,
        learned_positions=context if classic else 0,
        native_weights=quantization.weights,
        native_group=quantization.group,
        native_unquantized=quantization.unquantized,
    )


def _group(layers: list[Layer]) -> tuple[LayerGroup, ...]:
    """Equal layers together, in the order of their first appearance."""
    return tuple(LayerGroup(count, attention, ffn) for (attention, ffn), count in Counter(layers).items())


def _check(config: ConfigReader, groups: tuple[LayerGroup, ...]) -> None:
    """Facts that every attention kernel needs; a config that breaks them is a typing error."""
    for group in groups:
        match group.attention:
            case GroupedQueryAttention(query_heads=query, kv_heads=kv) if query % kv:
                remedy = "num_key_value_heads must divide num_attention_heads"
                raise config.error("num_key_value_heads", kv, "heads-divide", remedy)
            case LinearAttention(value_heads=value, key_heads=key) if value % key:
                remedy = "linear_num_key_heads must divide linear_num_value_heads"
                raise config.error("linear_num_key_heads", key, "heads-divide", remedy)
        if not isinstance(group.ffn, MoeFfn) or group.ffn.experts_per_token <= group.ffn.experts:
            continue
        remedy = "num_experts_per_tok may not exceed the number of experts"
        raise config.error("num_experts_per_tok", group.ffn.experts_per_token, "experts-per-token", remedy)
