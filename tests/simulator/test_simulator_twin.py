"""The compiled kernel and the plain-Python twin agree, request for request, on random small systems."""

from __future__ import annotations

import numpy as np
import pytest

from llmopt_calibration.compiled import step_seconds
from llmopt_problems.deployment import Deployment, Layout, PoolDeployment
from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator.kernel import state as k
from llmopt_simulator.options import SimulationOptions
from llmopt_simulator.run import Run, simulate
from llmopt_simulator.service import KvTransfer, PoolService, ServiceModel

CASES = 600


def random_workload(rng: np.random.Generator, longest: int) -> Workload:
    """Up to 40 requests; some follow a random tree of prefixes, some bursts arrive at one moment."""
    count = int(rng.integers(1, 41))
    gaps = rng.exponential(rng.choice([0.2, 1.0, 5.0]), count) * (rng.random(count) < 0.8)
    inputs = rng.integers(1, longest, count)
    outputs = rng.integers(1, rng.choice([2, 6, longest]), count)
    block = int(rng.choice([1, 3, 4, 7]))
    names: dict[tuple[int, ...], int] = {}
    offsets, ids = [0], []
    for tokens in inputs:
        path: tuple[int, ...] = ()
        for _ in range(int(rng.integers(0, tokens // block + 1))):
            path = (*path, int(rng.integers(0, 2)))
            ids.append(names.setdefault(path, len(names)))
        offsets.append(len(ids))
    arrays = np.array(offsets, np.int64), np.array(ids, np.int64)
    requests = Requests(np.cumsum(gaps), inputs, outputs, *arrays, block)
    closed = rng.random() < 0.3
    return Workload(requests, int(rng.integers(1, 12)) if closed else None)


def random_pool(rng: np.random.Generator, role: str) -> PoolDeployment:
    dp = int(rng.choice([1, 1, 2, 3]))
    layout = Layout(tp=dp, pp=int(rng.choice([1, 1, 2])), dp=dp)
    chunk, cap = int(rng.choice([2, 5, 16, 64])), int(rng.choice([1, 2, 4, 9]))
    return PoolDeployment(role, "x", layout, int(rng.integers(1, 4)), chunk, cap)  # type: ignore[arg-type]


def random_deployment(rng: np.random.Generator) -> Deployment:
    split = rng.random() < 0.5
    roles = ("prefill", "decode") if split else ("serve",)
    pools = tuple(random_pool(rng, role) for role in roles)
    router = rng.choice(["round_robin", "shortest_queue", "cache_aware", "central_queue"])
    return Deployment(
        "disaggregated" if split else "aggregated", pools, str(router), bool(rng.random() < 0.8)
    )  # type: ignore[arg-type]


def random_service(rng: np.random.Generator, make, pools) -> ServiceModel:
    services = []
    for pool in pools:
        law = {name: float(rng.uniform(0.001, 0.02)) for name in ("n", "N", "h", "K", "p", "A")}
        capacity = int(rng.integers(20, 200))
        services.append(make.service(pool, capacity, int(rng.choice([1, 2, 5])), 0.05, **law))
    link = KvTransfer(
        float(rng.choice([0.0, 0.3])),
        float(rng.uniform(0.5, 2)),
        float(rng.uniform(1, 50)),
        float(rng.uniform(1, 50)),
    )
    return ServiceModel(tuple(services), link)


def python_law(service: PoolService):
    arrays, scratch = service.step.arrays(), service.step.scratch()
    return lambda *state: step_seconds(arrays, scratch, *state)


def run_twin(load_helper, workload: Workload, deployment: Deployment, service: ServiceModel, thresholds):
    link = service.transfer
    twin = load_helper("twin").Twin(
        workload,
        deployment,
        tuple(python_law(pool) for pool in service.pools),
        tuple(pool.kv_capacity_tokens for pool in service.pools),
        tuple(pool.page_tokens for pool in service.pools),
        (link.latency_s, link.bytes_per_token, link.sender_bytes_per_s, link.receiver_bytes_per_s),
        thresholds,
    )
    twin.run()
    return twin


def assert_equal(run: Run, twin, case: int) -> None:
    for name, field in (
        ("arrival", "arrival_s"),
        ("admitted", "admitted_s"),
        ("first", "first_token_s"),
        ("finish", "finish_s"),
    ):
        theirs = np.array([getattr(request, name) for request in twin.requests])
        np.testing.assert_allclose(
            run.column(field), theirs, rtol=1e-9, atol=1e-9, err_msg=f"case {case}: {field}"
        )
    assert [r.rejected for r in twin.requests] == (~run.finished).tolist()
    served = run.finished
    assert [r.hit for r in twin.requests] == (run.hit_tokens * served).tolist()
    assert [r.rank.index for r in twin.requests if r.rank] == run.column("rank")[served].tolist()
    assert [rank.peak for rank in twin.ranks] == run.state.ranks["peak_pages"].tolist()
    np.testing.assert_allclose(
        [e.busy for e in twin.engines], run.state.totals[:, k.BUSY_S], rtol=1e-9, atol=1e-9
    )
    assert [e.steps for e in twin.engines] == run.state.totals[:, k.STEPS].tolist()
    latencies = [x for r in twin.requests for x in r.latencies]
    np.testing.assert_allclose(sum(latencies), run.state.world["itl_s"][0], rtol=1e-9, atol=1e-9)
    bins = np.clip(
        np.log(np.maximum(latencies, k.ITL_FLOOR_S) / k.ITL_FLOOR_S) * k.ITL_BINS_PER_E, 0, k.ITL_BINS - 1
    )
    ours = np.repeat(np.arange(k.ITL_BINS), run.state.itl)
    assert np.all(np.abs(np.sort(bins) - ours - 0.5) <= 0.5 + 1e-6)


def check_case(case: int, make, load_helper) -> None:
    rng = np.random.default_rng(case)
    workload, deployment = random_workload(rng, int(rng.choice([8, 40]))), random_deployment(rng)
    service = random_service(rng, make, deployment.pools)
    thresholds = (float(rng.uniform(0, 1)), float(rng.integers(0, 6)), float(rng.uniform(1, 2)))
    options = SimulationOptions(*thresholds)
    run = simulate(workload, deployment, service, case, options)
    assert_equal(run, run_twin(load_helper, workload, deployment, service, thresholds), case)


@pytest.mark.parametrize("start", range(0, CASES, 50))
def test_kernel_equals_the_twin(start: int, make, load_helper) -> None:
    for case in range(start, start + 50):
        check_case(case, make, load_helper)


@pytest.mark.slow
def test_kernel_equals_the_twin_on_many_more(make, load_helper) -> None:
    for case in range(CASES, CASES + 4000):
        check_case(case, make, load_helper)
