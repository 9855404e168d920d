"""The calibration report: one HTML file that fetches nothing, with a table and plots of every family.

Plots are drawn by plotly, whose code is embedded once; a content security policy forbids
the page every request.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from llmopt_calibration.fitting.calibrate import Calibration, FamilyFit
from llmopt_calibration.fitting.fit import sample
from llmopt_calibration.fitting.summary import HEADINGS, coefficient_rows, summary_rows

PLOTTED_ROWS = 1500
"""Points of a plot; more are sampled, and the page says so."""
MODEBAR_OFF = {"displaylogo": False, "responsive": True}
COLOURS = {False: "#4477aa", True: "#cc6677"}
GROUPS = {False: "fitted", True: "held out"}
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}th,td{padding:.15rem .8rem;text-align:right;border-bottom:1px solid #ddd}"
    "th:first-child,td:first-child{text-align:left}"
)


def report_html(calibration: Calibration) -> str:
    """The page. Raises `ModuleNotFoundError` where plotly is not installed."""
    from plotly.offline import get_plotlyjs

    title = html.escape(f"Calibration of {calibration.accelerator.name} under {calibration.engine}")
    sections = "".join(part for found in calibration.families.values() for part in _section(found))
    skipped = "".join(f"<li>{html.escape(reason)}</li>" for reason in calibration.skipped.values())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><style>{STYLE}</style>'
        f"<script>{get_plotlyjs()}</script></head><body><h1>{title}</h1>"
        f"<p>Errors are those of shapes that were held out: never fitted, and no part of any choice.</p>"
        f"{_table(HEADINGS, summary_rows(calibration))}"
        f"{f'<h2>Not fitted</h2><ul>{skipped}</ul>' if skipped else ''}{sections}</body></html>\n"
    )


def _table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in headings)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _section(found: FamilyFit) -> Iterator[str]:
    """Heading, provenance, coefficients and the two figures of a family."""
    family, source = html.escape(found.law.family), found.data.provenance
    origin = f"{source.package} {source.package_version}, {source.table}, {source.measured_on or 'no date'}"
    yield f'<h2 id="{family}">{family}</h2><p>{html.escape(origin)}; sha256 {source.sha256[:16]}…</p>'
    yield _table(("coefficient", "value", "95% interval", "unit", "meaning"), coefficient_rows(found))
    rows = sample(np.arange(len(found.predicted_s)), PLOTTED_ROWS, seed=0)
    if len(rows) < len(found.predicted_s):
        yield f"<p>Plots show {len(rows)} of {len(found.predicted_s)} shapes.</p>"
    plotted = found.data.shape.iloc[rows].assign(
        measured_us=found.data.seconds[rows] * 1e6,
        predicted_us=found.predicted_s[rows] * 1e6,
        error_percent=100 * found.relative_error[rows],
        held_out=found.held_out[rows],
    )
    yield _figure(agreement_figure(plotted))
    yield _figure(residual_figure(plotted, _varying(found.data.shape)))


def _varying(shape: pd.DataFrame) -> list[str]:
    return [str(name) for name, column in shape.items() if column.nunique() > 1]


def _figure(figure: dict[str, Any]) -> str:
    from plotly.io import to_html

    text: str = to_html(figure, full_html=False, include_plotlyjs=False, config=MODEBAR_OFF, validate=False)
    return text


def agreement_figure(rows: pd.DataFrame) -> dict[str, Any]:
    """Predicted against measured time, both logarithmic, with the diagonal."""
    traces = [_trace(rows, "measured_us", "predicted_us", held_out, "") for held_out in GROUPS]
    ends = [float(rows["measured_us"].min()), float(rows["measured_us"].max())]
    diagonal = {"x": ends, "y": ends, "mode": "lines", "name": "equal", "line": {"color": "#999", "width": 1}}
    axes = {"xaxis": _log_axis("measured, µs"), "yaxis": _log_axis("predicted, µs")}
    return {"data": [*traces, diagonal], "layout": {"height": 420, **axes}}


def residual_figure(rows: pd.DataFrame, sizes: list[str]) -> dict[str, Any]:
    """Relative error over every size that varies, one panel a size."""
    traces, layout = [], {"height": 300, "grid": {"rows": 1, "columns": max(1, len(sizes))}}
    for index, name in enumerate(sizes, 1):
        suffix = "" if index == 1 else str(index)
        traces += [_trace(rows, name, "error_percent", held_out, suffix) for held_out in GROUPS]
        layout[f"xaxis{suffix}"] = _log_axis(name)
        layout[f"yaxis{suffix}"] = {"title": {"text": "error, %" if index == 1 else ""}, "zeroline": True}
    return {"data": traces, "layout": layout}


def _trace(rows: pd.DataFrame, x: str, y: str, held_out: bool, axis: str) -> dict[str, Any]:
    part = rows[rows["held_out"] == held_out]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": part[x].round(6).tolist(),
        "y": part[y].round(4).tolist(),
        "xaxis": f"x{axis}",
        "yaxis": f"y{axis}",
        "name": GROUPS[held_out],
        "showlegend": axis == "",
        "marker": {"size": 4, "color": COLOURS[held_out], "opacity": 0.6},
    }


def _log_axis(title: str) -> dict[str, Any]:
    return {"title": {"text": title}, "type": "log"}
