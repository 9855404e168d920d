"""Metrics of one's own in a program and in simulation: the same formula, the same numbers."""

from __future__ import annotations

import io
import itertools
import math
from pathlib import Path

import pytest

from llmopt_optimizer.core.pareto import pareto
from llmopt_optimizer.formulation.build import build_program, needed_only
from llmopt_optimizer.formulation.deployments import deployment_of
from llmopt_optimizer.formulation.own_metrics import own_estimates
from llmopt_optimizer.frozen import from_traffic
from llmopt_optimizer.loop.prediction import predictor
from llmopt_optimizer.loop.solve import solve_problem
from llmopt_optimizer.output.formatting import level_text, metric_value
from llmopt_optimizer.output.table import console_for, print_result
from llmopt_optimizer.result import Estimate, Status
from llmopt_optimizer.scenario import Scenario, resolve
from llmopt_problems import load
from llmopt_problems.deployment import Deployment, Layout, PoolDeployment

TEXT = """\
kind: deployment
model: {name: Llama-3.1-8B, weights: fp8}
hardware:
  accelerators:
    - {name: H200-SXM, count: 4, price: "3.50 USD/h"}
traffic:
  arrivals: {process: poisson, rate: "8 req/s"}
  input_tokens: {distribution: constant, value: 2000}
  output_tokens: {distribution: constant, value: 200}
metrics:
  carbon: {formula: power_w / 1000 * 350, unit: g/h, better: lower}
  carbon_per_token: {formula: carbon / (3600 * throughput_tokens_per_s), unit: g/tok}
  blend:
    unit: s
    formula: "2 * ttft_p95_s + output_tokens * tpot_mean_s + (0.2 if decode_tp + serve_tp > 1 else 0)"
  spare: {formula: "max(0, 4 - gpus) ** 2 / min(2, serve_instances + prefill_instances + 1)", unit: ""}
slo:
  - {metric: carbon, at_most: "900 g/h"}
search:
  tp: {choices: [1, 2]}
  pp: {choices: [1]}
  instances: {choices: [1, 2]}
  chunk_tokens: {choices: [2048]}
  batch_cap: {choices: [32, 64]}
objectives:
  - {minimize: blend}
  - {maximize: spare}
verification: {requests: 300, replications: 3, max_rounds: 10}
"""
OWN = ("carbon", "carbon_per_token", "blend", "spare")


@pytest.fixture(name="scenario", scope="module")
def _scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    return resolve(load(written(tmp_path_factory.mktemp("own"))))


def written(folder: Path) -> Path:
    path = folder / "problem.yaml"
    path.write_text(TEXT)
    return path


def by_hand(metrics: dict[str, float], deployment: Deployment) -> dict[str, float]:
    """The four formulas, in Python."""
    tp = {pool.role: pool.layout.tp for pool in deployment.pools}
    instances = {pool.role: pool.instances for pool in deployment.pools}
    carbon = metrics["power_w"] / 1000 * 350
    entry = instances.get("serve", 0) + instances.get("prefill", 0) + 1
    return {
        "carbon": carbon,
        "carbon_per_token": carbon / (3600 * metrics["throughput_tokens_per_s"]),
        "blend": 2 * metrics["ttft_p95_s"]
        + 200 * metrics["tpot_mean_s"]
        + (0.2 if tp.get("decode", 0) + tp.get("serve", 0) > 1 else 0),
        "spare": max(0, 4 - metrics["gpus"]) ** 2 / min(2, entry),
    }


def test_predictions_are_the_formulas_of_predicted_metrics(scenario: Scenario) -> None:
    frozen = from_traffic(scenario.traffic, prefix_cache=True)
    program = build_program(scenario, frozen)
    front = pareto(needed_only(program))
    assert front.complete
    assert front.points
    predict = predictor(program)
    for point in front.points:
        metrics = predict.at(point.assignment, frozen.parameters())
        deployment = deployment_of(point.assignment, "shortest_queue", prefix_cache=True)
        expected = by_hand(metrics, deployment)
        assert {name: metrics[name] for name in OWN} == pytest.approx(expected, rel=1e-12)
        assert point.objectives == pytest.approx((expected["blend"], expected["spare"]), rel=1e-9)
        assert expected["carbon"] <= 900 * (1 + 1e-9)


def test_simulated_numbers_verify_them_and_intervals_hold_every_corner(scenario: Scenario) -> None:
    pool = PoolDeployment("serve", "H200-SXM", Layout(2, 1, 1, 1), 1, 2048, 32)
    deployment = Deployment("aggregated", (pool,))
    simulated = {
        "power_w": Estimate(1000.0, 900.0, 1100.0),
        "throughput_tokens_per_s": Estimate(1600.0, 1500.0, 1700.0),
        "ttft_p95_s": Estimate(0.3, 0.25, 0.4),
        "tpot_mean_s": Estimate(0.01, 0.009, 0.012),
        "gpus": Estimate(2.0, 2.0, 2.0),
    }
    own = own_estimates(scenario.problem, scenario.traffic, deployment, simulated)
    middle = by_hand({name: estimate.value for name, estimate in simulated.items()}, deployment)
    assert {name: estimate.value for name, estimate in own.items()} == pytest.approx(middle, rel=1e-12)
    for ends in itertools.product(("low", "high"), repeat=len(simulated)):
        corner = {name: getattr(e, end) for (name, e), end in zip(simulated.items(), ends, strict=True)}
        for name, value in by_hand(corner, deployment).items():
            assert own[name].low * (1 - 1e-12) <= value <= own[name].high * (1 + 1e-12)


def test_a_formula_without_a_value_at_simulated_numbers_is_not_a_number(scenario: Scenario) -> None:
    pool = PoolDeployment("serve", "H200-SXM", Layout(1, 1, 1, 1), 1, 2048, 32)
    none = {name: Estimate(0.0, 0.0, 0.0) for name in ("power_w", "throughput_tokens_per_s", "ttft_p95_s")}
    simulated = none | {"tpot_mean_s": Estimate(0.01, 0.01, 0.01), "gpus": Estimate(1.0, 1.0, 1.0)}
    own = own_estimates(scenario.problem, scenario.traffic, Deployment("aggregated", (pool,)), simulated)
    assert math.isnan(own["carbon_per_token"].value)
    assert own["carbon"].value == 0.0


def test_the_loop_verifies_metrics_of_ones_own(tmp_path: Path) -> None:
    result = solve_problem(load(written(tmp_path)))
    assert result.status is Status.PROVEN
    assert result.objectives == ("blend", "spare")
    for point in result.front:
        simulated = {name: estimate.value for name, estimate in point.simulated.items()}
        expected = by_hand(simulated, point.deployment)
        assert {name: simulated[name] for name in OWN} == pytest.approx(expected, rel=1e-9)
        assert point.simulated["carbon"].high <= 900
    printed = io.StringIO()
    print_result(result, console_for(printed))
    assert result.units["carbon"] == "g/h"
    assert "carbon (g/h)" in printed.getvalue()


def test_levels_and_values_are_printed_in_the_declared_unit(scenario: Scenario) -> None:
    assert level_text(scenario.problem.slo[0]) == "carbon ≤ 900 g/h"
    assert metric_value("gpus_idle", 1.2345) == "1.23"  # no metric of the catalog, though it starts like one


def test_a_front_of_few_points_keeps_the_most_hypervolume(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = solve_problem(load(path))
    few = solve_problem(load(path, ["front.points=1"]))
    assert len(whole.front) > 1
    assert len(few.front) == 1
    assert few.front[0].deployment in [point.deployment for point in whole.front]
    assert any(check.name == "points reported" for check in few.checks)
