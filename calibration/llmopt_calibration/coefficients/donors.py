"""Which accelerators an unmeasured one takes its coefficients from: those most like it by the data sheet.

A law's efficiencies are fractions of peak and bandwidth and its waves are counted in multiprocessors, so that
the coefficients of one accelerator are a prediction for another: its peak, bandwidth and multiprocessors
enter the law by themselves. The nearer the two are, the better; the distance is the sum of the logarithms of
the ratios of these three numbers. Only accelerators that run the same (CUDA) kernels qualify. How far off
such a transfer is, is measured: `docs/accuracy.md` leaves every accelerator out.
"""

from __future__ import annotations

from math import log
from typing import Final

from llmopt_problems import catalog
from llmopt_problems.hardware.spec import AcceleratorSpec

MEASURED: Final = ("H100-SXM", "H200-SXM", "B200", "B300", "GB200", "GB300")
"""Accelerators with bundled coefficient files."""
OTHER_KERNELS: Final = ("MI", "TPU")
"""Beginnings of the names of accelerators that CUDA kernels do not run on."""


def donors(accelerator: str, farther_than: float = 0.0) -> tuple[str, ...]:
    """Measured accelerators other than `accelerator`, the most alike first; none where kernels differ.

    Those no farther than `farther_than` are left out.
    """
    if accelerator.startswith(OTHER_KERNELS):
        return ()
    own = catalog.accelerator(accelerator)
    others = [(distance(own, catalog.accelerator(name)), name) for name in MEASURED if name != accelerator]
    return tuple(name for away, name in sorted(others) if away > farther_than)


def distance(first: AcceleratorSpec, second: AcceleratorSpec) -> float:
    """Sum of the absolute logarithms of the ratios of peak, bandwidth and multiprocessors."""
    pairs = zip(_size(first), _size(second), strict=True)
    return sum(abs(log(one / other)) for one, other in pairs)


def _size(accelerator: AcceleratorSpec) -> tuple[float, float, float]:
    return accelerator.peak_flops_per_s["bf16"], accelerator.hbm_bytes_per_s, float(accelerator.sm_count)
