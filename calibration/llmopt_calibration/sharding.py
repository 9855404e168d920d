"""How weights, caches and activations are divided over the accelerators of a layout.

Equal layers are one kind; the fullest pipeline stage holds `stage_layers` of each. Attention weights are
divided over the ranks of a replica and repeated by every replica; KV heads are repeated where ranks outnumber
them; the latent projections, routers and norms are whole on every rank.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import sympy as sp

from llmopt_calibration.precision import Precision
from llmopt_calibration.step.context import ACTIVATION_BYTES
from llmopt_calibration.step.symbols import SymbolicLayout
from llmopt_problems.models.facts import KvGroup, kv_layout, weight_breakdown
from llmopt_problems.models.spec import (
    Attention,
    Component,
    DenseFfn,
    Ffn,
    GroupedQueryAttention,
    LatentAttention,
    LayerGroup,
    LinearAttention,
    ModelSpec,
    MoeFfn,
)

LayerKey = tuple[Attention, Ffn]

RESIDUAL_COPIES: Final = 4
"""Activations of hidden width alive at once: input, residual, norm output, block output."""
LOGIT_BYTES: Final = 6
"""A logit in bf16 and its float32 copy for sampling."""

EXPERT_CHUNK_TOKENS: Final = 65536
"""Tokens that SGLang's fused experts work on at once (`fused_moe` CHUNK_SIZE, 64 Ki)."""


@dataclass(frozen=True, slots=True)
class LayerKind:
    """Equal layers of a model, wherever they are in it."""

    group: LayerGroup
    """One of its groups; `weights` and `cache` are those of that group."""
    count: int
    same_block: int
    """Layers of the model with the same feed-forward block, this kind's included."""
    weights: Mapping[Component, float]
    cache: KvGroup
    hidden: int

    def layer_bytes(self, part: Component) -> float:
        """Bytes of `part` in one layer."""
        return self.weights[part] / self.group.count

    def stage_layers(self, layers: int, pp: sp.Expr) -> sp.Expr:
        """Layers of the kind in the fullest of `pp` stages of a model with `layers` layers.

        Kinds of attention alternate, so a stage has its share of each; blocks of another kind come in one
        stretch (dense layers first), so a stage may be full of one.
        """
        return self.count * sp.Min(1, sp.ceiling(layers / pp) / self.same_block)


def layer_kinds(model: ModelSpec, precision: Precision) -> tuple[LayerKind, ...]:
    """The kinds of layers of `model`, in order of first appearance."""
    caches = kv_layout(model, precision.kv)
    counts, blocks = Counter[LayerKey](), Counter[Ffn]()
    first: dict[LayerKey, int] = {}
    for index, group in enumerate(model.layers):
        first.setdefault((group.attention, group.ffn), index)
        counts[group.attention, group.ffn] += group.count
        blocks[group.ffn] += group.count
    return tuple(
        LayerKind(
            model.layers[index],
            counts[key],
            blocks[key[1]],
            weight_breakdown(model, precision.weights, index),
            caches[index],
            model.hidden,
        )
        for key, index in first.items()
    )


def sharded_weights(
    model: ModelSpec,
    precision: Precision,
    kinds: Sequence[LayerKind],
    split: SymbolicLayout,
    redundant: int = 0,
) -> dict[Component, sp.Expr]:
    """Bytes of each component on the fullest accelerator, `redundant` copies of experts a layer included."""
    whole = weight_breakdown(model, precision.weights)
    inside = {part: sum(kind.layer_bytes(part) * kind.count for kind in kinds) for part in whole}
    outside = {part: whole[part] - inside[part] for part in whole}
    shards = dict.fromkeys(whole, sp.S.Zero) | _ends(outside, split)
    for kind in kinds:
        layers = kind.stage_layers(model.layer_count, split.pp)
        for part in whole:
            share = _weight_share(part, kind, split)
            if part == "routed_experts" and isinstance(kind.group.ffn, MoeFfn):
                share *= 1 + sp.Rational(redundant, kind.group.ffn.experts)
            shards[part] += layers * kind.layer_bytes(part) * share
    return shards


def _ends(outside: Mapping[Component, float], split: SymbolicLayout) -> dict[Component, sp.Expr]:
    """Embedding, head and final norm; the first and the last stage are different accelerators if pp > 1."""
    embedding, head = outside["embedding"] / split.attention_tp, outside["lm_head"] / split.attention_tp
    several = sp.Min(1, split.pp - 1)
    # The fuller end stage counts: what the two share in size is taken off once.
    return {
        "embedding": embedding - several * sp.Min(embedding, head),
        "lm_head": head,
        "norms": sp.sympify(outside["norms"]),
    }


def _weight_share(part: Component, kind: LayerKind, split: SymbolicLayout) -> sp.Expr:
    """Fraction of one layer's `part` on one accelerator."""
    match part:
        case "attention":
            return _attention_share(kind, split.attention_tp)
        case "dense_ffn" | "routed_experts":
            return 1 / split.tp
        case "shared_experts":
            return split.spread / split.tp
        case _:
            return sp.S.One


def _attention_share(kind: LayerKind, ranks: sp.Expr) -> sp.Expr:
    attention = kind.group.attention
    match attention:
        case LinearAttention():
            return 1 / ranks
        case GroupedQueryAttention():
            kv = _key_value_fraction(attention)
            return (1 - kv) / ranks + kv * sp.Max(1 / ranks, sp.Rational(1, attention.kv_heads))
        case LatentAttention():
            whole = _whole_fraction(attention, kind.hidden)
            return (1 - whole) / ranks + whole


def _key_value_fraction(a: GroupedQueryAttention) -> sp.Rational:
    """Part of a block's weights in the key and value projections."""
    key_value = a.kv_heads * (a.head_dim + a.value_head_dim)
    rest = a.query_heads * (a.head_dim * (2 if a.output_gate else 1) + a.value_head_dim)
    return sp.Rational(key_value, key_value + rest)


def _whole_fraction(a: LatentAttention, hidden: int) -> sp.Rational:
    """Part of a block's weights that every rank holds: down-projections and indexer."""
    queries = a.query_heads * (a.nope_head_dim + a.rope_head_dim)
    query = (hidden + queries) * a.q_lora_rank if a.q_lora_rank else hidden * queries
    index = a.indexer_heads * a.indexer_head_dim * (a.q_lora_rank or hidden)
    index += hidden * (a.indexer_head_dim + a.indexer_heads) if a.indexer_heads else 0
    whole = hidden * ((a.q_lora_rank or 0) + a.kv_lora_rank + a.rope_head_dim) + index
    values = a.query_heads * a.value_head_dim * hidden
    expand = a.query_heads * (a.nope_head_dim + a.value_head_dim) * a.kv_lora_rank
    total = query + hidden * (a.kv_lora_rank + a.rope_head_dim) + expand + values + index
    return sp.Rational(whole, total)


def sharded_cache(kinds: Sequence[LayerKind], split: SymbolicLayout, layers: int) -> tuple[sp.Expr, sp.Expr]:
    """Bytes a token and bytes a sequence on the fullest accelerator, for all pp batches in flight.

    Layers with a window keep a full window a sequence; where every cached layer has one, the engines
    keep whole contexts, and so does this.
    """
    whole_contexts = any(k.cache.bytes_per_token and k.cache.window_tokens is None for k in kinds)
    per_token, per_sequence = sp.S.Zero, sp.S.Zero
    stage_share = split.pp * sp.ceiling(layers / split.pp) / layers
    for kind in kinds:
        cache, ranks = kind.cache, sp.Min(split.attention_tp, kind.cache.max_shards)
        share = stage_share * kind.count / kind.group.count / ranks
        window = cache.window_tokens if whole_contexts else None
        per_token += share * (cache.bytes_per_token if window is None else 0)
        per_sequence += share * (cache.bytes_per_token * (window or 0) + cache.state_bytes_per_sequence)
    return per_token, per_sequence


def activation_bytes(
    model: ModelSpec, kinds: Sequence[LayerKind], split: SymbolicLayout, tokens: sp.Expr, batch: sp.Expr
) -> sp.Expr:
    """Peak of a step with `tokens` a rank: the residual stream and the widest block or the logits."""
    engine = tokens * split.dp
    stream = ACTIVATION_BYTES * model.hidden * (RESIDUAL_COPIES * tokens + split.parallel_attention * engine)
    widest = [LOGIT_BYTES * batch * model.vocabulary]
    for kind in kinds:
        widest.append(ACTIVATION_BYTES * tokens * _attention_width(kind.group.attention) / split.attention_tp)
        widest.append(ACTIVATION_BYTES * _feed_forward_elements(kind.group.ffn, model.hidden, split, engine))
    return stream + sp.Max(*widest)


def _attention_width(attention: Attention) -> int:
    """Elements a token holds inside an attention block of the whole model."""
    match attention:
        case GroupedQueryAttention(query_heads=heads, kv_heads=kv_heads):
            gate = 2 if attention.output_gate else 1
            key, value = attention.head_dim, attention.value_head_dim
            return heads * (gate * key + value) + kv_heads * (key + value)
        case LatentAttention(query_heads=heads):  # queries, expanded keys and values, output
            return heads * 2 * (attention.nope_head_dim + attention.rope_head_dim + attention.value_head_dim)
        case LinearAttention():
            value = attention.value_heads * attention.value_head_dim
            return 2 * attention.key_heads * attention.key_head_dim + 3 * value


def _feed_forward_elements(ffn: Ffn, hidden: int, split: SymbolicLayout, tokens: sp.Expr) -> sp.Expr:
    """Elements that `tokens` of the engine hold inside a feed-forward block on one accelerator."""
    inner = 3 if ffn.gated else 2
    if isinstance(ffn, DenseFfn):
        return tokens * inner * ffn.intermediate / split.tp
    # Each chosen expert returns a row of hidden width; dispatched rows arrive as copies of their own.
    width = hidden * (1 + split.dispatched) + inner * ffn.expert_intermediate / split.moe_tp
    return sp.Min(tokens, EXPERT_CHUNK_TOKENS) * ffn.experts_per_token / split.ep * width
