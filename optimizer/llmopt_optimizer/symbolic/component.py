"""A model as a Pyomo block: its decisions, its constraints, and metrics as expressions to build on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from llmopt_optimizer.core.component import Component, column_component, direct_component
from llmopt_optimizer.symbolic.model import SymbolicModel

Route = Literal["columns", "direct"]


def pyomo_component(model: SymbolicModel, metrics: Iterable[str], route: Route = "columns") -> Component:
    """The model as a Pyomo block that a caller's own model takes in, with these metrics as expressions.

    `columns` tabulates each pool (one binary a feasible row) and is linear: HiGHS and every solver of integer
    programs take it. `direct` keeps decisions, states and laws as they are, for solvers of nonlinear
    integer programs; SCIP 10 must run with `separating/aggregation/freq = -1`, or its optima may be wrong.

    Raises `KeyError` for a metric that the model does not have.
    """
    names = list({name: model.metrics[name] for name in metrics})
    return (column_component if route == "columns" else direct_component)(model.program, names)
