"""Matrix products of activations [tokens, input] and weights [input, output], by weight precision.

Tiles, waves and split-K are smoothed: a product of m × n outputs is charged for (m + m0)(n + n0) outputs
(tile padding) and for `wave` outputs more a multiprocessor (the last wave is not full), with the loop over
the inner width k lengthened by its prologue k0. Weights and activations are read once, outputs written
once, in bf16.
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Integer

from llmopt_calibration.laws.law import HARDWARE, Coefficient, Law, coefficient, size, smooth_max


@dataclass(frozen=True, slots=True)
class Format:
    """Storage of a weight precision: bytes a weight with its scales, bytes an activation, arithmetic used."""

    weight_bytes: float
    activation_bytes: float
    arithmetic: str


FORMATS = {
    "bf16": Format(2.0, 2.0, "bf16"),
    "fp8": Format(1.0, 1.0, "fp8"),
    "fp8_block": Format(1.0 + 4.0 / 128**2, 1.0 + 4.0 / 128, "fp8"),  # one fp32 scale a 128 × 128 block
    "fp4": Format(0.5 + 1.0 / 16, 0.5 + 1.0 / 16, "fp4"),  # NVFP4: one fp8 scale for 16 values
    "int4": Format(0.5 + 2.0 / 128, 2.0, "bf16"),  # weight-only: one bf16 scale for 128 values
}


def _coefficients() -> tuple[Coefficient, ...]:
    return (
        coefficient("overhead_s", 4e-6, 5e-7, 5e-4, "s", "launch and drain of the kernel"),
        coefficient("compute_efficiency", 0.75, 0.05, 1.0, "1", "fraction of the peak at large sizes"),
        coefficient(
            "memory_efficiency", 0.80, 0.05, 1.0, "1", "fraction of the HBM bandwidth at large sizes"
        ),
        coefficient("token_padding", 32.0, 1e-3, 512.0, "tokens", "rows lost to tiles"),
        coefficient("output_padding", 64.0, 1e-3, 4096.0, "elements", "columns lost to tiles"),
        coefficient(
            "input_padding", 64.0, 1e-3, 8192.0, "elements", "prologue of the loop over the inner width"
        ),
        coefficient("wave_outputs", 2000.0, 1e-3, 65536.0, "elements/SM", "outputs lost to the last wave"),
        coefficient("sharpness", 3.0, 1.0, 12.0, "1", "q of the roofline corner"),
    )


def gemm(precision: str) -> Law:
    """The law `gemm_<precision>`: `tokens` × `input_width` times `input_width` × `output_width`."""
    m, n, k = size("tokens"), size("output_width"), size("input_width")
    fmt, coefficients = FORMATS[precision], _coefficients()
    overhead, e_c, e_m, m0, n0, k0, wave, q = (item.symbol for item in coefficients)
    flops = 2 * m * n * k
    hbm_bytes = fmt.weight_bytes * n * k + fmt.activation_bytes * m * k + 2 * m * n
    outputs = (m + m0) * (n + n0) + wave * HARDWARE.sm_count
    compute_s = 2 * outputs * (k + k0) / (HARDWARE.peak_flops_per_s * e_c)
    memory_s = hbm_bytes / (HARDWARE.hbm_bytes_per_s * e_m)
    seconds = overhead + smooth_max(compute_s, memory_s, q)
    return Law(
        f"gemm_{precision}", (m, n, k), coefficients, seconds, flops, hbm_bytes, Integer(0), fmt.arithmetic
    )
