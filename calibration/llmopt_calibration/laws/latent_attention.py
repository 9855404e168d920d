"""Multi-head latent attention (DeepSeek-V2, section 2.1), in prefill and in decode.

Prefill is ordinary multi-head attention after the latent has been expanded (the expansion is a GEMM of the
caller): keys of nope + rope width, values of their own. Decode works on the latent (weight absorption): one
shared vector of latent + rope width a cached token, read once whatever the number of heads, so it is not
divided by tensor parallelism. The absorbed products of the heads are `batched_gemm`: one matrix a head.
"""

from __future__ import annotations

from sympy import Integer, Max

from llmopt_calibration.laws.attention import KV_BYTES, block_coefficient, serial_coefficient
from llmopt_calibration.laws.gemm import FORMATS
from llmopt_calibration.laws.law import HARDWARE, Coefficient, Law, coefficient, size, smooth_max


def _prefill_coefficients() -> tuple[Coefficient, ...]:
    return (
        coefficient("overhead_s", 1e-5, 5e-7, 1e-3, "s", "launch and drain of the kernel"),
        coefficient("compute_efficiency", 0.60, 0.05, 1.0, "1", "fraction of the peak at long sequences"),
        coefficient("memory_efficiency", 0.70, 0.02, 1.0, "1", "fraction of the HBM bandwidth"),
        coefficient(
            "pair_padding", 128.0, 1e-3, 4096.0, "tokens", "keys a query is charged for beyond its own"
        ),
        coefficient("sharpness", 2.0, 1.0, 12.0, "1", "q of the roofline corner"),
        serial_coefficient(),
    )


def mla_prefill(precision: str) -> Law:
    """The law `mla_prefill_<kv precision>`: `pairs` of `tokens` queries with expanded keys and values."""
    p, A, h = size("tokens"), size("pairs"), size("query_heads")
    key_dim, value_dim = size("key_dim"), size("value_dim")
    coefficients = _prefill_coefficients()
    overhead, e_c, e_m, pad, q, serial_s = (item.symbol for item in coefficients)
    flops = 2 * A * h * (key_dim + value_dim)
    hbm_bytes = 2 * h * (key_dim + value_dim) * (p + A / Max(1, p) + p / 2)
    compute_s = 2 * (A + pad * p) * h * (key_dim + value_dim) / (HARDWARE.peak_flops_per_s * e_c)
    memory_s = hbm_bytes / (HARDWARE.hbm_bytes_per_s * e_m)
    seconds = overhead + serial_s * A / Max(1, p) + smooth_max(compute_s, memory_s, q)
    shape = (p, A, h, key_dim, value_dim)
    return Law(f"mla_prefill_{precision}", shape, coefficients, seconds, flops, hbm_bytes, Integer(0))


def _decode_coefficients() -> tuple[Coefficient, ...]:
    return (
        coefficient(
            "overhead_s", 1e-5, 5e-7, 1e-3, "s", "launch of the kernel and of the merge of its splits"
        ),
        coefficient("compute_efficiency", 0.50, 0.01, 1.0, "1", "fraction of the peak on padded tiles"),
        coefficient(
            "memory_efficiency", 0.70, 0.05, 1.0, "1", "fraction of the HBM bandwidth at long contexts"
        ),
        coefficient("head_padding", 16.0, 1e-3, 128.0, "heads", "rows added to the query heads"),
        coefficient(
            "context_padding",
            64.0,
            1e-3,
            4096.0,
            "tokens",
            "context a sequence is charged for beyond its own",
        ),
        coefficient("wave_context", 64.0, 1e-3, 65536.0, "tokens/SM", "context lost to split-KV waves"),
        coefficient("sharpness", 2.0, 1.0, 12.0, "1", "q of the roofline corner"),
        block_coefficient(),
    )


def mla_decode(precision: str) -> Law:
    """The law `mla_decode_<kv precision>`: one query token of `sequences` over `context` latents."""
    b, K, h = size("sequences"), size("context"), size("query_heads")
    latent, rope, kv_bytes = size("latent_dim"), size("rope_dim"), KV_BYTES[precision]
    coefficients = _decode_coefficients()
    overhead, e_c, e_m, h0, k0, wave, q, block_s = (item.symbol for item in coefficients)
    flops = 2 * K * h * (2 * latent + rope)
    io_bytes = 2 * b * h * (2 * latent + rope)
    padded = K + k0 * b + wave * HARDWARE.sm_count
    compute_s = 2 * padded * (h + h0) * (2 * latent + rope) / (HARDWARE.peak_flops_per_s * e_c)
    memory_s = (padded * (latent + rope) * kv_bytes + io_bytes) / (HARDWARE.hbm_bytes_per_s * e_m)
    hbm_bytes = K * (latent + rope) * kv_bytes + io_bytes
    seconds = overhead + block_s * b + smooth_max(compute_s, memory_s, q)
    shape = (b, K, h, latent, rope)
    return Law(f"mla_decode_{precision}", shape, coefficients, seconds, flops, hbm_bytes, Integer(0))


def _batched_coefficients() -> tuple[Coefficient, ...]:
    return (
        coefficient("overhead_s", 4e-6, 5e-7, 5e-5, "s", "launch and drain of the kernel"),
        coefficient("compute_efficiency", 0.50, 0.01, 1.0, "1", "fraction of the peak at large sizes"),
        coefficient("memory_efficiency", 0.70, 0.05, 1.0, "1", "fraction of the HBM bandwidth"),
        coefficient("token_padding", 32.0, 1e-3, 512.0, "tokens", "rows lost to tiles"),
        coefficient("sharpness", 3.0, 1.0, 12.0, "1", "q of the roofline corner"),
    )


def batched_gemm(precision: str) -> Law:
    """The law `batched_gemm_<precision>`: `matrices` products, tokens × input width × output width."""
    m, heads, n, k = size("tokens"), size("matrices"), size("output_width"), size("input_width")
    fmt, coefficients = FORMATS[precision], _batched_coefficients()
    overhead, e_c, e_m, m0, q = (item.symbol for item in coefficients)
    flops = 2 * heads * m * n * k
    hbm_bytes = heads * (fmt.weight_bytes * n * k + fmt.activation_bytes * m * k + 2 * m * n)
    compute_s = 2 * heads * (m + m0) * n * k / (HARDWARE.peak_flops_per_s * e_c)
    memory_s = hbm_bytes / (HARDWARE.hbm_bytes_per_s * e_m)
    seconds = overhead + smooth_max(compute_s, memory_s, q)
    shape = (m, heads, n, k)
    return Law(
        f"batched_gemm_{precision}",
        shape,
        coefficients,
        seconds,
        flops,
        hbm_bytes,
        Integer(0),
        fmt.arithmetic,
    )
