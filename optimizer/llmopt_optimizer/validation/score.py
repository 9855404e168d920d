"""How far predictions are from measurements: per row, then averaged over (model, accelerator) pairs.

An error is |predicted / measured − 1|. A curve is the rows that differ in their users alone; its shape error
is what remains after one scale for the whole curve, the median of measured over predicted. Means, medians
and 90th percentiles are taken within a pair and averaged over pairs, so that a pair with many rows counts as
much as one with few.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from llmopt_calibration.engine.fitting import scaled_by_curve
from llmopt_calibration.sources.serving_points import PointError, ServingPoint
from llmopt_optimizer.validation.predict import Prediction

LATENCIES = ("ttft", "tpot")
COLUMNS = ("tier", "kind", "mode", "pair", "engine", "curve", "users", "predicted", "basis")
STATISTICS = ("mape", "median", "p90", "shape")


def error_table(rows: Sequence[ServingPoint | PointError], predictions: Sequence[Prediction]) -> pd.DataFrame:
    """One row a serving point: what it is, whether it was predicted, and its four errors (NaN: not known)."""
    records = [
        _record(row, prediction)
        for row, prediction in zip(rows, predictions, strict=True)
        if isinstance(row, ServingPoint)
    ]
    table = pd.DataFrame(records, columns=[*COLUMNS, *(f"{name}_ratio" for name in LATENCIES)])
    for name in LATENCIES:
        ratio = table[f"{name}_ratio"].astype(float)
        table[f"{name}_error"] = (ratio - 1).abs()
        shape = np.abs(scaled_by_curve(ratio, table["curve"]) - 1)
        table[f"{name}_shape"] = shape
    return table


def summary(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Errors and coverage of every group of `by`, macro-averaged over pairs."""
    groups = {key: _macro(group) for key, group in table.groupby(list(by), sort=True)}
    index = pd.MultiIndex.from_tuples(list(groups), names=list(by))
    return pd.DataFrame(list(groups.values()), index=index)


def _record(point: ServingPoint, prediction: Prediction) -> dict[str, object]:
    ratios = {
        "ttft_ratio": _ratio(prediction.ttft_s, point.ttft_s),
        "tpot_ratio": _ratio(prediction.tpot_s, point.tpot_s),
    }
    return {
        "tier": point.tier,
        "kind": point.kind,
        "mode": point.mode,
        "pair": " on ".join(point.pair),
        "engine": point.engine,
        "curve": curve_of(point),
        "users": point.concurrency,
        "predicted": prediction.tpot_s is not None,
        "basis": prediction.basis or "",
        **ratios,
    }


def curve_of(point: ServingPoint) -> str:
    """What the points of a curve over users share."""
    lengths = (point.shortest_input, point.longest_input, point.shortest_output, point.longest_output)
    return repr((point.pair, point.engine, point.engine_version, point.weights, point.pools, lengths))


def _ratio(predicted: float | None, measured: float | None) -> float:
    return np.nan if predicted is None or measured is None else predicted / measured


def _macro(group: pd.DataFrame) -> dict[str, float]:
    pairs = group.groupby("pair")
    result: dict[str, float] = {
        "rows": float(len(group)),
        "pairs": float(pairs.ngroups),
        "coverage": float(pairs["predicted"].mean().mean()),
    }
    for name in LATENCIES:
        errors = pairs[f"{name}_error"]
        result[f"{name}_mape"] = float(errors.mean().mean())
        result[f"{name}_median"] = float(errors.median().mean())
        result[f"{name}_p90"] = float(errors.quantile(0.9).mean())
        result[f"{name}_shape"] = float(pairs[f"{name}_shape"].mean().mean())
    return result


def text(summaries: pd.DataFrame) -> str:
    """A summary as lines of text, percent with one digit."""
    shown = summaries.reset_index()
    counts = ["rows", "pairs"]
    shown[counts] = shown[counts].astype(int)
    rest = [name for name in summaries.columns if name not in counts]
    shown[rest] = (100 * shown[rest]).round(1).astype(str).replace("nan", "-")
    return str(shown.to_string(index=False))
