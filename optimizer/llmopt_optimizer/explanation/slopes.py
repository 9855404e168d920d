"""Exact slopes of metrics around one deployment: derivatives of the expressions, not differences of numbers.

Implicit states are differentiated through their equations. Decisions are taken as continuous, so their slope
says which way and how steeply a metric would go, and the next whole value what it really does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from llmopt_optimizer.core.program import Assignment, Program
from llmopt_optimizer.frozen import Frozen
from llmopt_optimizer.symbolic.derivatives import gradient
from llmopt_optimizer.symbolic.model import model_of, states_at

Slopes = Mapping[tuple[str, str], float]
"""The derivative by metric and name of a decision or frozen parameter, in units of the one over the other."""


def slopes(program: Program, assignment: Assignment, frozen: Frozen, metrics: Sequence[str]) -> Slopes:
    """The derivative of each metric in each decision and frozen parameter that it depends on.

    Where an expression has no slope (a Max at a tie with a pole beside it) there is no entry.
    """
    mode = program.system(assignment.system).name
    chosen = {choice.pool: choice.variant for choice in assignment.choices}
    model = model_of(program, frozen, "aggregated" if mode == "aggregated" else "disaggregated", chosen)
    point = states_at(model, {n: v for choice in assignment.choices for n, v in choice.values})
    return {
        (metric, name): slope
        for metric in metrics
        if metric in model.metrics
        for name, slope in gradient(model, metric).at(point).items()
        if isfinite(slope)
    }
