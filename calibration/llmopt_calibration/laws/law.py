"""A law is the time of one fused operator as a formula of its shape, its coefficients and the hardware.

Every law has the form `overhead + (compute^q + memory^q)^(1/q)`: a roofline (Williams et al., CACM 2009)
whose corner the sharpness q rounds, q to infinity being Max. `compute` is FLOP / (peak · efficiency) and
`memory` bytes / (bandwidth · efficiency); an efficiency that saturates in a size, n / (n + n0), is written
as padding, (n + n0) / n, so that the expression stays a polynomial of the shape, never divides by it, and
is never below the roofline.

Convention at no work: `seconds` is the law of positive work. With zero tokens or sequences it is finite and
still contains the launch overhead, so a caller that may have no work multiplies by a guard. Collectives
alone cost nothing by themselves when `ranks` is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from sympy import Expr, Symbol, sympify

from llmopt_problems.hardware.spec import AcceleratorSpec

Number: TypeAlias = Expr | int | float


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A fitted number of a law, with the value that physics suggests before any fit, and its bounds."""

    symbol: Symbol
    default: float
    lower: float
    upper: float
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Law:
    """One operator family: SI expressions over shape, coefficient and hardware symbols (`HARDWARE`)."""

    family: str
    shape: tuple[Symbol, ...]
    coefficients: tuple[Coefficient, ...]
    seconds: Expr
    flops: Expr
    hbm_bytes: Expr
    network_bytes: Expr
    arithmetic: str = "bf16"
    """Which peak of the accelerator `peak_flops_per_s` stands for."""

    def defaults(self) -> dict[str, float]:
        """Coefficient values that physics suggests, by name."""
        return {coefficient.symbol.name: coefficient.default for coefficient in self.coefficients}


class OperatorCost(NamedTuple):
    """What one operator costs one accelerator, as expressions in the caller's symbols or as numbers."""

    seconds: Expr
    flops: Expr
    hbm_bytes: Expr
    network_bytes: Expr


@dataclass(frozen=True, slots=True)
class Hardware:
    """The hardware symbols that every law may use."""

    peak_flops_per_s: Symbol
    hbm_bytes_per_s: Symbol
    sm_count: Symbol
    link_bytes_per_s: Symbol
    """Scale-up link, one direction, one accelerator."""
    link_latency_s: Symbol
    network_bytes_per_s: Symbol
    """Link between nodes, one direction, one accelerator."""
    network_latency_s: Symbol


def _hardware_symbols() -> Hardware:
    return Hardware(*(Symbol(name, positive=True) for name in Hardware.__dataclass_fields__))


HARDWARE = _hardware_symbols()


def size(name: str) -> Symbol:
    """A shape symbol: a nonnegative real."""
    return Symbol(name, nonnegative=True)


def coefficient(
    name: str, default: float, lower: float, upper: float, unit: str, meaning: str
) -> Coefficient:
    """A coefficient with a positive symbol called `name`."""
    return Coefficient(Symbol(name, positive=True), default, lower, upper, unit, meaning)


def smooth_max(first: Expr, second: Expr, sharpness: Expr) -> Expr:
    """`(first^q + second^q)^(1/q)`: at least the larger of the two, at most their sum for q >= 1."""
    return (first**sharpness + second**sharpness) ** (1 / sharpness)


def peak_flops(accelerator: AcceleratorSpec, arithmetic: str) -> float:
    """Dense peak of `arithmetic`, FLOP/s; bf16 where the chip lacks it (narrow weights are widened in
    registers).
    """
    peaks = accelerator.peak_flops_per_s
    return peaks.get(arithmetic, peaks["bf16"])


def hardware_values(accelerator: AcceleratorSpec, arithmetic: str) -> dict[Symbol, Expr]:
    """The number of every hardware symbol on `accelerator`."""
    values = {
        HARDWARE.peak_flops_per_s: peak_flops(accelerator, arithmetic),
        HARDWARE.hbm_bytes_per_s: accelerator.hbm_bytes_per_s,
        HARDWARE.sm_count: accelerator.sm_count,
        HARDWARE.link_bytes_per_s: accelerator.scale_up.bytes_per_s,
        HARDWARE.link_latency_s: accelerator.scale_up.latency_s,
        HARDWARE.network_bytes_per_s: accelerator.network.bytes_per_s,
        HARDWARE.network_latency_s: accelerator.network.latency_s,
    }
    return {symbol: sympify(value) for symbol, value in values.items()}


def operator_expressions(
    law: Law,
    shape: Mapping[str, Number],
    accelerator: AcceleratorSpec,
    values: Mapping[str, float],
) -> OperatorCost:
    """Seconds, FLOP, HBM bytes and network bytes of one operator on one accelerator.

    `shape` gives every shape symbol of the law by name, as numbers or as SymPy expressions in the caller's
    symbols; `values` every coefficient by name. Raises `ValueError` when one is missing or unknown.
    """
    _check_names(law, "shape", set(shape), {symbol.name for symbol in law.shape})
    _check_names(law, "coefficient", set(values), {item.symbol.name for item in law.coefficients})
    replacement = hardware_values(accelerator, law.arithmetic)
    replacement |= {symbol: sympify(shape[symbol.name]) for symbol in law.shape}
    replacement |= {item.symbol: sympify(values[item.symbol.name]) for item in law.coefficients}
    parts = (law.seconds, law.flops, law.hbm_bytes, law.network_bytes)
    return OperatorCost(*(part.xreplace(replacement) for part in parts))


def _check_names(law: Law, role: str, given: set[str], declared: set[str]) -> None:
    if given != declared:
        missing, unknown = sorted(declared - given), sorted(given - declared)
        raise ValueError(
            f"law {law.family}: {role} names must be {sorted(declared)}; missing {missing}, unknown {unknown}"
        )
