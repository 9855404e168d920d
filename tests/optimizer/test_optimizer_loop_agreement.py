"""What the expressions predict is what simulation measures, with no spread fitted.

The tolerances are what holds, rounded up. Throughput and step times are laws and Little's law; TTFT holds a
queue, whose formula is an approximation: near enough in an open loop, gloomy in a closed one, where few
users cannot form the queue that the formula knows. Both are what the frozen spreads correct in the loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from optimizer_loop_cases import (
    CLOSED_LOOP,
    EXPERT_LAYOUTS,
    MIXTRAL,
    VARIED_LENGTHS,
    WIDE,
    formulas,
    problem_of,
)

from llmopt_optimizer.core.program import Assignment, Choice
from llmopt_optimizer.formulation.deployments import deployment_of
from llmopt_optimizer.frozen import from_traffic
from llmopt_optimizer.loop.service import workbench
from llmopt_optimizer.loop.simulation import simulations
from llmopt_optimizer.result import Estimate
from llmopt_optimizer.scenario import resolve

GPU = "H100-SXM"
LAYOUT = {"tp": 1, "pp": 1, "ep": 1, "dp": 1, "instances": 1}
CAPS = {"chunk_tokens": 2048, "batch_cap": 255}
Decisions = Mapping[str, int]


def named(role: str, decisions: Decisions) -> tuple[tuple[str, int], ...]:
    return tuple((f"{role}_{name}", value) for name, value in decisions.items())


def serve(**decisions: int) -> Assignment:
    """An aggregated deployment."""
    return Assignment("aggregated", (Choice("serve", GPU, named("serve", LAYOUT | CAPS | decisions)),))


def split(prefill: Decisions, decode: Decisions, *, closed: bool = False) -> Assignment:
    """A disaggregated deployment, in one table when users couple its pools."""
    sending = named("prefill", {**LAYOUT, "chunk_tokens": 2048, **prefill})
    receiving = named("decode", {**LAYOUT, "batch_cap": 255, **decode})
    apart = (Choice("prefill", GPU, sending), Choice("decode", GPU, receiving))
    together = (Choice("both", f"{GPU}+{GPU}", sending + receiving),)
    return Assignment("disaggregated", together if closed else apart)


def predicted_and_simulated(
    kind: str, arrivals: Mapping[str, Any], assignment: Assignment, requests: int = 5000
) -> tuple[Mapping[str, float], Mapping[str, Estimate]]:
    """Every metric of one deployment, from the expressions without spreads and from simulation."""
    made = formulas(kind)
    layers = [WIDE, {"traffic": {"arrivals": arrivals}, "slo": [], "verification": {"requests": requests}}]
    if kind.startswith("moe"):
        layers.append({"model": MIXTRAL, "search": EXPERT_LAYOUTS})
    if kind.endswith("closed"):
        layers.append({"traffic": VARIED_LENGTHS})
    scenario = resolve(problem_of(*layers))
    parameters = from_traffic(scenario.traffic, prefix_cache=False).parameters()
    deployment = deployment_of(assignment, "shortest_queue", prefix_cache=False)
    (found,) = simulations(workbench(scenario)).observe([deployment])
    assert found is not None
    return made.predictor.at(assignment, parameters), found.metrics


def error(key: str, predicted: Mapping[str, float], simulated: Mapping[str, Estimate]) -> float:
    return predicted[key] / simulated[key].value - 1


def poisson(rate: float) -> Mapping[str, Any]:
    return {"process": "poisson", "rate": f"{rate} req/s"}


def users(count: int) -> Mapping[str, Any]:
    return {**CLOSED_LOOP, "concurrency": count}


OPEN = [
    ("dense_open", 8, serve()),
    ("dense_open", 8, serve(chunk_tokens=512)),
    ("dense_open", 20, serve(tp=2)),
    ("dense_open", 20, serve(pp=2)),
    ("dense_open", 20, serve(instances=2)),
    ("dense_open", 20, split({}, {})),
    ("dense_open", 20, split({"instances": 2}, {"tp": 2})),
    ("moe_open", 6, serve(tp=4)),
    ("moe_open", 6, serve(tp=4, ep=4)),
    ("moe_open", 6, serve(tp=4, ep=4, dp=4)),
    ("moe_open", 6, serve(tp=2, pp=2)),
    ("moe_open", 6, split({"tp": 4}, {"tp": 4, "ep": 4, "dp": 4})),
]


STAGED = (serve(pp=2), serve(tp=2, pp=2))


@pytest.mark.parametrize(("kind", "rate", "assignment"), OPEN)
def test_open_loops_at_moderate_load(kind: str, rate: float, assignment: Assignment) -> None:
    """TPOT within 5% (experts: 7%, steps of few tokens hit fewer), throughput 3%, TTFT a quarter.

    No formula knows that a stage of a pipeline waits for an unequal batch before it: there TPOT is up to 25%
    low, and power as much too high.
    """
    both = predicted_and_simulated(kind, poisson(rate), assignment)
    usual = 0.07 if kind.startswith("moe") else 0.05
    assert abs(error("tpot_mean_s", *both)) < (0.25 if assignment in STAGED else usual)
    assert abs(error("throughput_tokens_per_s", *both)) < 0.03
    assert abs(error("ttft_mean_s", *both)) < 0.25
    assert abs(error("power_w", *both)) < (0.25 if assignment in STAGED else 0.05)


CLOSED = [
    ("dense_closed", 8, serve()),
    ("dense_closed", 64, serve(tp=2)),
    ("dense_closed", 64, serve(instances=2)),
    ("dense_closed", 64, serve(batch_cap=16)),
    ("dense_closed", 8, split({}, {}, closed=True)),
    ("dense_closed", 64, split({"instances": 2}, {}, closed=True)),
    pytest.param("moe_closed", 48, serve(tp=4), marks=pytest.mark.slow),
    pytest.param("moe_closed", 48, serve(tp=4, ep=4, dp=4), marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("kind", "count", "assignment"), CLOSED)
def test_closed_loops(kind: str, count: int, assignment: Assignment) -> None:
    """TPOT within 5%, throughput and request time within 3%, TTFT from half to four times as long."""
    both = predicted_and_simulated(kind, users(count), assignment)
    assert abs(error("tpot_mean_s", *both)) < 0.05
    assert abs(error("throughput_tokens_per_s", *both)) < 0.03
    assert abs(error("e2e_mean_s", *both)) < 0.03
    assert -0.5 < error("ttft_mean_s", *both) < 3


@pytest.mark.parametrize("assignment", [serve(), split({"instances": 2}, {}, closed=True)])
def test_thinking_users(assignment: Assignment) -> None:
    """Sixty users who think for 20 s: throughput within 3%, and with TPOT and request time as above."""
    arrivals = users(60) | {"think_time": "20 s"}
    both = predicted_and_simulated("dense_closed", arrivals, assignment)
    assert abs(error("throughput_tokens_per_s", *both)) < 0.03
    assert abs(error("tpot_mean_s", *both)) < 0.05
    assert abs(error("e2e_mean_s", *both)) < 0.05


ALONE = [serve(), serve(tp=2, instances=2), split({}, {}), split({"pp": 2}, {})]


@pytest.mark.parametrize("assignment", ALONE)
def test_alone_a_request_takes_its_own_steps(assignment: Assignment) -> None:
    """At a vanishing rate nothing queues: TTFT is the chunks of the prompt, TPOT a step of one sequence.

    In an aggregated pool TTFT is within 3%: its mixed step holds the overhead of decode attention, which a
    prompt that is alone does not meet. Between accelerators TPOT is within 1.5%: formulas have a mean batch
    below one, for which the ramp of a collective is shorter.
    """
    arrivals = {"process": "deterministic", "rate": "0.01 req/s"}
    both = predicted_and_simulated("dense_open", arrivals, assignment, requests=50)
    for key in ("ttft_mean_s", "tpot_mean_s", "e2e_mean_s"):
        tolerance = 0.03 if (assignment.system, key) == ("aggregated", "ttft_mean_s") else 0.015
        assert abs(error(key, *both)) < tolerance, key


@pytest.mark.parametrize("assignment", [serve(), split({}, {}, closed=True)])
def test_one_user_is_never_delayed(assignment: Assignment) -> None:
    """One user's request takes as long as alone, and a new one follows at once."""
    predicted, simulated = predicted_and_simulated("dense_closed", users(1), assignment)
    assert abs(error("e2e_mean_s", predicted, simulated)) < 0.03
    assert abs(error("throughput_tokens_per_s", predicted, simulated)) < 0.03
    rate = predicted["throughput_requests_per_s"]
    assert rate * predicted["e2e_mean_s"] == pytest.approx(1, rel=1e-6)
