"""Robust relative-error fits of a law to measured times, with held-out shapes and standard errors.

Residuals are log(predicted / measured), so every size counts alike and errors are relative; a soft-L1 loss
keeps outliers from steering; coefficients are fitted as logarithms inside their declared bounds. One shape in
five, chosen by a hash of the shape and so always the same, is never fitted and gives the error that is
reported. Coefficients may be fixed (`Variant`): a law with fewer free numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import least_squares
from sympy import lambdify

from llmopt_calibration.laws import Coefficient, Law, hardware_values
from llmopt_calibration.sources.measurements import Measurements
from llmopt_problems.hardware.spec import AcceleratorSpec

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
SOFT_SCALE = 0.1
"""Relative error beyond which a row counts linearly."""
SMALLEST = 1e-9
"""Stands for a lower bound of 0, whose logarithm does not exist."""
AT_BOUND = 1e-3
"""Relative distance from a bound at which a coefficient counts as held by it."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Fitted coefficients, their standard errors, and the relative errors on shapes that were not fitted.

    A coefficient without a standard error kept its default, was fixed, or is held by a bound.
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
    return shape_digests(shape)[:, 0] < 256 / 5


def shape_digests(shape: pd.DataFrame) -> NDArray[np.uint8]:
    """Hash bytes (rows, 32) of the shapes: a random number that a shape always has."""
    rows = shape.to_numpy(np.float64)
    digests = b"".join(hashlib.sha256(np.ascontiguousarray(row).tobytes()).digest() for row in rows)
    return np.frombuffer(digests, dtype=np.uint8).reshape(len(rows), 32)


def law_function(law: Law, accelerator: AcceleratorSpec) -> Callable[[Array, Array], Array]:
    """The law as numpy: (shape [symbols, rows], coefficients [n]) to seconds [rows]."""
    expression = law.seconds.xreplace(hardware_values(accelerator, law.arithmetic))
    arguments = [list(law.shape), [item.symbol for item in law.coefficients]]
    function: Callable[[Array, Array], Array] = lambdify(arguments, expression, "numpy", cse=True)
    return function


def ordered(law: Law, data: Measurements) -> Measurements:
    """The data with shape columns in the order of the law's symbols, on which the held-out fifth depends."""
    return replace(data, shape=data.shape[[symbol.name for symbol in law.shape]])


def law_columns(law: Law, shape: pd.DataFrame) -> Array:
    """The shapes [symbols, rows] in the order of the law's symbols."""
    columns: Array = shape[[symbol.name for symbol in law.shape]].to_numpy(float).T
    return columns


def fit(
    law: Law,
    accelerator: AcceleratorSpec,
    data: Measurements,
    limit: int = 5000,
    seed: int = 0,
    fixed: Mapping[str, float] | None = None,
) -> Fit:
    """Coefficients of `law` from at most `limit` sampled training rows; those in `fixed` stay as given."""
    data, function = ordered(law, data), law_function(law, accelerator)
    columns, held_out = law_columns(law, data.shape), held_out_mask(data.shape)
    train = sample(np.flatnonzero(~held_out), limit, seed)
    free = Free.of(law, fixed or {})
    values, errors = free.solve(function, columns[:, train], data.seconds[train])
    relative = np.abs(function(columns[:, held_out], values) / data.seconds[held_out] - 1)
    names = [item.symbol.name for item in law.coefficients]
    return Fit(
        family=law.family,
        values=dict(zip(names, values.tolist(), strict=True)),
        standard_errors={
            name: value * error
            for name, value, error in zip(names, values.tolist(), errors.tolist(), strict=True)
            if np.isfinite(error)
        },
        training_rows=len(train),
        held_out_rows=int(held_out.sum()),
        held_out_mape=float(relative.mean()),
        held_out_median=float(np.median(relative)),
    )


def sample(rows: Rows, limit: int, seed: int) -> Rows:
    """At most `limit` of the rows, drawn without replacement, in their order."""
    if len(rows) <= limit:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))


@dataclass(frozen=True, slots=True)
class Free:
    """Which coefficients of a law are fitted, inside which bounds, and what the others are."""

    lower: Array
    upper: Array
    start: Array
    """Logarithms; of all coefficients."""
    free: NDArray[np.bool_]

    @classmethod
    def of(cls, law: Law, fixed: Mapping[str, float]) -> Free:
        """Bounds and start of the law's coefficients, those in `fixed` at their values."""
        lower = np.log([item.lower or SMALLEST for item in law.coefficients])
        upper = np.log([item.upper for item in law.coefficients])
        given = np.log([_start(item, fixed) or SMALLEST for item in law.coefficients])
        free = np.array([item.symbol.name not in fixed for item in law.coefficients])
        start = np.where(free, np.clip(given, lower + 1e-6, upper - 1e-6), given)
        return cls(lower, upper, start, free)

    def solve(
        self, function: Callable[[Array, Array], Array], columns: Array, seconds: Array
    ) -> tuple[Array, Array]:
        """Fitted coefficients and the standard errors of their logarithms (infinite where undetermined)."""
        target, every = np.log(seconds), self.start.copy()

        def residuals(logs: Array) -> Array:
            every[self.free] = logs
            result: Array = np.log(function(columns, np.exp(every))) - target
            return result

        solution = least_squares(
            residuals,
            self.start[self.free],
            bounds=(self.lower[self.free], self.upper[self.free]),
            loss="soft_l1",
            f_scale=SOFT_SCALE,
            max_nfev=400,
        )
        rest = residuals(solution.x)
        errors = np.full(len(every), np.inf)
        errors[self.free] = _standard_errors(solution.jac, rest, self._inside(solution.x))
        return np.exp(every), errors

    def _inside(self, logs: Array) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = (logs > self.lower[self.free] + AT_BOUND) & (
            logs < self.upper[self.free] - AT_BOUND
        )
        return inside


def _start(item: Coefficient, fixed: Mapping[str, float]) -> float:
    return fixed.get(item.symbol.name, item.default)


def _standard_errors(jacobian: Array, residuals: Array, inside: NDArray[np.bool_]) -> Array:
    """Square roots of the diagonal of the sandwich H⁻¹ G H⁻¹ (Huber 1967) of an M-estimate.

    `jacobian` is scipy's, scaled so that H = JᵀJ approximates the Hessian of the soft-L1 cost: with z = (r /
    scale)² its rows carry (1 + z)^(-3/4). G sums the squared scores ψ = r (1 + z)^(-1/2) times the plain
    rows. Infinite for a coefficient on which no residual depends and for one that a bound holds.
    """
    errors = np.full(jacobian.shape[1], np.inf)
    known = inside & jacobian.any(axis=0)
    if not known.any():
        return errors
    z = (residuals / SOFT_SCALE) ** 2
    scaled = jacobian[:, known]
    scores = scaled * ((1 + z) ** 0.25 * residuals)[:, None]
    inverse = np.linalg.pinv(scaled.T @ scaled)
    degrees = max(1, len(residuals) - scaled.shape[1])
    covariance = inverse @ (scores.T @ scores) @ inverse * (len(residuals) / degrees)
    errors[known] = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return errors
