"""Training of a law's learned correction with scikit-learn (extra `residual`) on one's own measurements.

Log residuals of the training shapes are regressed on polynomials of the standardised log sizes by the lasso,
its penalty and the degree chosen by cross-validation over the shapes' own folds. A correction that does not
lower the relative error on unseen folds by `LEAST_GAIN` is not kept: the law stands as it is.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sympy import Symbol, lambdify

from llmopt_calibration.coefficients.residual import Residual
from llmopt_calibration.fitting.fit import Array, sample, shape_digests
from llmopt_calibration.sources.measurements import Measurements

DEGREES = (1, 2, 3)
MOST_TERMS = 40
FOLDS = 4
UNCORRECTED = ("send",)
"""Laws that KV transfers evaluate on their own: a correction would not reach them."""
LEAST_GAIN = 0.05
"""Share of the relative error on unseen folds that a correction must take away."""
TRAINING_ROWS = 2000
ROWS_A_TERM = 4
SMALLEST_TERM = 1e-4
LIMIT_QUANTILE = 0.99


@dataclass(frozen=True, slots=True)
class Design:
    """Training shapes as standardised logarithms of the sizes that vary."""

    names: tuple[str, ...]
    centres: Array
    scales: Array
    coordinates: Array
    """Rows × names."""


def train_residual(data: Measurements, predicted_s: Array, held_out: NDArray[np.bool_]) -> Residual | None:
    """The correction of predictions for `data`; None where none helps on unseen training shapes.

    Raises `ModuleNotFoundError` where scikit-learn is not installed.
    """
    rows = sample(np.flatnonzero(~held_out), TRAINING_ROWS, seed=0)
    design = _design(data, rows)
    if data.family in UNCORRECTED or not design.names:
        return None
    logs = np.log(data.seconds[rows] / predicted_s[rows])
    folds = shape_digests(data.shape.iloc[rows])[:, 2] % FOLDS
    fitted = [
        found
        for degree in DEGREES
        if math.comb(len(design.names) + degree, degree) <= min(MOST_TERMS, len(rows) / ROWS_A_TERM)
        for found in [_lasso(design.coordinates, logs, folds, degree)]
    ]
    if not fitted:
        return None
    error, powers, numbers = min(fitted, key=lambda found: found[0])
    if error > (1 - LEAST_GAIN) * _relative_error(np.zeros(len(logs)), logs):
        return None
    return _judged(_residual(data, rows, design, powers, numbers, logs), data, predicted_s, held_out)


def _design(data: Measurements, rows: NDArray[np.intp]) -> Design:
    shape = np.log(data.shape.iloc[rows].to_numpy(float))
    varying = shape.std(axis=0) > 1e-9
    centres, scales = shape.mean(axis=0)[varying], shape.std(axis=0)[varying]
    names = tuple(str(name) for name, kept in zip(data.shape.columns, varying, strict=True) if kept)
    return Design(names, centres, scales, (shape[:, varying] - centres) / scales)


def _lasso(
    coordinates: Array, logs: Array, folds: NDArray[np.uint8], degree: int
) -> tuple[float, Any, Array]:
    """Relative error on unseen folds, exponents and coefficients, with the best penalty."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Lasso, LassoCV
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.preprocessing import PolynomialFeatures

    features = PolynomialFeatures(degree)
    columns = features.fit_transform(coordinates)
    split = PredefinedSplit(folds)
    regression = LassoCV(cv=split, fit_intercept=False, max_iter=2000)
    with warnings.catch_warnings():
        # At the smallest penalties coordinate descent stops early; cross-validation judges those fits too.
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression.fit(columns, logs)
        again = Lasso(alpha=regression.alpha_, fit_intercept=False, max_iter=2000)
        unseen = cross_val_predict(again, columns, logs, cv=split)
    return _relative_error(unseen, logs), features.powers_, regression.coef_


def _relative_error(corrections: Array, logs: Array) -> float:
    """Mean absolute relative error once the law is corrected; `logs` are those of measured over law."""
    return float(np.abs(np.exp(corrections - logs) - 1).mean())


def _residual(
    data: Measurements, rows: NDArray[np.intp], design: Design, powers: Any, numbers: Array, logs: Array
) -> Residual:
    trained = data.shape.iloc[rows]
    limit = np.quantile(np.abs(logs), LIMIT_QUANTILE)
    return Residual(
        ranges={str(name): (float(column.min()), float(column.max())) for name, column in trained.items()},
        variables=design.names,
        centres=tuple(design.centres.tolist()),
        scales=tuple(design.scales.tolist()),
        terms=tuple(
            (tuple(int(power) for power in each), float(f"{number:.6g}"))
            for each, number in zip(powers.tolist(), numbers.tolist(), strict=True)
            if abs(number) > SMALLEST_TERM
        ),
        limit=float(limit),
        held_out_mape=math.nan,
    )


def _judged(
    residual: Residual, data: Measurements, predicted_s: Array, held_out: NDArray[np.bool_]
) -> Residual | None:
    """The correction with its error on held-out shapes; None without terms."""
    if not residual.terms:
        return None
    corrected = predicted_s * correction(residual, data)
    error = np.abs(corrected[held_out] / data.seconds[held_out] - 1).mean()
    return replace(residual, held_out_mape=round(float(error), 5))


def correction(residual: Residual, data: Measurements) -> Array:
    """The factor of every row, from the same expression that step laws use."""
    symbols = [Symbol(str(name), positive=True) for name in data.shape.columns]
    expression = residual.factor({symbol.name: symbol for symbol in symbols})
    values = lambdify([symbols], expression, "numpy", cse=True)(data.shape.to_numpy(float).T)
    return np.broadcast_to(np.asarray(values, dtype=float), data.seconds.shape).copy()
