"""The symbolic API: the same numbers as the optimizer's own, derivatives that finite differences confirm."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from llmopt_optimizer.core.program import Assignment, Choice
from llmopt_optimizer.formulation.build import build_program
from llmopt_optimizer.frozen import from_traffic
from llmopt_optimizer.loop.prediction import predictor
from llmopt_optimizer.result import SIMULATED, FrozenParameter
from llmopt_optimizer.scenario import resolve
from llmopt_optimizer.symbolic import (
    SymbolicModel,
    bound,
    decision_bound,
    engine_rules,
    evaluate,
    frozen_table,
    gradient,
    ratio_bound,
    symbolic_model,
)
from llmopt_optimizer.symbolic.model import states_at
from llmopt_problems import Problem, load

SERVE = {"tp": 4, "pp": 1, "ep": 1, "dp": 1, "instances": 3, "chunk_tokens": 2048, "batch_cap": 128}
POINT = {f"serve_{name}": value for name, value in SERVE.items()}


@pytest.fixture(scope="module")
def problem() -> Problem:
    return load("quickstart")


@pytest.fixture(scope="module")
def model(problem: Problem) -> SymbolicModel:
    return symbolic_model(problem, "aggregated")


def test_metrics_are_those_of_the_optimizer(problem: Problem, model: SymbolicModel) -> None:
    scenario = resolve(problem)
    frozen = from_traffic(scenario.traffic, prefix_cache=True)
    choice = Choice("serve", "H200-SXM", tuple(POINT.items()))
    expected = predictor(build_program(scenario, frozen)).at(
        Assignment("aggregated", (choice,)), frozen.parameters()
    )
    names = ["ttft_p95_s", "tpot_p95_s", "power_w", "cost_per_million_output_tokens", "peak_memory_bytes"]
    found = evaluate(model, names, POINT)
    assert found["feasible"][0] == 1
    for name in names:
        assert found[name][0] == pytest.approx(expected[name], rel=1e-9)


def test_arrays_are_broadcast_and_infeasible_points_marked(model: SymbolicModel) -> None:
    grid = evaluate(model, ["tpot_p95_s"], {**POINT, "serve_tp": [[1], [4]], "serve_instances": [1, 2, 4]})
    assert grid["tpot_p95_s"].shape == (2, 3)
    assert grid["feasible"][1, 2] == 1
    assert grid["feasible"][0, 0] == 0  # one H200 cannot carry the load


def test_gradients_are_the_slopes_of_finite_differences(model: SymbolicModel) -> None:
    metrics = ["tpot_mean_s", "cost_per_million_output_tokens"]
    known = states_at(model, {**POINT, "serve_dp": 2})  # at 1 the traffic between ranks has a kink
    here = {symbol.name: value for symbol, value in known.items()}
    gradients = {metric: gradient(model, metric) for metric in metrics}
    slopes = {metric: found.at(known) for metric, found in gradients.items()}
    at_kink = gradients["tpot_mean_s"].at(states_at(model, POINT))
    assert all(np.isfinite(slope) for slope in at_kink.values())
    names = sorted({name for found in slopes.values() for name in found})
    steps = {name: 1e-5 * max(1.0, abs(here[name])) for name in names}
    moved = {
        name: here[name]
        + steps.get(name, 0.0) * np.array([sign * (name == each) for each in names for sign in (-1, 1)])
        for name in {*POINT, *names}
    }
    found = evaluate(model, metrics, moved)
    assert "serve_instances" in names
    for metric in metrics:
        pairs = found[metric].reshape(-1, 2)
        for name, (low, high) in zip(names, pairs, strict=True):
            slope = slopes[metric].get(name, 0.0)
            assert slope == pytest.approx((high - low) / (2 * steps[name]), rel=1e-4, abs=1e-9 * abs(high))


def test_relations_hold_where_the_bounds_do(problem: Problem, model: SymbolicModel) -> None:
    numbers = {symbol: float(value) for symbol, value in states_at(model, POINT).items()}
    (upper,) = bound(model, "cost_per_hour", at_most=50)
    lower, over = bound(model, "gpus", at_most=20, at_least=13)[::-1]
    (batch,) = decision_bound(model, "serve_batch_cap", at_least=64)
    assert [bool(each.subs(numbers)) for each in (upper, lower, over, batch)] == [True, False, True, True]
    split = symbolic_model(problem, "disaggregated")
    (ratio,) = ratio_bound(split, at_most=2)
    assert ratio.free_symbols == {split.symbol("prefill_instances"), split.symbol("decode_instances")}
    assert all(isinstance(each, sp.Rel) for each in engine_rules(model))


def test_frozen_parameters_are_a_table(model: SymbolicModel) -> None:
    table = frozen_table(model).set_index("name")
    assert table.loc["request_rate_per_s", "value"] == 6.0
    assert table.loc["request_rate_per_s", "unit"] == "1/s"
    assert set(table["source"]) == {"traffic", "assumed until simulated"}
    assert (table["low"] <= table["high"]).all()
    assert table["meaning"].str.len().min() > 5
    assert table["unit"].str.len().min() > 0


def test_frozen_parameters_of_a_solve_take_the_place_of_the_first_ones(problem: Problem) -> None:
    spread = FrozenParameter("spread_aggregated_ttft_p95", 1.5, 1.2, 1.7, "1", "p95 TTFT", SIMULATED)
    measured = symbolic_model(problem, "aggregated", frozen=[spread])
    first, second = evaluate(measured, ["ttft_p95_s"], {**POINT, spread.name: [1.0, 1.5]})["ttft_p95_s"]
    assert evaluate(measured, ["ttft_p95_s"], POINT)["ttft_p95_s"][0] == second
    assert second == pytest.approx(1.5 * first)
    assert frozen_table(measured).set_index("name").loc[spread.name, "source"] == "simulated"


def test_wrong_names_are_named(problem: Problem, model: SymbolicModel) -> None:
    with pytest.raises(KeyError, match="serve_tp"):
        model.symbol("tp")
    with pytest.raises(ValueError, match="H200-SXM"):
        symbolic_model(problem, "aggregated", {"serve": "B200-SXM"})
    with pytest.raises(ValueError, match="the pools are serve"):
        symbolic_model(problem, "aggregated", {"decode": "H200-SXM"})
    with pytest.raises(ValueError, match="no value for the decisions"):
        evaluate(model, ["gpus"], {"serve_tp": 4})
