"""How the page looks: its colours, its style sheet, and the layout that every plot shares."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final

VERIFIED: Final = "#0b6e4f"
PREDICTED: Final = "#7aa6c2"
REFUSED: Final = "#c8553d"
LEVEL: Final = "#b3261e"
INK: Final = "#1d2733"
MUTED: Final = "#637080"
SERIES: Final = ("#1f5f8b", "#0b6e4f", "#e09f3e", "#8e5572", "#637080", "#c8553d")

AXIS: Final[dict[str, Any]] = {
    "type": "linear",
    "gridcolor": "#e6eaee",
    "zeroline": False,
    "linecolor": "#c5ccd3",
    "automargin": True,
    "title": {"font": {"size": 13}, "standoff": 12},
}
PLOT: Final[dict[str, Any]] = {
    "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "margin": {"l": 64, "r": 20, "t": 40, "b": 52},
    "hoverlabel": {"align": "left"},
    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
    "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#b6bfc8", "activecolor": INK},
    "colorway": list(SERIES),
    "xaxis": AXIS,
    "yaxis": AXIS,
}


def style() -> str:
    """The style sheet."""
    return files(__package__).joinpath("style.css").read_text(encoding="utf-8")
