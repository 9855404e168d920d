"""The operators of attention blocks: projections, the attention itself in prefill and decode, all-reduce.

Heads are divided over the ranks of an attention replica (tp / dp); KV heads are replicated where there are
fewer than ranks. All equal blocks of a model are one operator each, `count` times.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from llmopt_calibration.laws.attention import KV_BYTES
from llmopt_calibration.step.context import ACTIVATION_BYTES, StepContext
from llmopt_calibration.step.law import Operator
from llmopt_problems.models.spec import Attention, GroupedQueryAttention, LatentAttention, LinearAttention


def attention_operators(context: StepContext, attention: Attention, count: int) -> Iterator[Operator]:
    """`count` equal attention blocks, up to the sum over the ranks of their replica."""
    match attention:
        case GroupedQueryAttention():
            yield from _grouped_query(context, attention, count)
        case LatentAttention():
            yield from _latent_projections(context, attention, count)
            yield from _latent_attention(context, attention, count)
            yield from _indexer(context, attention, count) if attention.indexer_heads else ()
        case LinearAttention():
            yield from _linear(context, attention, count)
    tokens, tp = context.symbols.rank_tokens, context.layout.attention_tp
    message = tokens * context.model.hidden * ACTIVATION_BYTES
    yield context.collective(
        f"{_label(attention)}.all_reduce", "all_reduce", "rank_tokens", count, message, tp
    )


def _label(attention: Attention) -> str:
    match attention:
        case LatentAttention():
            return "mla"
        case LinearAttention():
            return "linear_attention"
        case GroupedQueryAttention(window_tokens=None):
            return "attention"
        case GroupedQueryAttention():
            return f"attention_window_{attention.window_tokens}"


def _grouped_query(context: StepContext, a: GroupedQueryAttention, count: int) -> Iterator[Operator]:
    tokens, label, hidden = context.symbols.rank_tokens, _label(a), context.model.hidden
    heads, kv_heads = a.query_heads / context.layout.attention_tp, context.local(a.kv_heads)
    keys, values = kv_heads * a.head_dim, kv_heads * a.value_head_dim
    queries = heads * a.head_dim
    qkv = queries * (2 if a.output_gate else 1) + keys + values
    yield context.gemm(f"{label}.qkv", "attention", "rank_tokens", count, tokens, hidden, qkv)
    # Rotary embedding rewrites queries and keys; keys and values are written to the cache.
    moved = tokens * (2 * ACTIVATION_BYTES * (queries + keys) + (keys + values) * KV_BYTES[context.kv])
    yield context.elementwise(f"{label}.rotary", "rank_tokens", count, moved)
    yield from _query_key_norms(context, a, count, queries + keys)
    yield from _heads(context, label, count, (a.window_tokens, heads, kv_heads, a.head_dim, a.value_head_dim))
    inner = heads * a.value_head_dim
    yield context.gemm(f"{label}.output", "attention", "rank_tokens", count, tokens, inner, hidden)


def _query_key_norms(
    context: StepContext, a: GroupedQueryAttention, count: int, width: sp.Expr
) -> Iterator[Operator]:
    """Norms of queries and keys; one over all heads needs the sum of squares of every rank (float32)."""
    tokens, label = context.symbols.rank_tokens, _label(a)
    if a.qk_norm or a.qk_norm_all_heads:
        moved = 2 * ACTIVATION_BYTES * tokens * width
        yield context.elementwise(f"{label}.query_key_norm", "rank_tokens", 2 * count, moved / 2)
    if a.qk_norm_all_heads:
        tp, sums = context.layout.attention_tp, 2 * 4 * tokens
        yield context.collective(f"{label}.norm_sums", "all_reduce", "rank_tokens", count, sums, tp)


def _seen(context: StepContext, limit: int | None) -> tuple[sp.Expr, sp.Expr]:
    """Context of the decodes and pairs of the prefill once a query sees at most `limit` tokens."""
    s = context.symbols
    return (s.K, s.A) if limit is None else (sp.Min(s.K, s.b * limit), sp.Min(s.A, s.p * limit))


def _heads(
    context: StepContext, label: str, count: int, sizes: tuple[int | None, sp.Expr, sp.Expr, int, int]
) -> Iterator[Operator]:
    """Attention of `sizes` limit, query heads, KV heads, key width, value width."""
    limit, heads, kv_heads, key_dim, value_dim = sizes
    shape = {"query_heads": heads, "kv_heads": kv_heads, "head_dim": key_dim, "value_dim": value_dim}
    seen, pairs = _seen(context, limit)
    decode = {"sequences": context.symbols.b, "context": seen, **shape}
    decode["query_heads"] = heads * context.verify
    yield context.operator(f"{label}.decode", f"attention_decode_{context.kv}", "decode", count, **decode)
    prefill = {"tokens": context.symbols.p, "pairs": pairs, **shape}
    yield context.operator(f"{label}.prefill", f"attention_prefill_{context.kv}", "prefill", count, **prefill)


def _latent_projections(context: StepContext, a: LatentAttention, count: int) -> Iterator[Operator]:
    """Down-projections are whole on every rank; what has heads is divided."""
    tokens, hidden = context.symbols.rank_tokens, context.model.hidden
    heads = a.query_heads / context.layout.attention_tp
    queries, latent = heads * (a.nope_head_dim + a.rope_head_dim), a.kv_lora_rank + a.rope_head_dim
    down = latent + (a.q_lora_rank or queries)
    yield context.gemm("mla.down", "attention", "rank_tokens", count, tokens, hidden, down)
    if a.q_lora_rank is not None:
        yield context.gemm("mla.query", "attention", "rank_tokens", count, tokens, a.q_lora_rank, queries)
    moved = tokens * (
        2 * ACTIVATION_BYTES * (heads * a.rope_head_dim + latent) + latent * KV_BYTES[context.kv]
    )
    yield context.elementwise("mla.rotary", "rank_tokens", count, moved)
    inner = heads * a.value_head_dim
    yield context.gemm("mla.output", "attention", "rank_tokens", count, tokens, inner, hidden)


def _latent_attention(context: StepContext, a: LatentAttention, count: int) -> Iterator[Operator]:
    """Decode on the latent with absorbed products; prefill on keys and values expanded from it."""
    s, heads = context.symbols, a.query_heads / context.layout.attention_tp
    seen, pairs = _seen(context, a.indexer_top_tokens or None)
    absorbed = f"batched_gemm_{context.weights['attention']}"
    widths = {
        "mla.absorb_query": (a.nope_head_dim, a.kv_lora_rank),
        "mla.absorb_value": (a.kv_lora_rank, a.value_head_dim),
    }
    for name, (inner, outer) in widths.items():
        queries = s.b * context.verify
        shape = {"tokens": queries, "matrices": heads, "input_width": inner, "output_width": outer}
        yield context.operator(name, absorbed, "decode", count, **shape)
    queries = heads * context.verify
    decode = {"sequences": s.b, "context": seen, "query_heads": queries, "latent_dim": a.kv_lora_rank}
    family = f"mla_decode_{context.kv}"
    yield context.operator("mla.decode", family, "decode", count, rope_dim=a.rope_head_dim, **decode)
    # The keys of one sequence's prefix and chunk; several sequences expand at least all their fresh tokens.
    keys = sp.Max(s.p, s.A / sp.Max(1, s.p) + s.p / 2)
    expanded = heads * (a.nope_head_dim + a.value_head_dim)
    yield context.gemm("mla.expand", "attention", "prefill", count, keys, a.kv_lora_rank, expanded)
    prefill = {
        "key_dim": a.nope_head_dim + a.rope_head_dim,
        "value_dim": a.value_head_dim,
        "query_heads": heads,
    }
    family = f"mla_prefill_{context.kv}"
    yield context.operator("mla.prefill", family, "prefill", count, tokens=s.p, pairs=pairs, **prefill)


def _indexer(context: StepContext, a: LatentAttention, count: int) -> Iterator[Operator]:
    """DeepSeek sparse attention: every rank scores the whole context with all indexer heads, keys in fp8."""
    s, tokens = context.symbols, context.symbols.rank_tokens
    inner = a.q_lora_rank or context.model.hidden
    width = a.indexer_heads * a.indexer_head_dim
    yield context.gemm("indexer.query", "attention", "rank_tokens", count, tokens, inner, width)
    width = a.indexer_head_dim + a.indexer_heads
    yield context.gemm("indexer.key", "attention", "rank_tokens", count, tokens, context.model.hidden, width)
    shape = {"query_heads": a.indexer_heads, "kv_heads": 1, "head_dim": a.indexer_head_dim, "value_dim": 0}
    decode = {"sequences": s.b, "context": s.K, **shape, "query_heads": a.indexer_heads * context.verify}
    yield context.operator("indexer.decode", "attention_decode_fp8", "decode", count, **decode)
    prefill = {"tokens": s.p, "pairs": s.A, **shape}
    yield context.operator("indexer.prefill", "attention_prefill_fp8", "prefill", count, **prefill)


def _linear(context: StepContext, a: LinearAttention, count: int) -> Iterator[Operator]:
    """Gated delta rule: a decode rewrites its state, prefill multiplies by it chunk by chunk."""
    s, tokens, hidden = context.symbols, context.symbols.rank_tokens, context.model.hidden
    tp = context.layout.attention_tp
    value, mixed = (
        a.value_heads * a.value_head_dim,
        2 * a.key_heads * a.key_head_dim + a.value_heads * a.value_head_dim,
    )
    inward = (mixed + value + 2 * a.value_heads) / tp
    yield context.gemm("linear_attention.input", "attention", "rank_tokens", count, tokens, hidden, inward)
    # Decay and update gates of the heads, query and key norms, and the gated norm of the output.
    gates = 2 * ACTIVATION_BYTES * tokens * (mixed + 2 * value) / tp
    yield context.elementwise("linear_attention.gates_and_norms", "rank_tokens", 3 * count, gates / 3)
    state_bytes = a.value_heads * a.key_head_dim * a.value_head_dim * a.state_element_bytes / tp
    # The state is read once and written after every token, so that rejected drafts can be taken back.
    decode = {"sequences": s.b, "tokens": s.b * context.verify, "state_bytes": state_bytes}
    name, family = "linear_attention.decode", "linear_attention_decode"
    yield context.operator(name, family, "decode", count, **decode)
    widths = {"key_dim": a.key_head_dim, "value_dim": a.value_head_dim, "channels": mixed / tp}
    prefill = {"tokens": s.p, "pairs": s.A, "value_heads": a.value_heads / tp, **widths}
    name, family = "linear_attention.prefill", "linear_attention_prefill"
    yield context.operator(name, family, "prefill", count, **prefill)
    yield context.gemm(
        "linear_attention.output", "attention", "rank_tokens", count, tokens, value / tp, hidden
    )
