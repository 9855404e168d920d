"""The predictions file: the table that was read with four columns more."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from llmopt_calibration.sources.serving_points import ServingRows
from llmopt_optimizer.validation.predict import Prediction


def predictions_csv(rows: ServingRows, predictions: Sequence[Prediction]) -> str:
    """The rows as they were read with `ttft_ms_predicted`, `tpot_ms_predicted`, `basis` and `error`.

    A row that could not be predicted has empty numbers and its reason in `error`.
    """
    columns = {
        "ttft_ms_predicted": [_milliseconds(item.ttft_s) for item in predictions],
        "tpot_ms_predicted": [_milliseconds(item.tpot_s) for item in predictions],
        "basis": [item.basis or "" for item in predictions],
        "error": [item.error for item in predictions],
    }
    kept = rows.frame.drop(columns=[name for name in columns if name in rows.frame])
    return str(pd.concat([kept, pd.DataFrame(columns, index=kept.index)], axis=1).to_csv(index=False))


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds:.6g}"
