"""The precision of a published checkpoint, read from `quantization_config` of its `config.json`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from llmopt_problems.errors import ProblemError
from llmopt_problems.models.reader import ConfigReader
from llmopt_problems.models.spec import Component, WeightPrecision

_MXFP4_GROUP = 32  # OCP Microscaling Formats v1.0, table 1: one E8M0 scale for 32 elements
# Norms, scalar projections and indexers that checkpoints also list do not keep the whole component.
_COMPONENT_PATTERNS: tuple[tuple[str, Component], ...] = (
    (r"attn(\.?\*|\.\w+_proj\b\S*|$)", "attention"),
    (r"shared_expert(?!_gate)", "shared_experts"),
    (r"mlp\S*(gate_proj|up_proj|down_proj|\)_proj)", "dense_ffn"),
)


@dataclass(frozen=True, slots=True)
class Quantization:
    """Weight precision of a checkpoint, its scale group, and the components it keeps in bf16."""

    weights: WeightPrecision = "bf16"
    group: int | None = None
    unquantized: tuple[Component, ...] = ()


def read_quantization(config: ConfigReader) -> Quantization:
    """The checkpoint's precision; bf16 without a `quantization_config`.

    Raises `ProblemError` for a method that llmopt does not know, and for mixed precisions.
    """
    section = config.section("quantization_config")
    if section is None:
        return Quantization()
    method, algorithm = section.text("quant_method"), section.text("quant_algo")
    kept = _unquantized(section)
    match algorithm or method:
        case "FP8":
            return Quantization("fp8", None, kept)
        case "NVFP4":
            return Quantization("fp4", section.integer("group_size", default=16), kept)
        case "fp8":
            return Quantization(_fp8(section), None, kept)
        case "mxfp4":
            return Quantization("fp4", _MXFP4_GROUP, kept)
        case "awq" | "gptq":
            return _four_bits(section, "bits", kept)
        case "compressed-tensors":
            return _compressed_tensors(section, kept)
        case other:
            raise _unknown(section, "quant_method", other, "this method is not known")


def _fp8(section: ConfigReader) -> WeightPrecision:
    block = section.get("weight_block_size")
    if block is None:
        return "fp8"
    if block != [128, 128]:
        raise _unknown(section, "weight_block_size", block, "only blocks of 128 x 128 are known")
    return "fp8_block"


def _four_bits(section: ConfigReader, bits_key: str, kept: tuple[Component, ...]) -> Quantization:
    bits = section.integer(bits_key)
    if bits != 4:
        raise _unknown(section, bits_key, bits, "only 4-bit integers are known")
    return Quantization("int4", section.integer("group_size"), kept)


def _compressed_tensors(section: ConfigReader, kept: tuple[Component, ...]) -> Quantization:
    groups = section.section("config_groups")
    if groups is None or len(groups.values) != 1:
        raise _unknown(section, "config_groups", groups and sorted(groups.values), "only one group is known")
    group = groups.section(next(iter(groups.values)))
    weights = group and group.section("weights")
    if weights is None:
        raise _unknown(section, "config_groups", None, "its group has no section `weights`")
    if weights.text("type") != "float":
        return _four_bits(weights, "num_bits", kept)
    if weights.integer("num_bits") != 8:
        raise _unknown(weights, "num_bits", weights.get("num_bits"), "only 8-bit floats are known")
    return Quantization("fp8_block" if weights.text("strategy") == "block" else "fp8", None, kept)


def _unknown(section: ConfigReader, key: str, value: object, reason: str) -> ProblemError:
    remedy = f"{reason}; remove quantization_config from the file and state `weights:` in the problem"
    return section.error(f"quantization_config.{key}", value, "known-quantization", remedy)


def _unquantized(section: ConfigReader) -> tuple[Component, ...]:
    """Components that the checkpoint's exclusion list names; a component with one excluded matrix counts."""
    patterns = section.get("modules_to_not_convert", "ignore", "exclude_modules")
    names = [str(name) for name in patterns] if isinstance(patterns, Iterable) else []
    return tuple(
        component
        for pattern, component in _COMPONENT_PATTERNS
        if any(re.search(pattern, name) and "indexer" not in name for name in names)
    )
