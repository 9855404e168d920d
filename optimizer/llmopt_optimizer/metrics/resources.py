"""What a pool uses: accelerators, money, utilisation and power, as expressions.

Power follows utilisation: an accelerator draws its idle power, and the rest of its range in proportion to the
busier of its arithmetic and its memory. That is a physics default, not a measurement, and is labelled so.
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, Integer

from llmopt_optimizer.core.algebra import larger, smaller
from llmopt_optimizer.symbols import PoolSymbols
from llmopt_problems.hardware.spec import AcceleratorSpec


@dataclass(frozen=True, slots=True)
class Utilisation:
    """Shares of an accelerator's peaks, averaged over time, each in [0, 1]."""

    compute: Expr
    bandwidth: Expr
    network: Expr


def gpus(pool: PoolSymbols) -> Expr:
    """Accelerators of the pool: instances × (TP × PP + those for feed-forward blocks alone)."""
    return pool.instances * (pool.tp * pool.pp + pool.ffn)


def utilisation(
    accelerator: AcceleratorSpec,
    arithmetic: str,
    flops_per_s: Expr,
    hbm_bytes_per_s: Expr,
    net_bytes_per_s: Expr,
) -> Utilisation:
    """Work rates of one accelerator over its dense peak, its memory bandwidth and its scale-up link."""
    peak = accelerator.peak_flops_per_s.get(arithmetic, accelerator.peak_flops_per_s["bf16"])
    return Utilisation(
        compute=flops_per_s / peak,
        bandwidth=hbm_bytes_per_s / accelerator.hbm_bytes_per_s,
        network=net_bytes_per_s / accelerator.scale_up.bytes_per_s,
    )


def power_w(accelerator: AcceleratorSpec, used: Utilisation) -> Expr:
    """Mean power of one accelerator in watts."""
    one = Integer(1)  # makes expressions of numbers, and leaves the letters of the reference as they are
    return power_law_w(one * accelerator.idle_watts, one * accelerator.peak_watts, used)


def power_law_w(idle_w: Expr, peak_w: Expr, used: Utilisation) -> Expr:
    """Mean power in watts between idle and peak, by the busier of arithmetic and memory."""
    return idle_w + (peak_w - idle_w) * smaller(1, larger(used.compute, used.bandwidth))
