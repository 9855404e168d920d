"""What several plots are made of: units, lines, bars, the marks of a limit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from llmopt_optimizer.output import formatting as fmt
from llmopt_optimizer.report import theme

Figure: TypeAlias = dict[str, Any]
"""Traces and a layout, as the plotting library takes them."""
CATEGORIES: Figure = {"type": "category", "autorange": "reversed"}


def unit(name: str, largest: float) -> tuple[float, str]:
    """By how much a metric is multiplied for drawing, and its label with the unit."""
    label = fmt.metric_label(name)
    if not name.endswith("_s") or name.endswith("_per_s"):
        units = {"cost_per_hour": "$/h", "cost_per_million_output_tokens": "$"}
        return 1.0, f"{label} ({units[name]})" if name in units else label
    return (1e3, f"{label} (ms)") if largest < 1.0 else (1.0, f"{label} (s)")


def vertical(x: float, text: str) -> tuple[Figure, Figure]:
    line = {"color": theme.LEVEL, "width": 1.5, "dash": "dash"}
    shape = {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line}
    note = {"x": x, "y": 1.0, "yref": "paper", "text": text, "showarrow": False, "yanchor": "bottom"}
    return shape, {**note, "font": {"color": theme.LEVEL, "size": 12}}


def horizontal(y: float, text: str) -> tuple[Figure, Figure]:
    line = {"color": theme.LEVEL, "width": 1.5, "dash": "dash"}
    shape = {"type": "line", "y0": y, "y1": y, "x0": 0, "x1": 1, "xref": "paper", "line": line}
    note = {"y": y, "x": 0.0, "xref": "paper", "text": text, "showarrow": False, "yanchor": "bottom"}
    return shape, {**note, "xanchor": "left", "font": {"color": theme.LEVEL, "size": 12}}


def bar(name: str, labels: list[str], values: list[float], colour: str, shown: str) -> Figure:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "y": labels,
        "x": rounded(values),
        "marker": {"color": colour},
        "hovertemplate": f"{name}: {shown}<extra></extra>",
    }


def line(name: str, times: list[float], values: NDArray[np.float64], colour: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": times,
        "y": rounded(values),
        "line": {"color": colour, "width": 1.8},
    }


def rounded(values: Iterable[float]) -> list[float]:
    """Five significant digits: enough for a pixel, and small in the file."""
    return [float(f"{value:.5g}") for value in values]
