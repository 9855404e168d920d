"""Which operators of a step are evaluated outside the shapes that their coefficients were fitted on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import sympy as sp

from llmopt_calibration.coefficients import CoefficientSet
from llmopt_calibration.step.law import Operator, StepLaw


@dataclass(frozen=True, slots=True)
class Extrapolation:
    """One size of an operator that no measurement covers."""

    operator: str
    size: str
    """Name of the law's shape symbol, such as tokens."""
    value: float
    fitted: tuple[float, float]
    """Smallest and largest size that was measured."""


def extrapolations(
    law: StepLaw, coefficients: CoefficientSet, values: Mapping[sp.Symbol, float]
) -> tuple[Extrapolation, ...]:
    """Every size outside its fitted range in a step with `values` for all symbols of the law.

    Operators that do not run in that step, and those on physics defaults (no range), are left out.
    """
    return tuple(
        found
        for operator in law.operators
        if _runs(operator, law, values)
        for found in _outside(operator, coefficients, values)
    )


def _runs(operator: Operator, law: StepLaw, values: Mapping[sp.Symbol, float]) -> bool:
    needed = {"decode": law.symbols.b, "prefill": law.symbols.p}.get(operator.sees)
    return needed is None or values[needed] > 0


def _outside(
    operator: Operator, coefficients: CoefficientSet, values: Mapping[sp.Symbol, float]
) -> Iterator[Extrapolation]:
    ranges = coefficients.family(operator.family).training_range
    for size, expression in operator.shape.items():
        if size in ranges:
            value, (low, high) = float(expression.subs(values)), ranges[size]
            if not low <= value <= high:
                yield Extrapolation(operator.name, size, value, (low, high))
