"""Operator laws: the time of one fused operator in SymPy, over its shape, coefficients and hardware."""

from llmopt_calibration.laws.catalog import law, laws
from llmopt_calibration.laws.law import (
    HARDWARE,
    Coefficient,
    Law,
    Number,
    OperatorCost,
    hardware_values,
    operator_expressions,
)

__all__ = [
    "HARDWARE",
    "Coefficient",
    "Law",
    "Number",
    "OperatorCost",
    "hardware_values",
    "law",
    "laws",
    "operator_expressions",
]
