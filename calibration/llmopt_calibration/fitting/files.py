"""Data files of coefficients: what a calibration found, with the whole provenance of every number."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date
from typing import Any

from llmopt_calibration.coefficients.residual import residual_entry
from llmopt_calibration.coefficients.user_files import hardware_entry
from llmopt_calibration.fitting.calibrate import Calibration, FamilyFit
from llmopt_calibration.fitting.fit import Fit
from llmopt_calibration.laws import Coefficient

FORMAT = 1


def file_name(calibration: Calibration) -> str:
    """Where coefficients are looked up: one file for an accelerator under an engine."""
    return f"{calibration.accelerator.name}.{calibration.engine}.json"


def coefficient_text(calibration: Calibration, on: date) -> str:
    """The content of the data file: every fitted family, dated `on`."""
    content = {
        "format": FORMAT,
        "accelerator": calibration.accelerator.name,
        "engine": calibration.engine,
        "hardware": hardware_entry(calibration.accelerator),
        "families": {family: family_entry(found, on) for family, found in calibration.families.items()},
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def family_entry(found: FamilyFit, on: date) -> dict[str, Any]:
    """One family of a data file: coefficients with unit and standard error, and where they come from."""
    data, result = found.data, found.fit
    ranges = {name: [float(column.min()), float(column.max())] for name, column in data.shape.items()}
    learned = {} if found.residual is None else {"residual": residual_entry(found.residual)}
    return learned | {
        "law": found.law.family,
        "variant": found.choice.variant.name,
        "basis": "measured",
        "source": asdict(data.provenance),
        "date": on.isoformat(),
        "training_range": ranges,
        "training_rows": result.training_rows,
        "held_out_rows": result.held_out_rows,
        "held_out_mape": round(result.held_out_mape, 5),
        "held_out_median": round(result.held_out_median, 5),
        "cross_validated_mape": {name: round(mean, 5) for name, (mean, _) in found.choice.errors.items()},
        "dropped_rows": {reason: count for reason, count in data.dropped.items() if count},
        "coefficients": {
            item.symbol.name: coefficient_entry(item, result) for item in found.law.coefficients
        },
    }


def coefficient_entry(item: Coefficient, result: Fit) -> dict[str, Any]:
    """Value, unit and standard error of one coefficient; no error where the data did not determine it."""
    name = item.symbol.name
    entry: dict[str, Any] = {"value": float(f"{result.values[name]:.6g}"), "unit": item.unit}
    if name in result.standard_errors:
        entry["standard_error"] = float(f"{result.standard_errors[name]:.3g}")
    return entry
