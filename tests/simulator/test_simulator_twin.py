"""The compiled kernel and the plain-Python twin agree, request for request, on random small systems."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmopt_simulator.options import SimulationOptions
from llmopt_simulator.run import Run, simulate

CASES = 400
SCHEDULED = 400
STARVED = 300
CACHED = 300


def check_case(case: int, make, load_helper, kind: str) -> Run:
    """One random system: `plain`, `scheduled` by drawn options, `starved` of growing pages, `cached`."""
    cases, rng = load_helper("twin_cases"), np.random.default_rng(case)
    workload, deployment = cases.random_workload(rng, int(rng.choice([8, 40]))), cases.random_deployment(rng)
    if kind == "starved":
        workload, deployment = cases.starved(rng, workload)
    if kind == "scheduled":
        deployment = cases.with_scheduling(rng, deployment)
    if kind == "cached":
        deployment = cases.with_caching(rng, cases.with_scheduling(rng, deployment))
        deployment = replace(deployment, prefix_cache=True)
        workload = cases.with_conversations(rng, workload)
    if kind != "plain":
        workload = cases.with_classes(rng, workload)
    service = cases.random_service(rng, make, deployment.pools, kind != "plain" and rng.random() < 0.3)
    if kind == "cached" and rng.random() < 0.7:
        service = cases.with_hosts(rng, service)
    thresholds = (float(rng.uniform(0, 1)), float(rng.integers(0, 6)), float(rng.uniform(1, 2)))
    options = SimulationOptions(*thresholds)
    run = simulate(workload, deployment, service, case, options)
    twin = cases.run_twin(load_helper, workload, deployment, service, thresholds)
    cases.assert_equal(run, twin, case)
    return run


@pytest.mark.parametrize("start", range(0, CASES, 100))
def test_kernel_equals_the_twin(start: int, make, load_helper) -> None:
    for case in range(start, start + 100):
        check_case(case, make, load_helper, "plain")


@pytest.mark.parametrize("start", range(0, SCHEDULED, 100))
def test_kernel_equals_the_twin_under_every_scheduling(start: int, make, load_helper) -> None:
    """Mixing, order, queue limit, window, overhead, growth, grids: drawn at random."""
    runs = [check_case(case, make, load_helper, "scheduled") for case in range(start, start + 100)]
    assert sum(int(run.state.world["turned_away"][0]) for run in runs) > 100


@pytest.mark.parametrize("start", range(0, STARVED, 100))
def test_kernel_equals_the_twin_when_pages_run_out(start: int, make, load_helper) -> None:
    runs = [check_case(case, make, load_helper, "starved") for case in range(start, start + 100)]
    assert sum(int(run.state.world["retractions"][0]) for run in runs) > 200


@pytest.mark.parametrize("start", range(0, CACHED, 100))
def test_kernel_equals_the_twin_under_every_cache(start: int, make, load_helper) -> None:
    """LRU, LFU, FIFO; host tiers; users who think, conversations whose next turn hits the answer."""
    runs = [check_case(case, make, load_helper, "cached") for case in range(start, start + 100)]
    assert sum(int(np.sum(run.state.turns["follows"] >= 0)) for run in runs) > 300
    assert sum(int(run.host_hit_tokens.sum()) for run in runs) > 100


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "scheduled", "starved", "cached"])
def test_kernel_equals_the_twin_on_many_more(make, load_helper, kind: str) -> None:
    for case in range(CASES, CASES + 4000):
        check_case(case, make, load_helper, kind)
