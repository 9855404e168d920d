"""Calibration of one accelerator under one engine: every measured family chosen, fitted and judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmopt_calibration.coefficients.residual import Residual
from llmopt_calibration.fitting.fit import Array, Fit, fit, held_out_mask, law_columns, law_function, ordered
from llmopt_calibration.fitting.variants import Choice, TooFewShapesError, choose
from llmopt_calibration.laws import Law, law
from llmopt_calibration.sources.measurements import Measurements
from llmopt_problems.hardware.spec import AcceleratorSpec


@dataclass(frozen=True, slots=True, eq=False)
class FamilyFit:
    """One law as it was fitted, with the data and what it predicts for them."""

    law: Law
    data: Measurements
    choice: Choice
    fit: Fit
    predicted_s: Array
    """Of every row of the data."""
    held_out: NDArray[np.bool_]
    residual: Residual | None = None
    """A learned correction, where one was asked for and helps."""

    @property
    def relative_error(self) -> Array:
        """Predicted over measured less one, of every row."""
        return self.predicted_s / self.data.seconds - 1


@dataclass(frozen=True, slots=True)
class Calibration:
    """All families of one accelerator and engine."""

    accelerator: AcceleratorSpec
    engine: str
    families: Mapping[str, FamilyFit]
    skipped: Mapping[str, str]
    """Families that were measured and not fitted, with the reason."""


def calibrate(
    data: Mapping[str, Measurements], accelerator: AcceleratorSpec, engine: str, *, residual: bool = False
) -> Calibration:
    """Fit every family of `data`; one with too few shapes is skipped with that reason.

    With `residual` a correction is learned on top of every law (scikit-learn) and kept where it helps.
    """
    families, skipped = {}, {}
    for family, measured in data.items():
        try:
            found = fit_family(law(family), accelerator, measured)
            families[family] = corrected(found) if residual else found
        except TooFewShapesError as error:
            skipped[family] = str(error)
    return Calibration(accelerator, engine, families, skipped)


def corrected(found: FamilyFit) -> FamilyFit:
    """The fit with a correction learned on its training shapes, where that predicts unseen ones better."""
    from llmopt_calibration.fitting.residual import train_residual

    return replace(found, residual=train_residual(found.data, found.predicted_s, found.held_out))


def fit_family(of: Law, accelerator: AcceleratorSpec, data: Measurements) -> FamilyFit:
    """Choose a variant by cross-validation, fit it to all training shapes, predict every row."""
    data = ordered(of, data)
    held_out = held_out_mask(data.shape)
    if not held_out.any():
        raise TooFewShapesError(
            f"{of.family}: none of {len(held_out)} shapes is held out to judge the fit by"
        )
    return fit_chosen(of, accelerator, data, choose(of, accelerator, data))


def fit_chosen(of: Law, accelerator: AcceleratorSpec, data: Measurements, choice: Choice) -> FamilyFit:
    """Fit a variant to all training shapes, predict every row."""
    data = ordered(of, data)
    result = fit(of, accelerator, data, fixed=choice.variant.fixed)
    values = np.array([result.values[item.symbol.name] for item in of.coefficients])
    predicted = law_function(of, accelerator)(law_columns(of, data.shape), values)
    return FamilyFit(of, data, choice, result, predicted, held_out_mask(data.shape))
