"""Latencies: their distribution in one run, and their growth with the load."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from llmopt_optimizer.output import formatting as fmt
from llmopt_optimizer.report import theme
from llmopt_optimizer.report.evidence import Evidence
from llmopt_problems import Problem

from .parts import Figure, horizontal, rounded, unit, vertical

QUANTILES = 201


def distributions(evidence: Evidence, problem: Problem) -> dict[str, Figure]:
    """Share of requests within each latency, with the service levels as lines."""
    columns = {"ttft": "ttft_s", "tpot": "tpot_s", "e2e": "e2e_s"}
    return {
        metric: _distribution(metric, np.asarray(evidence.requests[column], dtype=np.float64), problem)
        for metric, column in columns.items()
    }


def _distribution(metric: str, seconds: NDArray[np.float64], problem: Problem) -> Figure:
    shares = np.linspace(0.0, 1.0, QUANTILES)
    values = (
        np.quantile(seconds[np.isfinite(seconds)], shares) if np.isfinite(seconds).any() else shares * np.nan
    )
    levels = [level for level in problem.slo if level.metric == metric and level.bound == "at_most"]
    largest = max([float(values.max()), *(level.value for level in levels)])
    factor, unit = (1e3, "ms") if largest < 1.0 else (1.0, "s")
    curve = {
        "type": "scatter",
        "mode": "lines",
        "x": rounded(values * factor),
        "y": rounded(shares * 100),
        "line": {"color": theme.SERIES[0], "width": 2.5},
        "hovertemplate": f"%{{y:.1f}}% of requests within %{{x:.4g}} {unit}<extra></extra>",
    }
    lines = [vertical(level.value * factor, fmt.level_text(level)) for level in levels]
    layout = {
        "xaxis": {"title": {"text": f"{fmt.metric_label(metric)} ({unit})"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "share of requests (%)"}, "range": [0, 101]},
        "showlegend": False,
        "shapes": [shape for shape, _ in lines],
        "annotations": [note for _, note in lines],
    }
    return {"data": [curve], "layout": layout}


def load(evidence: Evidence, problem: Problem) -> dict[str, Figure]:
    """Each bounded latency as the load grows; beyond the last point the deployment saturates."""
    found = {}
    for level in problem.slo:
        if level.is_latency and level.bound == "at_most":
            found[level.key] = _load(evidence.loads, level.key, level.value, fmt.level_text(level))
    return found if evidence.loads else {}


def _load(loads: Mapping[float, Mapping[str, float]], key: str, bound: float, text: str) -> Figure:
    factor, title = unit(key, bound)
    values = [loads[x].get(key, float("nan")) * factor for x in loads]
    finite = [value if np.isfinite(value) else None for value in values]
    shape, note = horizontal(bound * factor, text)
    asked, _ = vertical(100.0, "")
    asked["line"] = {"color": theme.MUTED, "width": 1, "dash": "dot"}
    curve = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [100 * x for x in loads],
        "y": finite,
        "line": {"color": theme.SERIES[0], "width": 2.5},
        "hovertemplate": "%{x:.0f}% of the load: %{y:.4g}<extra></extra>",
    }
    layout = {
        "xaxis": {"title": {"text": "load (% of what was asked)"}},
        "yaxis": {"title": {"text": title}, "type": "log"},
        "shapes": [{**shape, "y0": shape["y0"], "y1": shape["y1"]}, asked],
        "annotations": [{**note, "y": float(np.log10(note["y"]))}],
        "showlegend": False,
    }
    return {"data": [curve], "layout": layout}
