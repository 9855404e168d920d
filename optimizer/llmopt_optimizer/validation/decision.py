"""What a deployment chosen by predictions is worth: its measured throughput over that of the best one.

A *choice* is among measured points that differ only in layout and users. It picks the highest predicted
throughput for each accelerator among those whose predicted TPOT, times a safety margin, meets a bound; the
bound is a quantile of the measured TPOTs. The score is the measured throughput of the pick over that of the
best point that meets the bound, and zero when the pick breaks it or when nothing is predicted to meet it.

The margin is one number for all choices. It is fitted like every constant: a pair is scored under the margin
that served the other pairs best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from llmopt_calibration.sources.serving_points import ServingPoint
from llmopt_optimizer.validation.predict import Prediction

QUANTILES: Final = (0.25, 0.5, 0.75)
MARGINS: Final = tuple(round(1 + 0.01 * step, 2) for step in range(31))
"""Factors on a predicted TPOT before it is held against the bound."""
_NOT_PREDICTED: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Decisions:
    """Scores of all choices."""

    table: pd.DataFrame
    """One row a choice and bound: choice, pair, kind, engine, quantile, candidates, score, broken, empty."""
    margins: tuple[float, float]
    """Smallest and largest margin over the held-out pairs; both 1 without one."""


def candidates(points: Sequence[ServingPoint], predictions: Sequence[Prediction]) -> pd.DataFrame:
    """One row a measured point: its choice, measured and predicted TPOT and throughput an accelerator."""
    rows = [
        _candidate(point, prediction)
        for point, prediction in zip(points, predictions, strict=True)
        if point.ttft_s is not None and point.tpot_s is not None
    ]
    table = pd.DataFrame(rows)
    several = table.groupby("choice")["choice"].transform("size") > 1
    return table.loc[several]


def plain_decisions(table: pd.DataFrame) -> Decisions:
    """Choices among `candidates` that believe the predictions."""
    return Decisions(scored(table, 1.0), (1.0, 1.0))


def careful_decisions(table: pd.DataFrame) -> Decisions:
    """Choices under a margin that is fitted with the choice's own pair left out."""
    by_margin = {margin: scored(table, margin) for margin in MARGINS}
    chosen = {pair: _best_margin(by_margin, pair) for pair in sorted(set(table["pair"]))}
    parts = [by_margin[margin][by_margin[margin]["pair"] == pair] for pair, margin in chosen.items()]
    return Decisions(pd.concat(parts), (min(chosen.values()), max(chosen.values())))


def scored(table: pd.DataFrame, margin: float) -> pd.DataFrame:
    """The score of every choice at every bound under one margin."""
    rows = [
        _score(group, quantile, margin)
        for _, group in table.groupby("choice", sort=True)
        for quantile in QUANTILES
    ]
    return pd.DataFrame(rows)


def _best_margin(by_margin: dict[float, pd.DataFrame], left_out: str) -> float:
    """The margin of the highest score averaged over the other pairs; the smallest of equals."""
    scores = {
        margin: table[table["pair"] != left_out].groupby("pair")["score"].mean().mean()
        for margin, table in by_margin.items()
    }
    best = max((score for score in scores.values() if np.isfinite(score)), default=np.nan)
    return next((margin for margin, score in scores.items() if score >= best), 1.0)


def _score(group: pd.DataFrame, quantile: float, margin: float) -> dict[str, object]:
    bound = group["tpot"].quantile(quantile)
    best = group.loc[group["tpot"] <= bound, "throughput"].max()
    allowed = group[group["tpot_predicted"] * margin <= bound]
    row: dict[str, object] = {name: group[name].iloc[0] for name in ("choice", "pair", "kind", "engine")}
    row |= {"quantile": quantile, "candidates": len(group), "empty": allowed.empty, "broken": False}
    if allowed.empty:
        return row | {"score": 0.0}
    pick = allowed.iloc[int(allowed["throughput_predicted"].argmax())]
    broken = bool(pick["tpot"] > bound)
    return row | {"broken": broken, "score": 0.0 if broken else float(pick["throughput"] / best)}


def _candidate(point: ServingPoint, prediction: Prediction) -> dict[str, object]:
    lengths = (point.shortest_input, point.longest_input, point.shortest_output, point.longest_output)
    choice = (point.pair, point.engine, point.source, point.weights, point.mode, lengths)
    return {
        "choice": repr(choice),
        "pair": " on ".join(point.pair),
        "kind": point.kind,
        "engine": point.engine,
        "tpot": point.tpot_s,
        "throughput": _throughput(point, point.ttft_s, point.tpot_s),
        "tpot_predicted": _NOT_PREDICTED if prediction.tpot_s is None else prediction.tpot_s,
        "throughput_predicted": _throughput(point, prediction.ttft_s, prediction.tpot_s),
    }


def _throughput(point: ServingPoint, ttft_s: float | None, tpot_s: float | None) -> float:
    """Output tokens a second and accelerator of the closed loop (Little's law)."""
    if ttft_s is None or tpot_s is None:
        return 0.0
    outputs = (point.shortest_output + point.longest_output) / 2
    return point.concurrency * outputs / (ttft_s + (outputs - 1) * tpot_s) / point.accelerators
