"""The kernel against a SimPy model written independently: every moment of every request of random runs."""

from __future__ import annotations

import numpy as np
import pytest

from llmopt_problems.deployment import Deployment, Layout, PoolDeployment
from llmopt_problems.traffic.requests import Workload
from llmopt_simulator import KvTransfer, ServiceModel, simulate
from llmopt_simulator.kernel import state as k

COEFFICIENTS = ("n", "N", "h", "K", "p", "A")


def random_pool(rng: np.random.Generator, role: str) -> PoolDeployment:
    dp = int(rng.choice([1, 1, 2]))
    layout = Layout(tp=dp, pp=int(rng.choice([1, 1, 2])), dp=dp)
    chunk, cap = int(rng.choice([3, 16, 64])), int(rng.choice([1, 3, 8]))
    return PoolDeployment(role, "x", layout, int(rng.integers(1, 4)), chunk, cap)  # type: ignore[arg-type]


def random_workload(rng: np.random.Generator, make) -> Workload:
    count = int(rng.integers(2, 50))
    gaps = rng.exponential(float(rng.choice([0.2, 1.0, 5.0])), count)
    longest = int(rng.choice([2, 10, 40]))
    users = int(rng.integers(1, 10)) if rng.random() < 0.4 else None
    return make.workload(np.cumsum(gaps), rng.integers(1, 40, count), rng.integers(1, longest, count), users)


def law(constant: float, c: dict[str, float]):
    """The law of `make.law`, evaluated in plain Python."""

    def seconds(b: int, K: int, p: int, A: float, N: int, h: int) -> float:
        return constant + c["n"] * (b + p) + c["N"] * N + c["h"] * h + c["K"] * K + c["p"] * p + c["A"] * A

    return seconds


def check_case(case: int, make, load_helper) -> None:
    rng = np.random.default_rng(10**6 + case)
    split = rng.random() < 0.5
    pools = tuple(random_pool(rng, role) for role in (("prefill", "decode") if split else ("serve",)))
    router = str(rng.choice(["round_robin", "shortest_queue", "central_queue"]))
    mode = "disaggregated" if split else "aggregated"
    deployment = Deployment(mode, pools, router, prefix_cache=False)  # type: ignore[arg-type]
    link = float(rng.choice([0.0, 0.4])), *(float(x) for x in rng.uniform(1.0, 40.0, 3))
    services, laws = [], []
    for pool in pools:
        coefficients = {name: float(rng.uniform(0.001, 0.02)) for name in COEFFICIENTS}
        capacity, page = int(rng.integers(30, 200)), int(rng.choice([1, 4]))
        services.append(make.service(pool, capacity, page, 0.05, **coefficients))
        laws.append(law(0.05, coefficients))
    workload = random_workload(rng, make)
    run = simulate(workload, deployment, ServiceModel(tuple(services), KvTransfer(*link)), case)
    capacities, pages = (
        [getattr(s, name) for s in services] for name in ("kv_capacity_tokens", "page_tokens")
    )
    model = load_helper("simpy_model").Model(workload, deployment, laws, capacities, pages, link)
    model.run()
    assert_equal(run, model, case)


def assert_equal(run, model, case: int) -> None:
    for name in ("arrival", "admitted", "finish", "first"):
        field = "first_token_s" if name == "first" else f"{name}_s"
        theirs = [getattr(job, name) for job in model.jobs]
        np.testing.assert_allclose(
            run.column(field), theirs, rtol=1e-9, atol=1e-9, err_msg=f"case {case}: {field}"
        )
    served = [(job.front.number, job.back.number if job.back else k.NONE) for job in model.jobs if job.front]
    ours = zip(run.column("rank")[run.finished], run.column("decode_rank")[run.finished], strict=True)
    assert served == [(int(front), int(back)) for front, back in ours], case
    busy_s = [engine.busy for engine in model.engines]
    np.testing.assert_allclose(run.state.totals[:, k.BUSY_S], busy_s, rtol=1e-9, atol=1e-9)


def test_kernel_equals_simpy(make, load_helper) -> None:
    for case in range(20):
        check_case(case, make, load_helper)


@pytest.mark.slow
def test_kernel_equals_simpy_on_many_more(make, load_helper) -> None:
    for case in range(20, 1000):
        check_case(case, make, load_helper)
