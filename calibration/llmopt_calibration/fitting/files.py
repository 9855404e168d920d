"""Data files of coefficients: all families of one accelerator and engine, fitted from its operator tables."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from llmopt_calibration.fitting.fit import Fit, fit
from llmopt_calibration.laws import Coefficient, Law, law
from llmopt_calibration.sources import Measurements, OperatorTables, read_family, readable_families
from llmopt_problems.hardware.spec import AcceleratorSpec

FORMAT = 1


def coefficient_file(
    tables: OperatorTables, accelerator: AcceleratorSpec, engine: str, on: date
) -> dict[str, Any]:
    """The content of a data file: every family that the tables measure, fitted and dated `on`."""
    families = {}
    for family in sorted(readable_families()):
        data = read_family(tables, accelerator.name, engine, family)
        if data is not None:
            families[family] = family_entry(law(family), fit(law(family), accelerator, data), data, on)
    return {
        "format": FORMAT,
        "accelerator": accelerator.name,
        "engine": engine,
        "hardware": hardware_entry(accelerator),
        "families": families,
    }


def hardware_entry(accelerator: AcceleratorSpec) -> dict[str, Any]:
    """The data-sheet numbers that the efficiencies are fractions of."""
    return {
        "peak_flops_per_s": dict(accelerator.peak_flops_per_s),
        "hbm_bytes_per_s": accelerator.hbm_bytes_per_s,
        "sm_count": accelerator.sm_count,
        "scale_up_bytes_per_s": accelerator.scale_up.bytes_per_s,
    }


def family_entry(fitted_law: Law, result: Fit, data: Measurements, on: date) -> dict[str, Any]:
    """One family of a data file: coefficients with unit and standard error, and their whole provenance."""
    ranges = {name: [float(column.min()), float(column.max())] for name, column in data.shape.items()}
    return {
        "law": fitted_law.family,
        "basis": "measured",
        "source": asdict(data.provenance),
        "date": on.isoformat(),
        "training_range": ranges,
        "training_rows": result.training_rows,
        "held_out_rows": result.held_out_rows,
        "held_out_mape": round(result.held_out_mape, 5),
        "held_out_median": round(result.held_out_median, 5),
        "dropped_rows": dict(data.dropped),
        "coefficients": {
            item.symbol.name: coefficient_entry(item, result) for item in fitted_law.coefficients
        },
    }


def coefficient_entry(item: Coefficient, result: Fit) -> dict[str, Any]:
    """Value, unit and standard error of one coefficient; no error where the data did not determine it."""
    name = item.symbol.name
    entry: dict[str, Any] = {"value": float(f"{result.values[name]:.6g}"), "unit": item.unit}
    if name in result.standard_errors:
        entry["standard_error"] = float(f"{result.standard_errors[name]:.3g}")
    return entry


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write `content` to `path` at once: readers see the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
