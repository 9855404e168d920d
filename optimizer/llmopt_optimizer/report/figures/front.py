"""The front of best deployments, and the best as one limit moves."""

from __future__ import annotations

from collections.abc import Sequence

from llmopt_optimizer.output import formatting as fmt
from llmopt_optimizer.report import theme
from llmopt_optimizer.report.what_if import Steps
from llmopt_optimizer.result import Point, Result

from .parts import Figure, rounded, unit, vertical


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
        self.factor, self.title = unit(name, largest)

    def of(self, point: Point) -> float:
        return point.simulated[self.name].value * self.factor

    def predicted(self, point: Point) -> float:
        return point.predicted.get(self.name, float("nan")) * self.factor

    def errors(self, points: Sequence[Point]) -> Figure:
        estimates = [point.simulated[self.name] for point in points]
        up = [(each.high - each.value) * self.factor for each in estimates]
        down = [(each.value - each.low) * self.factor for each in estimates]
        return {"type": "data", "array": up, "arrayminus": down, "thickness": 1, "width": 3}


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


def steps(found: Steps) -> Figure:
    """The best objective as one limit moves, among all simulated deployments."""
    y_factor, y_title = unit(found.objective, max(found.best, default=1.0))
    x_factor, x_title = unit(found.metric, max(found.limits, default=1.0))
    asked = [] if found.asked is None else [vertical(found.asked * x_factor, "asked")]
    curve = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": rounded([value * x_factor for value in found.limits]),
        "y": rounded([value * y_factor for value in found.best]),
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
