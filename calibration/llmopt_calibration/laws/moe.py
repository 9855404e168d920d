"""Routed experts: the grouped GEMMs of a mixture-of-experts layer on one accelerator.

T tokens of the engine each choose k of E experts; the accelerator holds `local_experts` of them, each
sliced to `intermediate` columns. With independent uniform routing an expert is hit with probability 1 − (1
− k/E)^T, so E_local · (1 − (1 − k/E)^T) experts are read; the rows of each are padded to a tile, on average
`row_padding` more. `imbalance` is the load of the busiest accelerator over the mean (1 = balanced), a
parameter that the simulator freezes.
"""

from __future__ import annotations

from sympy import Expr, Integer

from llmopt_calibration.laws.gemm import FORMATS
from llmopt_calibration.laws.law import HARDWARE, Coefficient, Law, coefficient, size, smooth_max


def _coefficients() -> tuple[Coefficient, ...]:
    return (
        coefficient(
            "overhead_s", 2e-5, 1e-6, 5e-4, "s", "launch of sort, two grouped GEMMs, activation and sum"
        ),
        coefficient("compute_efficiency", 0.50, 0.02, 1.0, "1", "fraction of the peak on padded rows"),
        coefficient(
            "memory_efficiency", 0.70, 0.02, 1.0, "1", "fraction of the HBM bandwidth for expert weights"
        ),
        coefficient(
            "row_padding", 32.0, 1e-3, 256.0, "tokens", "rows a hit expert is charged for beyond its own"
        ),
        coefficient("activation_passes", 4.0, 0.5, 64.0, "1", "times that a routed row crosses the HBM"),
        coefficient("sharpness", 2.0, 1.0, 12.0, "1", "q of the roofline corner"),
    )


def expected_active_experts(tokens: Expr, local: Expr, experts: Expr, per_token: Expr) -> Expr:
    """Expected number of distinct local experts hit by `tokens` tokens, routed uniformly."""
    return local * (1 - (1 - per_token / experts) ** tokens)


def moe(precision: str) -> Law:
    """The law `moe_<precision>` of one layer's routed experts; `matrices` is 3 when gated, else 2."""
    names = ("tokens", "hidden", "intermediate", "experts", "local_experts", "experts_per_token")
    T, H, inter, E, local, k = (size(name) for name in names)
    matrices, imbalance = size("matrices"), size("imbalance")
    fmt, coefficients = FORMATS[precision], _coefficients()
    overhead, e_c, e_m, pad, passes, q = (item.symbol for item in coefficients)
    rows = T * k * local / E * imbalance
    active = expected_active_experts(T, local, E, k)
    weights = active * matrices * H * inter * fmt.weight_bytes
    flops = 2 * rows * matrices * H * inter
    hbm_bytes = weights + 2 * rows * 2 * (H + inter)
    compute_s = 2 * (rows + pad * active) * matrices * H * inter / (HARDWARE.peak_flops_per_s * e_c)
    memory_s = (weights / e_m + 2 * rows * (2 + passes) * (H + inter)) / HARDWARE.hbm_bytes_per_s
    seconds = overhead + smooth_max(compute_s, memory_s, q)
    shape = (T, H, inter, E, local, k, matrices, imbalance)
    return Law(f"moe_{precision}", shape, coefficients, seconds, flops, hbm_bytes, Integer(0), fmt.arithmetic)
