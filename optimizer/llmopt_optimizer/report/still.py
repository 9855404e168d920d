"""Plots of the report as still pictures, PNG and SVG, for papers and tickets.

A picture is drawn from the same plain data that a browser draws in the report: markers with their intervals,
axes with their titles. Nothing is fetched and no window opens. Needs the extra `plot` (matplotlib).
"""

from __future__ import annotations

import math
from io import BytesIO
from typing import TYPE_CHECKING, Any

from llmopt_optimizer.report import theme
from llmopt_optimizer.report.figures.parts import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = (7.2, 4.4)
DOTS_PER_INCH = 160
MARKERS = {"circle": "o", "x": "X"}
CLEAR = "rgba(0,0,0,0)"


def pictures(figure: Figure, title: str) -> dict[str, bytes]:
    """The figure as `png` and `svg`; the same figure gives the same bytes."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Sheet

    settings = {
        "svg.hashsalt": "llmopt",
        "svg.fonttype": "path",
        "font.family": "DejaVu Sans",
        "font.size": 9,
    }
    with rc_context(settings):
        sheet = Sheet(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
        axes = sheet.subplots()
        for trace in figure["data"]:
            _markers(axes, trace)
        _frame(axes, figure["layout"], title)
        return {kind: _bytes(sheet, kind) for kind in ("png", "svg")}


def _bytes(sheet: Any, kind: str) -> bytes:
    stream = BytesIO()
    undated = {"Date": None} if kind == "svg" else {"Software": None}
    sheet.savefig(stream, format=kind, metadata=undated)
    return stream.getvalue()


def _markers(axes: Axes, trace: Figure) -> None:
    marker = trace["marker"]
    hollow = marker["color"] == CLEAR
    axes.errorbar(
        trace["x"],
        trace["y"],
        xerr=_interval(trace, "error_x"),
        yerr=_interval(trace, "error_y"),
        fmt=MARKERS[marker.get("symbol", "circle")],
        markersize=7 if hollow else 5,
        color=marker["line"]["color"] if hollow else marker["color"],
        markerfacecolor="none" if hollow else marker["color"],
        elinewidth=0.8,
        capsize=2,
        label=trace["name"],
    )


def _interval(trace: Figure, key: str) -> list[list[float]] | None:
    """Lengths below and above; an end that is not known has none."""
    errors = trace.get(key)
    if errors is None:
        return None
    return [[x if math.isfinite(x) else 0.0 for x in errors[side]] for side in ("arrayminus", "array")]


def _frame(axes: Axes, layout: Figure, title: str) -> None:
    axes.set_title(title, loc="left", color=theme.INK, fontsize=10)
    axes.set_xlabel(layout["xaxis"]["title"]["text"], color=theme.INK)
    axes.set_ylabel(layout["yaxis"]["title"]["text"], color=theme.INK)
    axes.grid(color=theme.AXIS["gridcolor"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, labelcolor=theme.MUTED)
