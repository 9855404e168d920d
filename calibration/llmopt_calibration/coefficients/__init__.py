"""Fitted coefficients of the laws, as data with provenance."""

from llmopt_calibration.coefficients.store import (
    Basis,
    CoefficientSet,
    FamilyCoefficients,
    fitted_pairs,
    load,
)

__all__ = ["Basis", "CoefficientSet", "FamilyCoefficients", "fitted_pairs", "load"]
