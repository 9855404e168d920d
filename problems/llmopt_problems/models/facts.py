"""Static facts of a model: parameters, weight bytes and KV bytes, derived from its `ModelSpec`.

Weights are sums over `tensors(spec)`; the KV cache is a `KvGroup` a layer group, which says what one
token costs, how far back a layer keeps it, what a sequence costs whatever its length, and over how many
tensor-parallel ranks it can be split. Nothing here knows about parallel layouts: dividing is calibration's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import get_args

from llmopt_problems.models.spec import (
    Attention,
    Component,
    GroupedQueryAttention,
    KvPrecision,
    LatentAttention,
    LinearAttention,
    ModelSpec,
    MoeFfn,
    WeightPrecision,
)
from llmopt_problems.models.tensors import Tensor, tensors

COMPONENTS: tuple[Component, ...] = get_args(Component)

_BF16_BYTES = 2.0
_KV_ELEMENT_BYTES: Mapping[KvPrecision, float] = {"bf16": 2.0, "fp8": 1.0}
_ELEMENT_BYTES: Mapping[WeightPrecision, float] = {
    "bf16": 2.0,
    "fp8": 1.0,
    "fp8_block": 1.0,
    "fp4": 0.5,
    "int4": 0.5,
}
_FP8_BLOCK = 128
"""DeepSeek-V3 report, section 3.3.2: one float32 scale a block of 128 x 128 weights."""
_NVFP4_GROUP = 16
"""NVFP4: one fp8 scale for 16 elements; MXFP4 (OCP MX v1.0) has 32, which the config states."""
_INT4_GROUP = 128
"""GPTQ and AWQ checkpoints: one 16-bit scale for 128 elements of a row, unless the config says otherwise."""


def parameter_count(spec: ModelSpec) -> int:
    """Parameters of the language model, without vision tower and draft (MTP) layers."""
    return sum(tensor.parameters for tensor in tensors(spec))


def active_parameter_count(spec: ModelSpec, count_embedding: bool = True) -> int:
    """Parameters that one token passes: all but the routed experts that were not chosen.

    Publications differ on the embedding table, which is looked up and not multiplied: most count it,
    the gpt-oss model card does not. A tied table is the output head too and always counts.
    """
    skipped = set() if count_embedding or spec.tied_embeddings else {"embedding"}
    return sum(t.active_parameters for t in tensors(spec) if t.component not in skipped)


def parameter_breakdown(spec: ModelSpec, group: int | None = None) -> dict[Component, int]:
    """Parameters by component; of one layer group when its index in `spec.layers` is given."""
    result = dict.fromkeys(COMPONENTS, 0)
    for tensor in _chosen(spec, group):
        result[tensor.component] += tensor.parameters
    return result


def weight_bytes(spec: ModelSpec, precision: WeightPrecision) -> float:
    """Bytes of all weights with their quantisation scales, one copy of the model.

    `component_precision` says which components `precision` narrows; the others stay in bf16.
    """
    return sum(weight_breakdown(spec, precision).values())


def weight_breakdown(
    spec: ModelSpec, precision: WeightPrecision, group: int | None = None
) -> dict[Component, float]:
    """Bytes by component, scales included; of one layer group when its index is given."""
    widths = component_precision(spec, precision)
    scale_group = _group_size(spec, precision)
    result = dict.fromkeys(COMPONENTS, 0.0)
    for tensor in _chosen(spec, group):
        result[tensor.component] += _tensor_bytes(tensor, widths[tensor.component], scale_group)
    return result


def component_precision(spec: ModelSpec, precision: WeightPrecision) -> dict[Component, WeightPrecision]:
    """Precision of each component's matrices when the model is served in `precision`.

    The published checkpoint decides where `precision` is its own. Otherwise fp8 narrows every projection;
    fp4 and int4 narrow every projection of a dense model but only the routed experts of a mixture, as the
    published 4-bit checkpoints of Kimi-K2.5, gpt-oss, GLM-5.1 and Qwen3.5 do. Embedding, output head,
    router and norms stay in bf16.
    """
    narrowed: set[Component] = {"attention", "dense_ffn", "routed_experts", "shared_experts"}
    if precision == spec.native_weights:
        narrowed -= set(spec.native_unquantized)
    elif precision in ("fp4", "int4") and any(isinstance(g.ffn, MoeFfn) for g in spec.layers):
        narrowed = {"routed_experts"}
    return {component: precision if component in narrowed else "bf16" for component in COMPONENTS}


@dataclass(frozen=True, slots=True)
class KvGroup:
    """The KV cache of one layer group (`count` layers), whole model, not divided by any parallelism."""

    count: int
    bytes_per_token: float
    """Bytes that one token takes in all layers of the group; 0 for linear attention."""
    window_tokens: int | None
    """Tokens that the group keeps a sequence; None for the whole context."""
    state_bytes_per_sequence: float
    """Bytes that a sequence takes whatever its length (linear attention); 0 otherwise."""
    max_shards: int
    """Tensor-parallel ranks that can share it; beyond them it is replicated: KV heads for grouped-query
    attention, key heads for linear attention, 1 for a latent (every rank needs all of it)."""


def kv_layout(spec: ModelSpec, kv_precision: KvPrecision) -> tuple[KvGroup, ...]:
    """The KV cache of each layer group, in the order of `spec.layers`."""
    return tuple(_kv_group(g.count, g.attention, _KV_ELEMENT_BYTES[kv_precision]) for g in spec.layers)


def kv_bytes_per_token(spec: ModelSpec, kv_precision: KvPrecision) -> float:
    """Bytes that one token writes to the KV cache of all layers, windowed layers included."""
    return sum(group.bytes_per_token for group in kv_layout(spec, kv_precision))


def kv_bytes_of_sequence(spec: ModelSpec, kv_precision: KvPrecision, tokens: int) -> float:
    """Bytes that a sequence of `tokens` holds: windows cut off, constant states added."""
    return sum(
        group.bytes_per_token * min(tokens, group.window_tokens or tokens) + group.state_bytes_per_sequence
        for group in kv_layout(spec, kv_precision)
    )


def _kv_group(count: int, attention: Attention, element_bytes: float) -> KvGroup:
    match attention:
        case GroupedQueryAttention(kv_heads=heads, head_dim=key, value_head_dim=value):
            per_token = count * heads * (key + value) * element_bytes
            return KvGroup(count, per_token, attention.window_tokens, 0.0, heads)
        case LatentAttention():
            return KvGroup(count, count * _latent_token_bytes(attention, element_bytes), None, 0.0, 1)
        case LinearAttention():
            return KvGroup(count, 0.0, None, count * _linear_state_bytes(attention), attention.key_heads)


def _latent_token_bytes(a: LatentAttention, element_bytes: float) -> float:
    latent = (a.kv_lora_rank + a.rope_head_dim) * element_bytes
    # The engines keep the indexer's key in fp8, a float32 scale for 128 elements, whatever the KV precision.
    index = a.indexer_head_dim + 4 * ceil(a.indexer_head_dim / _FP8_BLOCK) if a.indexer_heads else 0
    return latent + index


def _linear_state_bytes(a: LinearAttention) -> float:
    recurrent = a.value_heads * a.key_head_dim * a.value_head_dim * a.state_element_bytes
    channels = 2 * a.key_heads * a.key_head_dim + a.value_heads * a.value_head_dim
    return recurrent + channels * (a.conv_kernel - 1) * _BF16_BYTES


def _chosen(spec: ModelSpec, group: int | None) -> Iterable[Tensor]:
    return (tensor for tensor in tensors(spec) if group is None or tensor.group == group)


def _group_size(spec: ModelSpec, precision: WeightPrecision) -> int:
    if precision == spec.native_weights and spec.native_group is not None:
        return spec.native_group
    return _NVFP4_GROUP if precision == "fp4" else _INT4_GROUP


def _tensor_bytes(tensor: Tensor, precision: WeightPrecision, group: int) -> float:
    if not tensor.quantizable or precision == "bf16":
        return tensor.parameters * _BF16_BYTES
    scales = _scale_bytes(tensor.rows, tensor.columns, precision, group)
    return tensor.parameters * _ELEMENT_BYTES[precision] + scales * tensor.copies


def _scale_bytes(rows: int, columns: int, precision: WeightPrecision, group: int) -> float:
    """Bytes of the scales of one [rows, columns] matrix."""
    match precision:
        case "fp8_block":
            return 4.0 * ceil(rows / _FP8_BLOCK) * ceil(columns / _FP8_BLOCK)
        case "fp8":
            return 4.0 * rows
        case "fp4":
            return 1.0 * rows * ceil(columns / group)
        case "int4":
            return 2.0 * rows * ceil(columns / group)
        case "bf16":
            return 0.0
