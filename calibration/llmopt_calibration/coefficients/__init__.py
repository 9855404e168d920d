"""Fitted coefficients of the laws, as data with provenance."""

from llmopt_calibration.coefficients.store import (
    Basis,
    CoefficientSet,
    FamilyCoefficients,
    fitted_pairs,
    load,
)
from llmopt_calibration.coefficients.user_files import CoefficientError

__all__ = ["Basis", "CoefficientError", "CoefficientSet", "FamilyCoefficients", "fitted_pairs", "load"]
