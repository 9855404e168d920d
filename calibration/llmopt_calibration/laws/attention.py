"""Attention over a KV cache with full, grouped or multi-query heads, in prefill and in decode.

Heads are those of one accelerator. A sliding window is the caller's: it passes the context that is really
read, min(K, b · window). Keys are `head_dim` wide, values `value_dim`; the cached width follows the
precision.

Prefill sees `tokens` p and `pairs` A, the number of (query, key) pairs below the causal diagonal: FLOP = 2
A h (d + dv). The mean context of a query, A / p, carries the tile padding: a kernel works in tiles of
queries × keys, so every query is charged for `pair_padding` keys more. One sequence of p tokens behind a
prefix has A/p + p/2 keys, read once. An fp8 cache is multiplied in fp8.

Decode sees `sequences` b and their total `context` K: every cached key and value is read once, and the
query heads of a KV head are padded to the rows of a tensor-core tile, its context to the columns of one.
Splitting the contexts over the multiprocessors (flash decoding) costs each `wave_context`.

Both have a part that more multiprocessors do not shorten: in prefill a query's loop over its keys
(`serial_s` a key of the mean context), in decode a thread block for every sequence and KV head.
"""

from __future__ import annotations

from sympy import Integer, Max

from llmopt_calibration.laws.law import HARDWARE, Coefficient, Law, coefficient, size, smooth_max

KV_BYTES = {"bf16": 2, "fp8": 1}
"""Bytes of a cached element."""


def _prefill_coefficients() -> tuple[Coefficient, ...]:
    return (
        coefficient("overhead_s", 1e-5, 5e-7, 1e-4, "s", "launch and drain of the kernel"),
        coefficient("compute_efficiency", 0.60, 0.05, 1.0, "1", "fraction of the peak at long sequences"),
        coefficient("memory_efficiency", 0.70, 0.02, 1.0, "1", "fraction of the HBM bandwidth"),
        coefficient(
            "pair_padding", 128.0, 1e-3, 4096.0, "tokens", "keys a query is charged for beyond its own"
        ),
        coefficient(
            "dim_padding", 16.0, 1e-3, 512.0, "elements", "head width lost to tiles and to the softmax"
        ),
        coefficient("sharpness", 2.0, 1.0, 12.0, "1", "q of the roofline corner"),
        serial_coefficient(),
    )


def serial_coefficient() -> Coefficient:
    """Time of a key in the loop of one tile of queries, which no other multiprocessor can take over."""
    return coefficient("serial_s", 1e-9, 1e-14, 1e-6, "s/token", "loop over the keys of one query")


def block_coefficient() -> Coefficient:
    """Time of a thread block, of which every sequence and KV head has its own."""
    return coefficient("block_s", 1e-9, 1e-13, 1e-6, "s/(sequence·head)", "scheduling of a thread block")


def attention_prefill(precision: str) -> Law:
    """The law `attention_prefill_<kv precision>`: `pairs` of `tokens` queries, causal."""
    p, A, h, g = size("tokens"), size("pairs"), size("query_heads"), size("kv_heads")
    d, dv, kv_bytes = size("head_dim"), size("value_dim"), KV_BYTES[precision]
    coefficients = _prefill_coefficients()
    overhead, e_c, e_m, pad, d0, q, serial_s = (item.symbol for item in coefficients)
    flops = 2 * A * h * (d + dv)
    hbm_bytes = 2 * p * h * (d + dv) + g * (d + dv) * kv_bytes * (A / Max(1, p) + p / 2)
    compute_s = 2 * (A + pad * p) * h * (d + dv + 2 * d0) / (HARDWARE.peak_flops_per_s * e_c)
    memory_s = hbm_bytes / (HARDWARE.hbm_bytes_per_s * e_m)
    seconds = overhead + serial_s * A / Max(1, p) + smooth_max(compute_s, memory_s, q)
    shape = (p, A, h, g, d, dv)
    family = f"attention_prefill_{precision}"
    return Law(family, shape, coefficients, seconds, flops, hbm_bytes, Integer(0), arithmetic=precision)


def _decode_coefficients() -> tuple[Coefficient, ...]:
    return (
        coefficient(
            "overhead_s", 8e-6, 5e-7, 1e-4, "s", "launch of the kernel and of the merge of its splits"
        ),
        coefficient("compute_efficiency", 0.40, 0.01, 1.0, "1", "fraction of the peak on padded tiles"),
        coefficient(
            "memory_efficiency", 0.80, 0.05, 1.0, "1", "fraction of the HBM bandwidth at long contexts"
        ),
        coefficient("head_padding", 64.0, 1e-3, 512.0, "heads", "rows added to the query heads of a KV head"),
        coefficient(
            "context_padding", 128.0, 1e-3, 4096.0, "tokens", "context a sequence is charged for more"
        ),
        coefficient("wave_context", 64.0, 1e-3, 4096.0, "tokens/SM", "context lost at the start of every SM"),
        coefficient("sharpness", 3.0, 1.0, 12.0, "1", "q of the roofline corner"),
        block_coefficient(),
    )


def attention_decode(precision: str) -> Law:
    """The law `attention_decode_<kv precision>`: a query token each of `sequences`, `context` keys in all."""
    b, K, h, g = size("sequences"), size("context"), size("query_heads"), size("kv_heads")
    d, dv, kv_bytes = size("head_dim"), size("value_dim"), KV_BYTES[precision]
    coefficients = _decode_coefficients()
    overhead, e_c, e_m, h0, k0, wave, q, block_s = (item.symbol for item in coefficients)
    flops = 2 * K * h * (d + dv)
    io_bytes = 2 * b * h * (d + dv)
    hbm_bytes = K * g * (d + dv) * kv_bytes + io_bytes
    tiles = (K + k0 * b) * g * (h / g + h0)
    compute_s = 2 * tiles * (d + dv) / (HARDWARE.peak_flops_per_s * e_c)
    memory_s = (hbm_bytes + wave * HARDWARE.sm_count * (d + dv) * kv_bytes) / (HARDWARE.hbm_bytes_per_s * e_m)
    seconds = overhead + block_s * b * g + smooth_max(compute_s, memory_s, q)
    shape = (b, K, h, g, d, dv)
    return Law(f"attention_decode_{precision}", shape, coefficients, seconds, flops, hbm_bytes, Integer(0))
