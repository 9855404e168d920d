"""How far the shipped laws are from the measurements: one row a family, and the same number computed again.

The stored error of a fit is a claim; `held_out_error` recomputes it from the tables, on the shapes that the
fit never saw, so that a changed law, coefficient or reader shows.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from llmopt_calibration.coefficients import CoefficientSet, FamilyCoefficients, load
from llmopt_calibration.fitting import held_out_mask, law_function
from llmopt_calibration.laws import law, laws
from llmopt_calibration.sources import Measurements
from llmopt_problems.hardware.spec import AcceleratorSpec


def held_out_error(
    coefficients: FamilyCoefficients, data: Measurements, accelerator: AcceleratorSpec
) -> float:
    """Mean absolute relative error of the coefficients on the held-out shapes of `data`."""
    fitted_law = law(coefficients.family)
    shape = data.shape[[symbol.name for symbol in fitted_law.shape]]
    held_out = held_out_mask(shape)
    values = np.array([coefficients.values[item.symbol.name] for item in fitted_law.coefficients])
    predicted = law_function(fitted_law, accelerator)(shape.to_numpy(float)[held_out].T, values)
    return float(np.abs(predicted / data.seconds[held_out] - 1).mean())


def accuracy_table(accelerator: str, engine: str) -> pd.DataFrame:
    """Basis, held-out error and source of every law on one accelerator under one engine, by family."""
    coefficients = load(accelerator, engine)
    rows = [_row(coefficients, family) for family in sorted(laws())]
    return pd.DataFrame(rows, columns=["family", "basis", "held_out_error", "source"]).set_index("family")


def _row(coefficients: CoefficientSet, family: str) -> tuple[str, str, float, str]:
    found = coefficients.family(family)
    error = np.nan if found.held_out_error is None else found.held_out_error
    return family, found.basis, error, found.source
