"""The compiled kernel and the plain-Python twin agree, request for request, on random small systems."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmopt_simulator.kernel import state as k
from llmopt_simulator.run import Run, simulate

CASES = 400
SCHEDULED = 400
STARVED = 300
CACHED = 300
DRAFTED = 300


def check_case(case: int, make, load_helper, kind: str) -> Run:
    """One random system: `plain`, `scheduled`, `starved` of growing pages, `cached`, `drafted`."""
    cases, rng = load_helper("twin_cases"), np.random.default_rng(case)
    workload, deployment = cases.random_workload(rng, int(rng.choice([8, 40]))), cases.random_deployment(rng)
    if kind == "starved" or (kind == "drafted" and case % 3 == 0):
        workload, deployment = cases.starved(rng, workload)
    if kind == "scheduled" or (kind == "drafted" and case % 3 == 1):
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
    if kind == "drafted":
        deployment, service = cases.with_speculation(rng, make, deployment, service)
    run = simulate(workload, deployment, service, case)
    stream = int(run.state.settings["stream"][0])
    twin = cases.run_twin(load_helper, workload, deployment, service, case, stream)
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
    assert sum(int(run.host_hit_tokens.sum()) for run in runs) > 50


@pytest.mark.parametrize("start", range(0, DRAFTED, 100))
def test_kernel_equals_the_twin_when_it_speculates(start: int, make, load_helper) -> None:
    """Drafts of up to four tokens, free or with a model of their own; growing and short of pages too."""
    runs = [check_case(case, make, load_helper, "drafted") for case in range(start, start + 100)]
    totals = sum(run.state.totals.sum(axis=0) for run in runs)
    assert totals[k.DECODE_TOKENS] > 1.3 * totals[k.DECODED]
    assert sum(int(run.state.world["retractions"][0]) for run in runs) > 50


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "scheduled", "starved", "cached", "drafted"])
def test_kernel_equals_the_twin_on_many_more(make, load_helper, kind: str) -> None:
    for case in range(CASES, CASES + 4000):
        check_case(case, make, load_helper, kind)
