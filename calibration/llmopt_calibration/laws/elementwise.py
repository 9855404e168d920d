"""Memory-bound kernels (norms, rotary, activation, residual, embedding, sampling) and the engine's own
overhead.

Both are affine: a kernel costs a launch and its bytes; an engine costs a constant a step and a constant a
layer, what its CPU spends between kernels that CUDA graphs and overlap do not hide.
"""

from __future__ import annotations

from sympy import Integer

from llmopt_calibration.laws.law import HARDWARE, Law, coefficient, size


def elementwise() -> Law:
    """The law `elementwise`: a kernel that moves `bytes_moved` through the HBM."""
    moved = size("bytes_moved")
    coefficients = (
        coefficient("overhead_s", 2.5e-6, 5e-7, 5e-5, "s", "launch and drain of the kernel"),
        coefficient("memory_efficiency", 0.75, 0.05, 1.0, "1", "fraction of the HBM bandwidth"),
    )
    overhead, e_m = (item.symbol for item in coefficients)
    seconds = overhead + moved / (HARDWARE.hbm_bytes_per_s * e_m)
    return Law("elementwise", (moved,), coefficients, seconds, Integer(0), moved, Integer(0))


def engine_step() -> Law:
    """The law `engine_step`: time of a step that no kernel explains, for a stage of `layers` layers."""
    layers = size("layers")
    coefficients = (
        coefficient(
            "step_s", 1e-3, 0.0, 0.1, "s", "scheduling, input preparation, sampling and output a step"
        ),
        coefficient("layer_s", 1e-6, 0.0, 1e-3, "s", "gaps between the kernels of a layer"),
    )
    step_s, layer_s = (item.symbol for item in coefficients)
    return Law(
        "engine_step", (layers,), coefficients, step_s + layers * layer_s, Integer(0), Integer(0), Integer(0)
    )
