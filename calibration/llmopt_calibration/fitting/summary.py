"""A calibration in tables of text: a row a family, and a row a coefficient."""

from __future__ import annotations

import math

from llmopt_calibration.fitting.calibrate import Calibration, FamilyFit

HEADINGS = (
    "family",
    "variant",
    "shapes",
    "held out",
    "MAPE",
    "median",
    "with residual",
    "refused rows",
    "source",
)
INTERVAL_DEVIATIONS = 1.959964
"""Standard deviations of a 95% interval of a normal distribution."""

LARGEST_EXPONENT = 300.0
"""Of an interval's factor: a coefficient this unsure is not known at all."""


def summary_rows(calibration: Calibration) -> list[tuple[str, ...]]:
    """Cells under `HEADINGS`, one row a fitted family."""
    return [_summary_row(found) for found in calibration.families.values()]


def _summary_row(found: FamilyFit) -> tuple[str, ...]:
    refused = ", ".join(f"{count} {reason}" for reason, count in found.data.dropped.items() if count)
    return (
        found.law.family,
        found.choice.variant.name,
        str(len(found.predicted_s)),
        str(found.fit.held_out_rows),
        f"{found.fit.held_out_mape:.1%}",
        f"{found.fit.held_out_median:.1%}",
        "" if found.residual is None else f"{found.residual.held_out_mape:.1%}",
        refused or "none",
        found.data.provenance.package,
    )


def coefficient_rows(found: FamilyFit) -> list[tuple[str, ...]]:
    """Name, value, 95% interval, unit and meaning of every coefficient of a family."""
    rows: list[tuple[str, ...]] = []
    for item in found.law.coefficients:
        name = item.symbol.name
        interval = confidence_interval(found.fit.values[name], found.fit.standard_errors.get(name))
        shown = f"{interval[0]:.3g} to {interval[1]:.3g}" if interval else _undetermined(found, name)
        rows.append((name, f"{found.fit.values[name]:.3g}", shown, item.unit, item.meaning))
    return rows


def confidence_interval(value: float, standard_error: float | None) -> tuple[float, float] | None:
    """The 95% interval of a positive coefficient, symmetric in its logarithm, in which it was fitted."""
    if standard_error is None:
        return None
    factor = math.exp(min(INTERVAL_DEVIATIONS * standard_error / value, LARGEST_EXPONENT))
    return value / factor, value * factor


def _undetermined(found: FamilyFit, name: str) -> str:
    return "fixed by the variant" if name in found.choice.variant.fixed else "not determined by the data"
