"""A fit: the coefficients of a law that make its relative errors small on measured shapes.

The residual is log(law / measured), so a factor two too long weighs as much as one too short and
microseconds as much as milliseconds; a soft-L1 loss keeps outliers from steering; coefficients are fitted
as logarithms inside their declared bounds. One shape in five, chosen by a hash of the shape and so always
the same, is never fitted and gives the error that is reported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares
from sympy import lambdify

from llmopt_calibration.laws import Law, hardware_values
from llmopt_calibration.sources.measurements import Measurements
from llmopt_problems.hardware.spec import AcceleratorSpec

Array = NDArray[np.float64]
SOFT_SCALE = 0.1
"""Relative error beyond which a row counts linearly."""
SMALLEST = 1e-9
"""Stands for a lower bound of 0, whose logarithm does not exist."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Fitted coefficients, their standard errors, and the relative errors on shapes that were not fitted.

    A coefficient without a standard error kept its default: the data do not depend on it.
    """

    family: str
    values: Mapping[str, float]
    standard_errors: Mapping[str, float]
    training_rows: int
    held_out_rows: int
    held_out_mape: float
    held_out_median: float


def held_out_mask(shape: pd.DataFrame) -> NDArray[np.bool_]:
    """True for the fifth of the shapes that is never fitted; depends on the numbers of the row only."""
    rows = shape.to_numpy(np.float64)
    digests = (hashlib.sha256(np.ascontiguousarray(row).tobytes()).digest()[0] for row in rows)
    return np.fromiter((digest < 256 / 5 for digest in digests), dtype=bool, count=len(rows))


def law_function(law: Law, accelerator: AcceleratorSpec) -> Callable[[Array, Array], Array]:
    """The law as numpy: (shape [symbols, rows], coefficients [n]) to seconds [rows]."""
    expression = law.seconds.xreplace(hardware_values(accelerator, law.arithmetic))
    arguments = [list(law.shape), [item.symbol for item in law.coefficients]]
    function: Callable[[Array, Array], Array] = lambdify(arguments, expression, "numpy", cse=True)
    return function


def fit(law: Law, accelerator: AcceleratorSpec, data: Measurements, limit: int = 5000, seed: int = 0) -> Fit:
    """Coefficients of `law` from at most `limit` sampled training rows of `data`."""
    function = law_function(law, accelerator)
    shape = data.shape[[symbol.name for symbol in law.shape]]
    held_out = held_out_mask(shape)
    columns, seconds = shape.to_numpy(float).T, data.seconds
    train = _sample(np.flatnonzero(~held_out), limit, seed)
    logs, errors = _solve(law, function, columns[:, train], seconds[train])
    relative = np.abs(function(columns[:, held_out], np.exp(logs)) / seconds[held_out] - 1)
    names = [item.symbol.name for item in law.coefficients]
    return Fit(
        family=law.family,
        values=dict(zip(names, np.exp(logs).tolist(), strict=True)),
        standard_errors={
            name: value * error
            for name, value, error in zip(names, np.exp(logs).tolist(), errors.tolist(), strict=True)
            if np.isfinite(error)
        },
        training_rows=len(train),
        held_out_rows=int(held_out.sum()),
        held_out_mape=float(relative.mean()),
        held_out_median=float(np.median(relative)),
    )


def _sample(rows: NDArray[np.intp], limit: int, seed: int) -> NDArray[np.intp]:
    if len(rows) <= limit:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))


def _solve(
    law: Law, function: Callable[[Array, Array], Array], columns: Array, seconds: Array
) -> tuple[Array, Array]:
    """Logarithms of the fitted coefficients and of their standard errors (relative errors, that is)."""
    lower = np.log([max(item.lower, SMALLEST) for item in law.coefficients])
    upper = np.log([item.upper for item in law.coefficients])
    start = np.clip(np.log([item.default for item in law.coefficients]), lower + 1e-6, upper - 1e-6)
    target = np.log(seconds)

    def residuals(logs: Array) -> Array:
        result: Array = np.log(function(columns, np.exp(logs))) - target
        return result

    solution = least_squares(
        residuals, start, bounds=(lower, upper), loss="soft_l1", f_scale=SOFT_SCALE, max_nfev=400
    )
    logs: Array = solution.x
    return logs, _standard_errors(solution.jac, residuals(logs))


def _standard_errors(jacobian: Array, residuals: Array) -> Array:
    """Square roots of the diagonal of s² (JᵀJ)⁺, s² the residual variance (Gauss–Newton approximation).

    Infinite for a coefficient on which no residual depends: the data say nothing about it.
    """
    degrees = max(1, len(residuals) - jacobian.shape[1])
    variance = float(residuals @ residuals) / degrees
    covariance = variance * np.linalg.pinv(jacobian.T @ jacobian)
    errors: Array = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    errors[~jacobian.any(axis=0)] = np.inf
    return errors
