"""Routed experts: the grouped GEMMs of a mixture-of-experts layer on one accelerator.

T tokens of the engine each choose k of E experts; the accelerator holds `local_experts` of them, each
sliced to `intermediate` columns, which tiles round up by `column_padding`. With independent uniform routing
an expert is hit with probability 1 − (1 − k/E)^T, so E_local · (1 − (1 − k/E)^T) experts are read, and each
is charged for `row_padding` rows more than its own (tiles).

The tables route with a power law, so the busiest accelerator holds more than its share: with few local
experts one popular expert decides, with many they even out, hence `skew` · (1 − E_local/E) /
E_local^`skew_exponent`; `imbalance` multiplies the load (1 = as measured), a parameter that the simulator
freezes. Sort, activation and weighted sum move every routed row through the HBM `activation_passes` times,
and rows of experts that live elsewhere, which the kernels mask out, `masked_passes` times.

What does not shrink with the batch: the launches, the loop over the inner widths (`loop_s` an element: a
tile cannot finish faster), the walk over the problem descriptors of all local experts (`expert_s` each,
DeepGEMM's masked layout above all), and the masking itself where there are several groups.
"""

from __future__ import annotations

from sympy import Expr, Integer, Min

from llmopt_calibration.laws.gemm import FORMATS
from llmopt_calibration.laws.law import HARDWARE, Coefficient, Law, coefficient, size, smooth_max


def _roofline_coefficients() -> tuple[Coefficient, ...]:
    return (
        coefficient("compute_efficiency", 0.50, 0.02, 1.0, "1", "fraction of the peak on padded rows"),
        coefficient(
            "memory_efficiency", 0.70, 0.02, 1.0, "1", "fraction of the HBM bandwidth for expert weights"
        ),
        coefficient(
            "row_padding", 32.0, 1e-3, 256.0, "tokens", "rows a hit expert is charged for beyond its own"
        ),
        coefficient(
            "column_padding", 32.0, 1e-3, 512.0, "elements", "columns of an expert's slice lost to tiles"
        ),
        coefficient("activation_passes", 4.0, 0.3, 64.0, "1", "times that a routed row crosses the HBM"),
        coefficient(
            "masked_passes", 1.0, 1e-3, 64.0, "1", "times that a row of a remote expert crosses the HBM"
        ),
        coefficient("skew", 0.3, 1e-3, 20.0, "1", "extra load of an accelerator with one popular expert"),
        coefficient("skew_exponent", 0.3, 1e-3, 1.0, "1", "how it evens out over local experts"),
        coefficient("sharpness", 2.0, 1.0, 12.0, "1", "q of the roofline corner"),
    )


def _fixed_coefficients() -> tuple[Coefficient, ...]:
    return (
        coefficient(
            "overhead_s", 1e-5, 5e-7, 1e-3, "s", "launch of sort, two grouped GEMMs, activation and sum"
        ),
        coefficient("group_s", 5e-6, 1e-8, 1e-3, "s", "masking of remote experts, with several groups"),
        coefficient("loop_s", 1e-9, 1e-12, 1e-7, "s/element", "loop over the inner widths of a tile"),
        coefficient("expert_s", 1e-8, 1e-11, 1e-5, "s/expert", "set-up of a local expert, hit or not"),
    )


def expected_active_experts(tokens: Expr, local: Expr, experts: Expr, per_token: Expr) -> Expr:
    """Expected number of distinct local experts hit by `tokens` tokens, routed uniformly."""
    return local * (1 - (1 - per_token / experts) ** tokens)


def moe(precision: str) -> Law:
    """The law `moe_<precision>` of one layer's routed experts; `matrices` is 3 when gated, else 2."""
    names = ("tokens", "hidden", "intermediate", "experts", "local_experts", "experts_per_token")
    T, H, inter, E, local, k = shape = tuple(size(name) for name in names)
    matrices, imbalance = size("matrices"), size("imbalance")
    fmt, roofline, fixed = FORMATS[precision], _roofline_coefficients(), _fixed_coefficients()
    e_c, e_m, row_pad, column_pad, passes, masked, skew, spread, q = (item.symbol for item in roofline)
    overhead, group_s, loop_s, expert_s = (item.symbol for item in fixed)
    rows = T * k * local / E * imbalance
    busiest = rows * (1 + skew * (1 - local / E) / local**spread)
    remote = T * k * (1 - local / E)
    active = expected_active_experts(T, local, E, k)
    padded = matrices * H * (inter + column_pad)
    row_bytes = 2 * (H + inter)
    compute_s = 2 * (busiest + row_pad * active) * padded / (HARDWARE.peak_flops_per_s * e_c)
    memory_s = active * padded * fmt.weight_bytes / (HARDWARE.hbm_bytes_per_s * e_m)
    rows_s = (busiest * passes + remote * masked) * row_bytes / HARDWARE.hbm_bytes_per_s
    fixed_s = overhead + loop_s * (H + inter) + expert_s * local + group_s * Min(1, E / local - 1)
    expert = matrices * H * inter
    return Law(
        family=f"moe_{precision}",
        shape=(*shape, matrices, imbalance),
        coefficients=(*fixed, *roofline),
        seconds=fixed_s + smooth_max(compute_s, memory_s, q) + rows_s,
        flops=2 * rows * expert,
        hbm_bytes=active * expert * fmt.weight_bytes + rows * row_bytes,
        network_bytes=Integer(0),
        arithmetic=fmt.arithmetic,
    )
