"""Variants of a law with fewer free coefficients, and the choice among them by cross-validation.

A law's small effects (paddings, waves, loops) and the roundness of its roofline corner cost data; few shapes
determine a simpler law better. A variant fixes such coefficients where they have no effect. The choice
follows the one-standard-error rule (Breiman et al., 1984, section 3.4.3), paired by shape: the variant with
the fewest free coefficients whose cross-validated errors exceed the best variant's by no more than the
standard error of that excess. Shapes that are held out for the reported error take no part in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmopt_calibration.fitting.fit import (
    Array,
    Free,
    Rows,
    held_out_mask,
    law_columns,
    law_function,
    ordered,
    sample,
    shape_digests,
)
from llmopt_calibration.laws import Law
from llmopt_calibration.sources.measurements import Measurements
from llmopt_problems.hardware.spec import AcceleratorSpec

FOLDS = 4
SELECTION_ROWS = 2000
"""Rows that the choice looks at; more do not change it."""
ROWS_A_COEFFICIENT = 2
"""Training shapes that a free coefficient needs at least."""
SHARP = "sharpness"
NEGLIGIBLE = 5e-3
"""A lower bound this far below its default declares an effect that may be absent."""


class TooFewShapesError(ValueError):
    """Fewer shapes than the simplest variant of a law needs."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A law with some coefficients fixed."""

    name: str
    fixed: Mapping[str, float]

    def free(self, law: Law) -> int:
        """How many coefficients are left to fit."""
        return len(law.coefficients) - len(self.fixed)


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen variant and the cross-validated error (mean, standard error) of all that were tried."""

    variant: Variant
    errors: Mapping[str, tuple[float, float]]


def variants(law: Law) -> tuple[Variant, ...]:
    """The law itself, then without its small effects, then with a sharp corner, then without both."""
    small = {
        item.symbol.name: item.lower for item in law.coefficients if item.lower <= NEGLIGIBLE * item.default
    }
    corner = {item.symbol.name: item.upper for item in law.coefficients if item.symbol.name == SHARP}
    candidates = (
        Variant("full", {}),
        Variant("no small effects", small),
        Variant("sharp corner", corner),
        Variant("plain roofline", small | corner),
    )
    distinct = {tuple(sorted(variant.fixed)): variant for variant in reversed(candidates)}
    return tuple(sorted(distinct.values(), key=lambda variant: -variant.free(law)))


def choose(law: Law, accelerator: AcceleratorSpec, data: Measurements) -> Choice:
    """The simplest variant that predicts unseen training shapes as well as any.

    Raises `TooFewShapesError` when not even the simplest has `ROWS_A_COEFFICIENT` shapes a coefficient.
    """
    data = ordered(law, data)
    train = np.flatnonzero(~held_out_mask(data.shape))
    tried = [v for v in variants(law) if len(train) >= ROWS_A_COEFFICIENT * max(1, v.free(law))]
    if not tried:
        least = ROWS_A_COEFFICIENT * min(variant.free(law) for variant in variants(law))
        raise TooFewShapesError(f"{law.family}: {len(train)} shapes to fit, at least {least} are needed")
    if len(tried) == 1:
        return Choice(tried[0], {})
    errors = _unseen_errors(law, accelerator, data, tried, sample(train, SELECTION_ROWS, seed=0))
    best = min(errors.values(), key=lambda found: float(found.mean()))
    near = [variant for variant in tried if _as_good(errors[variant.name] - best)]
    summary = {name: (float(found.mean()), _standard_error(found)) for name, found in errors.items()}
    return Choice(min(near, key=lambda variant: variant.free(law)), summary)


def _unseen_errors(
    law: Law, accelerator: AcceleratorSpec, data: Measurements, tried: Sequence[Variant], rows: Rows
) -> dict[str, Array]:
    """Relative error of every row under each variant fitted to the folds that the row is not in."""
    folds = shape_digests(data.shape.iloc[rows])[:, 1] % FOLDS
    columns, seconds = law_columns(law, data.shape)[:, rows], data.seconds[rows]
    function, errors = law_function(law, accelerator), {v.name: np.zeros(len(rows)) for v in tried}
    for variant in tried:
        for fold in np.unique(folds):
            out = folds == fold
            values, _ = Free.of(law, variant.fixed).solve(function, columns[:, ~out], seconds[~out])
            errors[variant.name][out] = np.abs(function(columns[:, out], values) / seconds[out] - 1)
    return errors


def _as_good(excess: Array) -> bool:
    """Whether errors exceed the best ones, shape by shape, by no more than the standard error of that."""
    return float(excess.mean()) <= _standard_error(excess)


def _standard_error(numbers: Array) -> float:
    return float(numbers.std(ddof=1) / np.sqrt(len(numbers)))
