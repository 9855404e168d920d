"""Where the time of a step goes: FLOP, bytes and seconds of every fused operator of every kind of layer.

A budget puts numbers into the same laws that are solved and simulated. Beside the law's own seconds it gives
three floors of the hardware (compute at its dense peak, memory and links at full bandwidth) and names the
highest, which dominates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import sympy as sp

from llmopt_calibration.coefficients import Basis
from llmopt_calibration.laws import law
from llmopt_calibration.laws.law import peak_flops
from llmopt_calibration.step.context import StepContext
from llmopt_calibration.step.law import Operator
from llmopt_calibration.step.layers import layer_operators
from llmopt_calibration.step.symbols import StepSymbols

Bound = Literal["compute", "memory", "communication"]


@dataclass(frozen=True, slots=True)
class StepState:
    """One step of every rank of an engine: decodes at equal contexts, and whole prompts."""

    batch: int
    """Decode sequences of a rank."""
    context_tokens: int
    """Context of each of them."""
    prefill_tokens: int = 0
    """Tokens of a prompt that a rank computes from its start."""

    def numbers(self, symbols: StepSymbols, dp: int) -> dict[sp.Symbol, float]:
        """The step law's symbols in this state, with `dp` attention ranks in an engine."""
        b, p = self.batch, self.prefill_tokens
        return {
            symbols.b: b,
            symbols.K: b * self.context_tokens,
            symbols.p: p,
            symbols.A: p * (p + 1) / 2,
            symbols.N: (b + p) * dp,
            symbols.h: b + (p > 0),
        }


@dataclass(frozen=True, slots=True)
class OperatorBudget:
    """One fused operator in one layer, on one accelerator."""

    layers: str
    """Which layers have it: `layers 4-61`, or `ends`."""
    count: int
    """How many such layers there are."""
    operator: str
    family: str
    basis: Basis
    seconds: float
    flops: float
    hbm_bytes: float
    """Read and written."""
    network_bytes: float
    compute_s: float
    memory_s: float
    communication_s: float
    dominates: Bound

    @property
    def total_s(self) -> float:
        """Seconds in all layers that have it."""
        return self.count * self.seconds


def step_budget(context: StepContext, state: StepState) -> tuple[OperatorBudget, ...]:
    """The budget of every operator that runs in `state`; the layout must be of numbers.

    The totals sum to the step law's seconds.
    """
    numbers = state.numbers(context.symbols, int(context.layout.dp))
    absent = {"decode": state.batch == 0, "prefill": state.prefill_tokens == 0}
    return tuple(
        _budget(context, group.name, group.count, operator, numbers)
        for group in layer_operators(context)
        for operator in group.operators
        if not absent.get(operator.sees, False)
    )


def bottleneck(budgets: tuple[OperatorBudget, ...]) -> tuple[str, float]:
    """The layers of which one takes longest, and its seconds; the ends are no layer."""
    seconds: dict[str, float] = {}
    for each in budgets:
        if each.layers != "ends":
            seconds[each.layers] = seconds.get(each.layers, 0.0) + each.seconds
    slowest = max(seconds, key=lambda name: seconds[name])
    return slowest, seconds[slowest]


def _budget(
    context: StepContext, layers: str, count: int, operator: Operator, numbers: dict[sp.Symbol, float]
) -> OperatorBudget:
    seconds, flops, hbm_bytes, network_bytes = (float(part.subs(numbers)) for part in operator.quantities())
    accelerator = context.accelerator
    compute_s = flops / peak_flops(accelerator, law(operator.family).arithmetic)
    memory_s = hbm_bytes / accelerator.hbm_bytes_per_s
    communication_s = network_bytes / accelerator.scale_up.bytes_per_s
    floors: dict[Bound, float] = {
        "compute": compute_s,
        "memory": memory_s,
        "communication": communication_s,
    }
    highest = max(floors, key=lambda name: floors[name])
    names = (layers, count, operator.name, operator.family, operator.basis)
    costs = (seconds, flops, hbm_bytes, network_bytes)
    return OperatorBudget(*names, *costs, compute_s, memory_s, communication_s, highest)
