"""The Pyomo components: whatever question their owner asks, the answer is that of the whole grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from pyomo.contrib.solver.common.factory import SolverFactory

from llmopt_optimizer.core.evaluation import evaluate as evaluated
from llmopt_optimizer.core.solvers.scip import ScipBackEnd
from llmopt_optimizer.symbolic import (
    Component,
    EmptyComponent,
    Objective,
    SymbolicModel,
    evaluate,
    grid_search,
    pyomo_component,
    symbolic_model,
)
from llmopt_problems import Problem, load

SMALL = (
    "search.instances={choices: [1, 2, 3, 5]}",
    "search.chunk_tokens={choices: [1024, 8192]}",
    "search.batch_cap={choices: [32, 256]}",
)
COST, GPUS, TPOT, TTFT = "cost_per_million_output_tokens", "gpus", "tpot_p95_s", "ttft_p95_s"
NAMES = [COST, GPUS, TPOT, TTFT, "power_w", "memory_fraction", "energy_per_output_token_j"]


@pytest.fixture(scope="module")
def problem() -> Problem:
    return load("quickstart", SMALL)


@pytest.fixture(scope="module")
def aggregated(problem: Problem) -> SymbolicModel:
    return symbolic_model(problem, "aggregated")


@pytest.fixture(scope="module")
def split(problem: Problem) -> SymbolicModel:
    return symbolic_model(problem, "disaggregated")


def whole_grid(model: SymbolicModel) -> pd.DataFrame:
    """Every feasible point with every metric: each is nondominated when all metrics are objectives both
    ways.
    """
    axes = np.meshgrid(*model.decisions.values(), indexing="ij")
    points = {symbol.name: axis.ravel() for symbol, axis in zip(model.decisions, axes, strict=True)}
    table = pd.DataFrame(points | evaluate(model, NAMES, points))
    return table[table["feasible"] == 1]


def asked(component: Component) -> pyo.ConcreteModel:
    """A question that no problem file asks: least power and GPUs together, TPOT between two bounds."""
    model = pyo.ConcreteModel()
    model.serving = component.block
    metrics = component.metrics
    model.fast = pyo.Constraint(expr=metrics[TPOT] <= 0.025)
    model.slow = pyo.Constraint(expr=metrics[TPOT] >= 0.014)
    model.prompt = pyo.Constraint(expr=metrics[TTFT] <= 1.0)
    model.total = pyo.Objective(expr=metrics["power_w"] / 1000 + metrics[GPUS] / 2)
    return model


def best_of_grid(grid: pd.DataFrame) -> float:
    kept = grid[(grid[TPOT] <= 0.025) & (grid[TPOT] >= 0.014) & (grid[TTFT] <= 1.0)]
    return float((kept["power_w"] / 1000 + kept[GPUS] / 2).min())


@pytest.mark.parametrize("which", ["aggregated", "split"])
def test_the_linear_component_answers_as_the_grid_does(which: str, request: pytest.FixtureRequest) -> None:
    model: SymbolicModel = request.getfixturevalue(which)
    component = pyomo_component(model, NAMES)
    question = asked(component)
    SolverFactory("highs").solve(question)
    assert pyo.value(question.total) == pytest.approx(best_of_grid(whole_grid(model)), rel=1e-6)
    decided = {name: round(pyo.value(value)) for name, value in component.decisions.items()}
    there = evaluate(model, NAMES, decided)
    for name in NAMES:
        assert pyo.value(component.metrics[name]) == pytest.approx(there[name][0], rel=1e-6)
    chosen = dict(pair for choice in component.assignment().choices for pair in choice.values)
    assert chosen == decided


def test_the_direct_component_answers_as_the_grid_does(split: SymbolicModel) -> None:
    component = pyomo_component(split, [COST, TPOT], "direct")
    question = pyo.ConcreteModel()
    question.serving = component.block
    question.fast = pyo.Constraint(expr=component.metrics[TPOT] * 1000 <= 25)
    question.total = pyo.Objective(expr=component.metrics[COST])
    ScipBackEnd(question).solve(None)
    grid = whole_grid(split)
    assert pyo.value(question.total) == pytest.approx(grid[grid[TPOT] <= 0.025][COST].min(), rel=1e-6)
    program = replace(split.program, objectives=(Objective(COST),))
    exact = evaluated(program, component.assignment()).metrics[COST]
    assert float(exact) == pytest.approx(pyo.value(question.total), rel=1e-6)


def test_two_components_share_a_budget_in_one_model(aggregated: SymbolicModel, split: SymbolicModel) -> None:
    """Two services on 14 accelerators: the fastest pair, which neither finds alone."""
    parts = [pyomo_component(model, [TPOT, GPUS]) for model in (aggregated, split)]
    together = pyo.ConcreteModel()
    together.first, together.second = parts[0].block, parts[1].block
    together.budget = pyo.Constraint(expr=sum(part.metrics[GPUS] for part in parts) <= 14)
    together.total = pyo.Objective(expr=sum(part.metrics[TPOT] for part in parts) * 1000)
    SolverFactory("highs").solve(together)
    grids = [whole_grid(model).groupby(GPUS)[TPOT].min() for model in (aggregated, split)]
    pairs = [a + b for g, a in grids[0].items() for h, b in grids[1].items() if g + h <= 14]
    assert pyo.value(together.total) == pytest.approx(1000 * min(pairs), rel=1e-6)


def test_ratios_and_sizes_of_pools_are_linear_in_the_decisions(split: SymbolicModel) -> None:
    component = pyomo_component(split, [COST])
    model = pyo.ConcreteModel()
    model.serving = component.block
    decided = component.decisions
    model.ratio = pyo.Constraint(expr=decided["prefill_instances"] >= 2 * decided["decode_instances"])
    model.chunks = pyo.Constraint(expr=decided["prefill_chunk_tokens"] <= 1024)
    model.total = pyo.Objective(expr=component.metrics[COST])
    SolverFactory("highs").solve(model)
    grid = whole_grid(split)
    kept = grid[
        (grid["prefill_instances"] >= 2 * grid["decode_instances"]) & (grid["prefill_chunk_tokens"] <= 1024)
    ]
    assert pyo.value(model.total) == pytest.approx(kept[COST].min(), rel=1e-6)


def test_nothing_feasible_is_said(aggregated: SymbolicModel) -> None:
    rate = {s: 400.0 for s in aggregated.frozen if s.name == "request_rate_per_s"}
    heavy = replace(aggregated.program, parameters={**aggregated.program.parameters, **rate})
    with pytest.raises(EmptyComponent, match="aggregated"):
        pyomo_component(replace(aggregated, program=heavy), [COST])
    with pytest.raises(KeyError, match="speed"):
        pyomo_component(aggregated, ["speed"])


def test_grid_search_needs_no_limit(aggregated: SymbolicModel) -> None:
    (only,) = grid_search(aggregated, [Objective(COST)]).to_dict("records")
    assert only[COST] == whole_grid(aggregated)[COST].min()
