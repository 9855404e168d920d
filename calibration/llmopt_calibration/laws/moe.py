"""Routed experts: the grouped GEMMs of a mixture-of-experts layer on one accelerator.

T tokens of the engine each choose k of E experts; the accelerator holds `local_experts` of them, each
sliced to `intermediate` columns. With independent uniform routing an expert is hit with probability 1 − (1
− k/E)^T, so E_local · (1 − (1 − k/E)^T) experts are read, and each is charged for `row_padding` rows more
than its own (tiles). The tables route with a power law, so with expert parallelism the busiest accelerator
holds `skew` · (1 − E_local/E) more than its share; `imbalance` multiplies it (1 = as measured), a parameter
that the simulator freezes. Sort, activation and weighted sum move every routed row through the HBM
`activation_passes` times, and rows of experts that live elsewhere, which the kernels mask out,
`masked_passes` times.
"""

from __future__ import annotations

from sympy import Expr, Integer

from llmopt_calibration.laws.gemm import FORMATS
from llmopt_calibration.laws.law import HARDWARE, Coefficient, Law, coefficient, size, smooth_max


def _coefficients() -> tuple[Coefficient, ...]:
    return (
        coefficient(
            "overhead_s", 2e-5, 1e-6, 1e-3, "s", "launch of sort, two grouped GEMMs, activation and sum"
        ),
        coefficient("compute_efficiency", 0.50, 0.02, 1.0, "1", "fraction of the peak on padded rows"),
        coefficient(
            "memory_efficiency", 0.70, 0.02, 1.0, "1", "fraction of the HBM bandwidth for expert weights"
        ),
        coefficient(
            "row_padding", 32.0, 1e-3, 256.0, "tokens", "rows a hit expert is charged for beyond its own"
        ),
        coefficient("activation_passes", 4.0, 1.0, 64.0, "1", "times that a routed row crosses the HBM"),
        coefficient(
            "masked_passes", 1.0, 1e-3, 64.0, "1", "times that a row of a remote expert crosses the HBM"
        ),
        coefficient("skew", 0.3, 1e-3, 8.0, "1", "extra load of the busiest accelerator at large EP"),
        coefficient("sharpness", 2.0, 1.0, 12.0, "1", "q of the roofline corner"),
    )


def expected_active_experts(tokens: Expr, local: Expr, experts: Expr, per_token: Expr) -> Expr:
    """Expected number of distinct local experts hit by `tokens` tokens, routed uniformly."""
    return local * (1 - (1 - per_token / experts) ** tokens)


def moe(precision: str) -> Law:
    """The law `moe_<precision>` of one layer's routed experts; `matrices` is 3 when gated, else 2."""
    names = ("tokens", "hidden", "intermediate", "experts", "local_experts", "experts_per_token")
    T, H, inter, E, local, k = shape = tuple(size(name) for name in names)
    matrices, imbalance = size("matrices"), size("imbalance")
    fmt, coefficients = FORMATS[precision], _coefficients()
    overhead, e_c, e_m, pad, passes, masked, skew, q = (item.symbol for item in coefficients)
    rows = T * k * local / E * imbalance
    busiest = rows * (1 + skew * (1 - local / E))
    remote = T * k * (1 - local / E)
    expert = matrices * H * inter
    active = expected_active_experts(T, local, E, k)
    row_bytes = 2 * (H + inter)
    compute_s = 2 * (busiest + pad * active) * expert / (HARDWARE.peak_flops_per_s * e_c)
    memory_s = active * expert * fmt.weight_bytes / (HARDWARE.hbm_bytes_per_s * e_m)
    rows_s = (busiest * passes + remote * masked) * row_bytes / HARDWARE.hbm_bytes_per_s
    return Law(
        family=f"moe_{precision}",
        shape=(*shape, matrices, imbalance),
        coefficients=coefficients,
        seconds=overhead + smooth_max(compute_s, memory_s, q) + rows_s,
        flops=2 * rows * expert,
        hbm_bytes=active * expert * fmt.weight_bytes + rows * row_bytes,
        network_bytes=Integer(0),
        arithmetic=fmt.arithmetic,
    )
