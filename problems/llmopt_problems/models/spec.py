"""A model as the laws see it: layers of attention and feed-forward blocks with their widths.

A `ModelSpec` is a hidden width, a vocabulary, and groups of equal layers; a layer is one attention
block and one feed-forward block. Everything that serving needs (parameters, weight bytes, KV bytes a
token, FLOPs) is derived from these widths, never stored beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WeightPrecision = Literal["bf16", "fp8", "fp8_block", "fp4", "int4"]
KvPrecision = Literal["bf16", "fp8"]
Component = Literal[
    "attention", "dense_ffn", "routed_experts", "shared_experts", "router", "norms", "embedding", "lm_head"
]


@dataclass(frozen=True, slots=True)
class GroupedQueryAttention:
    """Multi-head, grouped-query or multi-query attention, full or with a sliding window."""

    query_heads: int
    kv_heads: int
    head_dim: int
    value_head_dim: int
    window_tokens: int | None = None
    """Context kept and read by a layer with a sliding window; None for full attention."""
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: bool = False
    qk_norm_all_heads: bool = False
    """The query and key norms have a weight a channel of all heads (MiniMax-M2), not one of a head."""
    sinks: bool = False
    """One learned logit per query head (gpt-oss)."""
    output_gate: bool = False
    """The query projection is twice as wide: half of it gates the output (Qwen3.5)."""


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2 report, section 2.1): one shared latent a token is cached."""

    query_heads: int
    q_lora_rank: int | None
    kv_lora_rank: int
    nope_head_dim: int
    rope_head_dim: int
    value_head_dim: int
    indexer_heads: int = 0
    """Heads of the layer's own sparse-attention indexer (DeepSeek sparse attention); 0 when it has none."""
    indexer_head_dim: int = 0
    indexer_top_tokens: int = 0
    """Tokens that a query attends to at most once an indexer has chosen; 0 for dense attention. A layer
    with top tokens and no indexer heads reuses the choice of an earlier layer (GLM-5.2)."""


@dataclass(frozen=True, slots=True)
class LinearAttention:
    """Gated delta-rule linear attention: a constant state a sequence instead of a KV cache a token."""

    key_heads: int
    value_heads: int
    key_head_dim: int
    value_head_dim: int
    conv_kernel: int
    state_element_bytes: int = 4
    """Width of the recurrent state's elements: float32 unless the config says otherwise."""


Attention = GroupedQueryAttention | LatentAttention | LinearAttention


@dataclass(frozen=True, slots=True)
class DenseFfn:
    """A feed-forward block: gated (SwiGLU: three matrices) or plain (two)."""

    intermediate: int
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True, slots=True)
class MoeFfn:
    """Routed experts of their own width, and shared experts that every token passes."""

    experts: int
    experts_per_token: int
    expert_intermediate: int
    shared_intermediate: int = 0
    """Summed width of the shared experts; 0 when there are none."""
    shared_gate: bool = False
    router_bias: bool = False
    expert_bias: bool = False
    gated: bool = True


Ffn = DenseFfn | MoeFfn


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """`count` equal layers."""

    count: int
    attention: Attention
    ffn: Ffn


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Architecture facts of one model, from its Hugging Face `config.json`."""

    name: str
    hidden: int
    vocabulary: int
    layers: tuple[LayerGroup, ...]
    tied_embeddings: bool
    max_context_tokens: int
    norms_per_layer: int = 2
    norm_bias: bool = False
    learned_positions: int = 0
    """Rows of a learned position table (GPT-3); 0 with rotary positions."""
    native_weights: WeightPrecision = "bf16"
    """Precision of the published checkpoint: what `weights: native` in a problem means."""
    native_group: int | None = None
    """Elements that share one scale in the published checkpoint, where it departs from the usual group."""
    native_unquantized: tuple[Component, ...] = ()
    """Components with matrices that the published checkpoint keeps in bf16 though it narrows others."""

    @property
    def layer_count(self) -> int:
        """Number of transformer layers."""
        return sum(group.count for group in self.layers)
