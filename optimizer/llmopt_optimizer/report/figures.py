"""The plots, as the plain data that the plotting library draws: traces and a layout.

Latencies are drawn in milliseconds or seconds, whichever suits the values; other metrics in the unit of
their name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from llmopt_optimizer.output import formatting as fmt
from llmopt_optimizer.report import theme
from llmopt_optimizer.report.evidence import Evidence, PoolPicture
from llmopt_optimizer.report.what_if import Steps
from llmopt_optimizer.result import Point, Result
from llmopt_problems import Problem

Figure: TypeAlias = dict[str, Any]
QUANTILES = 201
CATEGORIES: Figure = {"type": "category", "autorange": "reversed"}
STATES = ("decoding", "prefilling", "transferring", "waiting")


def front(result: Result) -> Figure:
    """The verified front over the first two objectives, with intervals, predictions, and what was refused."""
    x_name, y_name = (*result.objectives, "gpus")[:2]
    x, y = _Axis(x_name, result), _Axis(y_name, result)
    traces = [
        _predicted(result.front, x, y),
        _simulated("verified", result.front, x, y, theme.VERIFIED, "circle"),
    ]
    if result.cut:
        traces.append(_simulated("refused by simulation", result.cut, x, y, theme.REFUSED, "x"))
    return {
        "data": traces,
        "layout": {"xaxis": {"title": {"text": x.title}}, "yaxis": {"title": {"text": y.title}}},
    }


class _Axis:
    """One metric drawn in a unit that suits its values."""

    def __init__(self, name: str, result: Result) -> None:
        self.name = name
        points = (*result.front, *result.cut)
        largest = max(
            (point.simulated[name].value for point in points if name in point.simulated), default=1.0
        )
        self.factor, self.title = _unit(name, largest)

    def of(self, point: Point) -> float:
        return point.simulated[self.name].value * self.factor

    def predicted(self, point: Point) -> float:
        return point.predicted.get(self.name, float("nan")) * self.factor

    def errors(self, points: Sequence[Point]) -> Figure:
        estimates = [point.simulated[self.name] for point in points]
        up = [(each.high - each.value) * self.factor for each in estimates]
        down = [(each.value - each.low) * self.factor for each in estimates]
        return {"type": "data", "array": up, "arrayminus": down, "thickness": 1, "width": 3}


def _unit(name: str, largest: float) -> tuple[float, str]:
    """By how much a metric is multiplied for drawing, and its label with the unit."""
    label = fmt.metric_label(name)
    if not name.endswith("_s") or name.endswith("_per_s"):
        units = {"cost_per_hour": "$/h", "cost_per_million_output_tokens": "$"}
        return 1.0, f"{label} ({units[name]})" if name in units else label
    return (1e3, f"{label} (ms)") if largest < 1.0 else (1.0, f"{label} (s)")


def _predicted(points: Sequence[Point], x: _Axis, y: _Axis) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "predicted by the formulas",
        "x": [x.predicted(point) for point in points],
        "y": [y.predicted(point) for point in points],
        "marker": {"color": "rgba(0,0,0,0)", "size": 11, "line": {"color": theme.PREDICTED, "width": 2}},
        "hoverinfo": "skip",
    }


def _simulated(name: str, points: Sequence[Point], x: _Axis, y: _Axis, colour: str, symbol: str) -> Figure:
    known = [point for point in points if x.name in point.simulated and y.name in point.simulated]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [x.of(point) for point in known],
        "y": [y.of(point) for point in known],
        "error_x": x.errors(known),
        "error_y": y.errors(known),
        "text": [_hover(point) for point in known],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"color": colour, "size": 9, "symbol": symbol},
    }


def _hover(point: Point) -> str:
    refused = [f"breaks {level}" for level in point.violated]
    return "<br>".join([*fmt.deployment_sentences(point.deployment), *refused])


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
        "x": _rounded(values * factor),
        "y": _rounded(shares * 100),
        "line": {"color": theme.SERIES[0], "width": 2.5},
        "hovertemplate": f"%{{y:.1f}}% of requests within %{{x:.4g}} {unit}<extra></extra>",
    }
    lines = [_vertical(level.value * factor, fmt.level_text(level)) for level in levels]
    layout = {
        "xaxis": {"title": {"text": f"{fmt.metric_label(metric)} ({unit})"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "share of requests (%)"}, "range": [0, 101]},
        "showlegend": False,
        "shapes": [shape for shape, _ in lines],
        "annotations": [note for _, note in lines],
    }
    return {"data": [curve], "layout": layout}


def _vertical(x: float, text: str) -> tuple[Figure, Figure]:
    line = {"color": theme.LEVEL, "width": 1.5, "dash": "dash"}
    shape = {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line}
    note = {"x": x, "y": 1.0, "yref": "paper", "text": text, "showarrow": False, "yanchor": "bottom"}
    return shape, {**note, "font": {"color": theme.LEVEL, "size": 12}}


def _horizontal(y: float, text: str) -> tuple[Figure, Figure]:
    line = {"color": theme.LEVEL, "width": 1.5, "dash": "dash"}
    shape = {"type": "line", "y0": y, "y1": y, "x0": 0, "x1": 1, "xref": "paper", "line": line}
    note = {"y": y, "x": 0.0, "xref": "paper", "text": text, "showarrow": False, "yanchor": "bottom"}
    return shape, {**note, "xanchor": "left", "font": {"color": theme.LEVEL, "size": 12}}


def memory(pools: Iterable[PoolPicture]) -> Figure:
    """What fills the memory of one accelerator of each pool."""
    shown = list(pools)
    names = [f"{pool.role} · {pool.accelerator}" for pool in shown]
    parts = {
        "weights": [pool.memory.weights for pool in shown],
        "activations": [pool.memory.activations for pool in shown],
        "runtime": [pool.memory.reserve for pool in shown],
        "sequence states": [pool.memory.states for pool in shown],
        "KV, most in use": [_kv_used(pool) for pool in shown],
        "KV, never used": [_kv_pool(pool) - _kv_used(pool) for pool in shown],
    }
    used = [sum(values[index] for values in parts.values()) for index in range(len(shown))]
    parts["left free"] = [max(0.0, pool.hbm_bytes - total) for pool, total in zip(shown, used, strict=True)]
    colours = (*theme.SERIES[:4], "#3f8f6b", "#bcdccb", "#e6eaee")
    traces = [
        _bar(name, names, [value / 1e9 for value in values], colour, "%{x:.3g} GB")
        for (name, values), colour in zip(parts.items(), colours, strict=True)
        if any(values)
    ]
    layout = {
        "barmode": "stack",
        "xaxis": {"title": {"text": "GB of one accelerator"}},
        "yaxis": CATEGORIES,
    }
    return {"data": traces, "layout": layout}


def _kv_pool(pool: PoolPicture) -> float:
    return pool.memory.kv_capacity_tokens * pool.memory.kv_bytes_per_token


def _kv_used(pool: PoolPicture) -> float:
    return min(_kv_pool(pool), pool.peak_kv_tokens * pool.memory.kv_bytes_per_token)


def utilization(pools: Iterable[PoolPicture]) -> Figure:
    """How busy each pool is: time in steps, and shares of its peak compute, bandwidth and links."""
    traces = [
        _bar(
            pool.role, list(pool.shares), [100 * value for value in pool.shares.values()], colour, "%{x:.3g}%"
        )
        for pool, colour in zip(pools, theme.SERIES, strict=False)
    ]
    axis = {"title": {"text": "share of time or peak (%)"}, "range": [0, 100]}
    return {"data": traces, "layout": {"barmode": "group", "xaxis": axis, "yaxis": CATEGORIES}}


def _percent(shares: Mapping[str, float]) -> list[float]:
    return [100 * value for value in shares.values()]


def phases(evidence: Evidence) -> Figure:
    """Where the requests' time goes."""
    traces = [
        _bar(name, ["requests"], [100 * value], colour, "%{x:.3g}%")
        for (name, value), colour in zip(evidence.phases.items(), theme.SERIES, strict=False)
    ]
    axis = {"title": {"text": "share of all requests' time (%)"}, "range": [0, 100]}
    return {"data": traces, "layout": {"barmode": "stack", "xaxis": axis, "yaxis": CATEGORIES}}


def _bar(name: str, labels: list[str], values: list[float], colour: str, shown: str) -> Figure:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "y": labels,
        "x": _rounded(values),
        "marker": {"color": colour},
        "hovertemplate": f"{name}: {shown}<extra></extra>",
    }


def load(evidence: Evidence, problem: Problem) -> dict[str, Figure]:
    """Each bounded latency as the load grows; beyond the last point the deployment saturates."""
    found = {}
    for level in problem.slo:
        if level.is_latency and level.bound == "at_most":
            found[level.key] = _load(evidence.loads, level.key, level.value, fmt.level_text(level))
    return found if evidence.loads else {}


def _load(loads: Mapping[float, Mapping[str, float]], key: str, bound: float, text: str) -> Figure:
    factor, title = _unit(key, bound)
    values = [loads[x].get(key, float("nan")) * factor for x in loads]
    finite = [value if np.isfinite(value) else None for value in values]
    shape, note = _horizontal(bound * factor, text)
    asked, _ = _vertical(100.0, "")
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


def steps(found: Steps) -> Figure:
    """The best objective as one limit moves, among all simulated deployments."""
    y_factor, y_title = _unit(found.objective, max(found.best, default=1.0))
    x_factor, x_title = _unit(found.metric, max(found.limits, default=1.0))
    asked = [] if found.asked is None else [_vertical(found.asked * x_factor, "asked")]
    curve = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": _rounded([value * x_factor for value in found.limits]),
        "y": _rounded([value * y_factor for value in found.best]),
        "line": {"shape": "hv", "color": theme.SERIES[0], "width": 2.5},
        "hovertemplate": "from %{x:.4g} on: %{y:.4g}<extra></extra>",
    }
    layout = {
        "xaxis": {"title": {"text": f"limit of {x_title}"}},
        "yaxis": {"title": {"text": f"best {y_title}"}},
        "shapes": [shape for shape, _ in asked],
        "annotations": [note for _, note in asked],
        "showlegend": False,
    }
    return {"data": [curve], "layout": layout}


def minute(evidence: Evidence) -> dict[str, Figure]:
    """A simulated minute: requests in each phase, and tokens a second."""
    series = evidence.minute
    times = _rounded(series["time_s"])
    states = [
        _area(name, times, series[name], colour)
        for name, colour in zip(
            ("decoding", "prefilling", "transferring", "waiting"), theme.SERIES, strict=False
        )
    ]
    tokens = [
        _line(label, times, series[name], colour)
        for (label, name), colour in zip(
            {"input tokens computed": "input_tokens_per_s", "output tokens": "output_tokens_per_s"}.items(),
            theme.SERIES,
            strict=False,
        )
    ]
    return {
        "states": {"data": states, "layout": _over_time("requests")},
        "tokens": {"data": tokens, "layout": _over_time("tokens a second")},
    }


def _over_time(what: str) -> Figure:
    return {"xaxis": {"title": {"text": "simulated time (s)"}}, "yaxis": {"title": {"text": what}}}


def _area(name: str, times: list[float], values: NDArray[np.float64], colour: str) -> Figure:
    return {
        **_line(name, times, values, colour),
        "stackgroup": "states",
        "line": {"width": 0.5, "color": colour},
    }


def _line(name: str, times: list[float], values: NDArray[np.float64], colour: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": times,
        "y": _rounded(values),
        "line": {"color": colour, "width": 1.8},
    }


def _rounded(values: Iterable[float]) -> list[float]:
    """Five significant digits: enough for a pixel, and small in the file."""
    return [float(f"{value:.5g}") for value in values]
