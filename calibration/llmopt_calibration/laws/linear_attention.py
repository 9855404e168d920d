"""Gated delta-rule attention (Yang et al., 2024, Gated Delta Networks): a state a sequence, no cache.

A decode reads the state of its sequence once and writes it after every token. Prefill works in chunks of
`LINEAR_CHUNK_TOKENS`: a chunk multiplies with the state twice and with itself once, and the chunks of a
prompt follow one another, which no other multiprocessor can take over. Both begin with a short convolution
over queries, keys and values.
"""

from __future__ import annotations

from sympy import Integer, Max, Min

from llmopt_calibration.laws.law import HARDWARE, Law, coefficient, size, smooth_max

LINEAR_CHUNK_TOKENS = 64
"""Tokens that gated delta-rule prefill works on at once (flash-linear-attention)."""
ROW_BYTES = 2
"""Queries, keys and values are bf16."""


def linear_attention_decode() -> Law:
    """The law `linear_attention_decode`: `tokens` of `sequences` with `state_bytes` each on a rank."""
    b, tokens, state = size("sequences"), size("tokens"), size("state_bytes")
    coefficients = (
        coefficient("overhead_s", 6e-6, 5e-7, 1e-4, "s", "launch and drain of convolution and recurrence"),
        coefficient("memory_efficiency", 0.75, 0.05, 1.0, "1", "fraction of the HBM bandwidth"),
        coefficient("sharpness", 2.0, 1.0, 12.0, "1", "q of the corner between launch and states"),
    )
    overhead, e_m, q = (item.symbol for item in coefficients)
    moved = (b + tokens) * state
    seconds = smooth_max(overhead, moved / (HARDWARE.hbm_bytes_per_s * e_m), q)
    shape = (b, tokens, state)
    return Law("linear_attention_decode", shape, coefficients, seconds, Integer(0), moved, Integer(0))


def linear_attention_prefill() -> Law:
    """The law `linear_attention_prefill`: `pairs` of `tokens` on `value_heads` states of key × value width.

    `channels` are the columns of queries, keys and values of the rank, all of which the convolution rewrites.
    """
    p, A, heads, channels = size("tokens"), size("pairs"), size("value_heads"), size("channels")
    key_dim, value_dim = size("key_dim"), size("value_dim")
    coefficients = (
        coefficient("overhead_s", 3e-5, 5e-7, 1e-3, "s", "launches of convolution and chunk kernels"),
        coefficient("compute_efficiency", 0.10, 1e-3, 1.0, "1", "fraction of the peak"),
        coefficient("memory_efficiency", 0.20, 1e-2, 1.0, "1", "fraction of the HBM bandwidth"),
        coefficient("serial_s", 3e-8, 1e-10, 1e-6, "s/token", "walk over the chunks of the longest prompt"),
        coefficient("sharpness", 2.0, 1.0, 12.0, "1", "q of the corners between walk, products and rows"),
    )
    overhead, e_c, e_m, serial_s, q = (item.symbol for item in coefficients)
    flops = 2 * p * heads * key_dim * 2 * (value_dim + LINEAR_CHUNK_TOKENS)
    moved = 2 * ROW_BYTES * p * (channels + heads * value_dim)
    longest = Min(p, 2 * A / Max(1, p))
    products_s = flops / (HARDWARE.peak_flops_per_s * e_c) + moved / (HARDWARE.hbm_bytes_per_s * e_m)
    seconds = overhead + smooth_max(serial_s * longest, products_s, q)
    shape = (p, A, heads, channels, key_dim, value_dim)
    return Law("linear_attention_prefill", shape, coefficients, seconds, flops, moved, Integer(0))
