"""What a deployment chosen by predictions is worth: its measured throughput over that of the best one.

A *choice* is among measured points that differ only in layout and users; a bound on TPOT is a quantile of
their measured TPOTs. The score is the measured throughput of the pick over that of the best point that meets
the bound, and zero when the pick breaks it or when nothing is predicted to meet it. Two rules pick:

- *believing*: the highest predicted throughput for each accelerator among those whose predicted TPOT meets
  the bound;
- *weighing*: the highest throughput · P^caution, where P is the probability that the bound is kept, by the
  distribution of measured over predicted TPOT on other pairs (`llmopt_calibration.engine.error_bars`). With
  caution 1 that is the expected score; more is right where the pick is the luckiest of many predictions.

Caution is one number for all choices. It is fitted like every constant: a pair is scored under the one that
served the other pairs best, and so is the distribution of errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from llmopt_calibration.engine.error_bars import ErrorDistribution, error_distribution
from llmopt_calibration.sources.serving_points import ServingPoint
from llmopt_optimizer.validation.predict import Prediction

QUANTILES: Final = (0.25, 0.5, 0.75)
CAUTIONS: Final = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
"""Exponents of the probability that the bound is kept."""
Rule = Callable[[pd.DataFrame, float], pd.Series]
"""What every candidate of a choice is worth under a bound; nothing is worth zero."""
_NOT_PREDICTED: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Decisions:
    """Scores of all choices."""

    table: pd.DataFrame
    """One row a choice and bound: choice, pair, kind, engine, quantile, candidates, score, broken, empty."""
    cautions: tuple[float, float]
    """Smallest and largest caution over the held-out pairs; both 0 where predictions are believed."""


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
    return Decisions(_scored(table, _believing), (0.0, 0.0))


def careful_decisions(table: pd.DataFrame) -> Decisions:
    """Choices that weigh probabilities; errors and caution are those of other pairs than the choice's own."""
    errors = {pair: _errors_of_others(table, pair) for pair in sorted(set(table["pair"]))}
    by_caution = {caution: _scored(table, _weighing(errors, caution)) for caution in CAUTIONS}
    chosen = {pair: _best_caution(by_caution, pair) for pair in errors}
    parts = [by_caution[caution][by_caution[caution]["pair"] == pair] for pair, caution in chosen.items()]
    return Decisions(pd.concat(parts), (min(chosen.values()), max(chosen.values())))


def _believing(group: pd.DataFrame, bound: float) -> pd.Series:
    """Predicted throughput of those predicted to meet the bound, zero for the others."""
    throughput: pd.Series = group["throughput_predicted"]
    return throughput.where(group["tpot_predicted"] <= bound, 0.0)


def _weighing(errors: Mapping[str, ErrorDistribution], caution: float) -> Rule:
    """The rule that weighs throughput with the probability that the bound is kept."""

    def worth(group: pd.DataFrame, bound: float) -> pd.Series:
        kept = errors[group["pair"].iloc[0]].probability_below(bound / group["tpot_predicted"])
        weighed: pd.Series = group["throughput_predicted"] * kept**caution
        return weighed

    return worth


def _errors_of_others(table: pd.DataFrame, pair: str) -> ErrorDistribution:
    """Measured over predicted TPOT of all pairs but one; of a table of one pair, its own."""
    predicted = table[np.isfinite(table["tpot_predicted"])]
    others = predicted[predicted["pair"] != pair]
    known = predicted if others.empty else others
    ratio = (known["tpot"] / known["tpot_predicted"]).to_numpy(np.float64)
    return error_distribution(ratio, known["pair"].to_numpy(str))


def _scored(table: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """The score of every choice at every bound under one rule."""
    rows = [
        _score(group, quantile, rule)
        for _, group in table.groupby("choice", sort=True)
        for quantile in QUANTILES
    ]
    return pd.DataFrame(rows)


def _best_caution(by_caution: Mapping[float, pd.DataFrame], left_out: str) -> float:
    """The caution of the highest score averaged over the other pairs; the smallest of equals."""
    scores = {
        caution: table[table["pair"] != left_out].groupby("pair")["score"].mean().mean()
        for caution, table in by_caution.items()
    }
    best = max((score for score in scores.values() if np.isfinite(score)), default=np.nan)
    return next((caution for caution, score in scores.items() if score >= best), CAUTIONS[0])


def _score(group: pd.DataFrame, quantile: float, rule: Rule) -> dict[str, object]:
    bound = float(group["tpot"].quantile(quantile))
    best = group.loc[group["tpot"] <= bound, "throughput"].max()
    worth = rule(group, bound)
    empty = not bool((worth > 0).any())
    row: dict[str, object] = {name: group[name].iloc[0] for name in ("choice", "pair", "kind", "engine")}
    row |= {"quantile": quantile, "candidates": len(group), "empty": empty, "broken": False}
    if empty:
        return row | {"score": 0.0}
    pick = group.iloc[int(worth.argmax())]
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
