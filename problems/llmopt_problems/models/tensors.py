"""A model as the list of its weight tensors, read off the widths of its `ModelSpec`.

A `Tensor` is one matrix or vector shape with the number of copies that the model holds and the number
that one token passes. Every static fact (parameters, active parameters, bytes in a precision, shares by
component or by layer group) is a sum over this list, so there is one place where an architecture is
spelled out and the facts cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from llmopt_problems.models.spec import (
    Component,
    DenseFfn,
    GroupedQueryAttention,
    LatentAttention,
    LayerGroup,
    LinearAttention,
    ModelSpec,
    MoeFfn,
)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A weight of shape [rows, columns] (output by input features), held `copies` times."""

    component: Component
    rows: int
    columns: int = 1
    copies: int = 1
    active_copies: int | None = None
    """Copies that one token passes; None for all of them."""
    group: int | None = None
    """Index of its layer group in `ModelSpec.layers`; None for embedding, head and final norm."""
    quantizable: bool = False
    """A projection that quantised checkpoints may narrow; norms, routers and biases never are."""

    @property
    def parameters(self) -> int:
        """Elements of all copies."""
        return self.rows * self.columns * self.copies

    @property
    def active_parameters(self) -> int:
        """Elements that one token passes."""
        active = self.copies if self.active_copies is None else self.active_copies
        return self.rows * self.columns * active


@cache
def tensors(spec: ModelSpec) -> tuple[Tensor, ...]:
    """All weight tensors of the language model (no vision tower, no draft layers)."""
    return (*_outer_tensors(spec), *(t for i in range(len(spec.layers)) for t in _group_tensors(spec, i)))


def _outer_tensors(spec: ModelSpec) -> Iterator[Tensor]:
    yield Tensor("embedding", spec.vocabulary, spec.hidden)
    if spec.learned_positions:
        yield Tensor("embedding", spec.learned_positions, spec.hidden)
    yield Tensor("norms", spec.hidden, copies=_norm_copies(spec))
    if not spec.tied_embeddings:
        yield Tensor("lm_head", spec.vocabulary, spec.hidden)


def _norm_copies(spec: ModelSpec) -> int:
    return 2 if spec.norm_bias else 1


def _group_tensors(spec: ModelSpec, index: int) -> Iterator[Tensor]:
    group = spec.layers[index]
    for tensor in _layer_tensors(spec, group):
        active = tensor.copies if tensor.active_copies is None else tensor.active_copies
        yield replace(
            tensor, group=index, copies=tensor.copies * group.count, active_copies=active * group.count
        )


def _layer_tensors(spec: ModelSpec, group: LayerGroup) -> Iterator[Tensor]:
    yield Tensor("norms", spec.hidden, copies=spec.norms_per_layer * _norm_copies(spec))
    match group.attention:
        case GroupedQueryAttention():
            yield from _grouped_query(spec.hidden, group.attention)
        case LatentAttention():
            yield from _latent(spec.hidden, group.attention)
        case LinearAttention():
            yield from _linear(spec.hidden, group.attention)
    match group.ffn:
        case DenseFfn():
            yield from _dense(spec.hidden, group.ffn)
        case MoeFfn():
            yield from _moe(spec.hidden, group.ffn)


def _projection(component: Component, rows: int, columns: int, bias: bool = False) -> Iterator[Tensor]:
    yield Tensor(component, rows, columns, quantizable=True)
    if bias:
        yield Tensor(component, rows)


def _grouped_query(hidden: int, a: GroupedQueryAttention) -> Iterator[Tensor]:
    query = a.query_heads * a.head_dim
    yield from _projection("attention", query * (2 if a.output_gate else 1), hidden, a.qkv_bias)
    yield from _projection("attention", a.kv_heads * a.head_dim, hidden, a.qkv_bias)
    yield from _projection("attention", a.kv_heads * a.value_head_dim, hidden, a.qkv_bias)
    yield from _projection("attention", hidden, a.query_heads * a.value_head_dim, a.output_bias)
    if a.qk_norm:
        heads = a.query_heads + a.kv_heads if a.qk_norm_all_heads else 2
        yield Tensor("norms", heads * a.head_dim)
    if a.sinks:
        yield Tensor("attention", a.query_heads)


def _latent(hidden: int, a: LatentAttention) -> Iterator[Tensor]:
    query = a.query_heads * (a.nope_head_dim + a.rope_head_dim)
    if a.q_lora_rank is None:
        yield from _projection("attention", query, hidden)
    else:
        yield from _projection("attention", a.q_lora_rank, hidden)
        yield from _projection("attention", query, a.q_lora_rank)
        yield Tensor("norms", a.q_lora_rank)
    yield from _projection("attention", a.kv_lora_rank + a.rope_head_dim, hidden)
    yield from _projection("attention", a.query_heads * (a.nope_head_dim + a.value_head_dim), a.kv_lora_rank)
    yield Tensor("norms", a.kv_lora_rank)
    yield from _projection("attention", hidden, a.query_heads * a.value_head_dim)
    if a.indexer_heads:
        yield from _indexer(hidden, a)


def _indexer(hidden: int, a: LatentAttention) -> Iterator[Tensor]:
    """Lightning indexer of DeepSeek-V3.2: query from the query latent, one shared key, a weight a head."""
    yield from _projection("attention", a.indexer_heads * a.indexer_head_dim, a.q_lora_rank or hidden)
    yield from _projection("attention", a.indexer_head_dim, hidden)
    yield Tensor("attention", a.indexer_heads, hidden)
    yield Tensor("norms", a.indexer_head_dim, copies=2)


def _linear(hidden: int, a: LinearAttention) -> Iterator[Tensor]:
    """Gated DeltaNet as in Qwen3-Next: q, k, v; gate z; a and b a head; a short depth-wise convolution."""
    key, value = a.key_heads * a.key_head_dim, a.value_heads * a.value_head_dim
    yield from _projection("attention", 2 * key + value, hidden)
    yield from _projection("attention", value, hidden)
    yield Tensor("attention", 2 * a.value_heads, hidden)
    yield Tensor("attention", 2 * key + value, a.conv_kernel)
    yield Tensor("attention", 2 * a.value_heads)
    yield Tensor("norms", a.value_head_dim)
    yield from _projection("attention", hidden, value)


def _block(component: Component, hidden: int, width: int, gated: bool, bias: bool) -> Iterator[Tensor]:
    for _ in range(2 if gated else 1):
        yield from _projection(component, width, hidden, bias)
    yield from _projection(component, hidden, width, bias)


def _dense(hidden: int, ffn: DenseFfn) -> Iterator[Tensor]:
    yield from _block("dense_ffn", hidden, ffn.intermediate, ffn.gated, ffn.bias)


def _moe(hidden: int, ffn: MoeFfn) -> Iterator[Tensor]:
    yield Tensor("router", ffn.experts, hidden)
    if ffn.router_bias:
        yield Tensor("router", ffn.experts)
    for tensor in _block("routed_experts", hidden, ffn.expert_intermediate, ffn.gated, ffn.expert_bias):
        yield replace(tensor, copies=ffn.experts, active_copies=ffn.experts_per_token)
    if ffn.shared_intermediate:
        yield from _block("shared_experts", hidden, ffn.shared_intermediate, ffn.gated, False)
    if ffn.shared_gate:
        yield Tensor("router", 1, hidden)
