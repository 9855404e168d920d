"""How far a law fitted on one accelerator predicts another: only the data-sheet numbers are exchanged.

Efficiencies, paddings and overheads stay; peak, bandwidths and multiprocessors become the other's. The error
is taken on the other's held-out shapes, where its own fit is judged too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pandas as pd

from llmopt_calibration.fitting.calibrate import Calibration, FamilyFit
from llmopt_calibration.fitting.fit import law_columns, law_function
from llmopt_problems.hardware.spec import AcceleratorSpec

COLUMNS = ("family", "fitted_on", "predicted", "own_error", "transferred_error")


def transfer_table(calibrations: Sequence[Calibration]) -> pd.DataFrame:
    """One row a family and ordered pair of accelerators: error of the own fit and of the transferred one."""
    rows = [
        (family, source.accelerator.name, target.accelerator.name, found.fit.held_out_mape, error)
        for source, target in permutations(calibrations, 2)
        for family, found in target.families.items()
        if family in source.families
        and same_arithmetic(found.law.arithmetic, source.accelerator, target.accelerator)
        for error in [transferred_error(source.families[family], found, target.accelerator)]
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def transferred_error(source: FamilyFit, target: FamilyFit, accelerator: AcceleratorSpec) -> float:
    """Mean absolute relative error of the source's coefficients on the target's held-out shapes."""
    of, out = target.law, target.held_out
    values = np.array([source.fit.values[item.symbol.name] for item in of.coefficients])
    predicted = law_function(of, accelerator)(law_columns(of, target.data.shape[out]), values)
    return float(np.abs(predicted / target.data.seconds[out] - 1).mean())


def same_arithmetic(arithmetic: str, one: AcceleratorSpec, other: AcceleratorSpec) -> bool:
    """Whether both multiply in that arithmetic, or neither: else other kernels run."""
    return (arithmetic in one.peak_flops_per_s) == (arithmetic in other.peak_flops_per_s)


def transfer_text(table: pd.DataFrame, engine: str) -> str:
    """The errors by family as a data file: median and worst over the pairs, and how many there are."""
    grouped = table.groupby("family")["transferred_error"]
    families = {
        str(family): {
            "median_error": round(float(errors.median()), 4),
            "worst_error": round(float(errors.max()), 4),
            "pairs": len(errors),
        }
        for family, errors in grouped
    }
    accelerators = sorted(set(table["predicted"]))
    content = {"format": 1, "engine": engine, "accelerators": accelerators, "families": families}
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def transfer_rows(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """Cells of a printed table: family, pairs, own error, transferred error (medians), the worst pair."""
    rows: list[tuple[str, ...]] = []
    for family, part in table.groupby("family"):
        worst = part.sort_values("transferred_error").iloc[-1]
        rows.append(
            (
                str(family),
                str(len(part)),
                f"{part['own_error'].median():.1%}",
                f"{part['transferred_error'].median():.1%}",
                f"{worst['transferred_error']:.1%}, {worst['fitted_on']} to {worst['predicted']}",
            )
        )
    return rows
