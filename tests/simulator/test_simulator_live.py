"""A run whose requests come while it goes is, to the last bit, the run of their workload."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from llmopt_problems.deployment import Deployment, KvGrowth, Layout, PoolDeployment, Scheduling
from llmopt_problems.schema import Traffic
from llmopt_problems.speculation import Speculation
from llmopt_problems.traffic import Workload, sample
from llmopt_simulator import KvTransfer, ServiceModel, SimulationError, simulate
from llmopt_simulator.live import LiveRun, live_run
from llmopt_simulator.tokens import token_times

POOL = PoolDeployment("serve", "any", Layout(dp=2, tp=2), instances=2, chunk_tokens=128, batch_cap=6)
PREFILL_FIRST = PoolDeployment(
    "serve", "any", Layout(), 2, 128, 6, Scheduling(mixing="prefill_first", queue_limit=5)
)
GROWING = PoolDeployment("serve", "any", Layout(), 1, 128, 8, Scheduling(growth=KvGrowth()))
PAIR = (
    PoolDeployment("prefill", "any", Layout(pp=2), 1, 128, 8),
    PoolDeployment("decode", "any", Layout(tp=2, dp=2), 1, 128, 8),
)
CASES = {
    "ranks": Deployment("aggregated", (POOL,), prefix_cache=False),
    "prefill first": Deployment("aggregated", (PREFILL_FIRST,), "power_of_two", prefix_cache=False),
    "retraction": Deployment("aggregated", (GROWING,), prefix_cache=False),
    "disaggregated": Deployment("disaggregated", PAIR, prefix_cache=False),
}
LENGTH = {"distribution": "uniform", "min": 1, "max": 90}
MOMENTS = ("arrival_s", "admitted_s", "first_token_s", "finish_s", "rank", "status", "retractions")


def service(make: Any, deployment: Deployment) -> ServiceModel:
    tokens = 260 if deployment.pools[0] is GROWING else 600
    pools = tuple(make.service(pool, tokens, page=16, constant=5e-3, n=1e-4) for pool in deployment.pools)
    return ServiceModel(pools, KvTransfer(0.01, 2.0, 4000.0, 3000.0) if len(pools) == 2 else None)


def workload() -> Workload:
    arrivals = {"process": "poisson", "rate": "9 req/s"}
    traffic = {"arrivals": arrivals, "input_tokens": LENGTH, "output_tokens": LENGTH}
    return sample(Traffic.model_validate(traffic), 300, 3)


Times = dict[int, list[float]]


def fed(live: LiveRun, load: Workload, tick_s: float, until_s: float) -> tuple[Times, list[int], set[int]]:
    """Feed a workload at its times and look every tick: when each token was told, who was rejected, ended."""
    times: Times = {}
    rejected: list[int] = []
    ended: set[int] = set()
    looks = [(s, -1) for s in np.arange(0, until_s, tick_s)]
    for now_s, request in sorted([*looks, *zip(load.requests.arrival_s, range(300), strict=True)]):
        told = live.advance(float(now_s))
        for each in told.came:
            assert each.tokens > 0
            assert each.request not in ended
            times.setdefault(each.request, []).extend([float(now_s)] * each.tokens)
            ended |= {each.request} if each.last else set()
        rejected += told.rejected
        if request >= 0:
            sizes = load.requests.input_tokens[request], load.requests.output_tokens[request]
            assert live.submit(int(sizes[0]), int(sizes[1])) == request
    return times, rejected, ended


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("tick_s", [0.003, 0.4])
def test_a_fed_run_is_the_run(name: str, tick_s: float, make: Any) -> None:
    deployment, load = CASES[name], workload()
    run = simulate(load, deployment, service(make, deployment), 7)
    live = live_run(deployment, service(make, deployment), 300, 7)
    times, rejected, ended = fed(live, load, tick_s, run.makespan_s + tick_s)
    for column in MOMENTS:
        np.testing.assert_array_equal(live.state.requests[column][:300], run.column(column))
    assert live.under_way == 0
    assert sorted(rejected) == np.flatnonzero(~run.finished).tolist()
    assert ended == set(np.flatnonzero(run.finished).tolist())
    outputs = run.column("output_tokens")
    assert all(len(times[i]) == outputs[i] for i in ended)
    if name == "retraction":
        assert run.column("retractions").any()
        return
    for i, exact in enumerate(token_times(run)):
        late = np.array(times.get(i, [])) - exact
        assert np.all((late >= 0) & (late <= tick_s + 1e-9))


def test_a_live_run_has_an_end_of_its_room(make: Any) -> None:
    deployment = CASES["ranks"]
    live = live_run(deployment, service(make, deployment), 2)
    assert (live.submit(10, 2), live.submit(10, 2), live.room) == (0, 1, 0)
    with pytest.raises(SimulationError, match="full"):
        live.submit(10, 2)
    live.advance(100.0)
    assert live.under_way == 0


@pytest.mark.parametrize("kind", ["speculation", "order"])
def test_what_must_be_known_beforehand_is_refused(kind: str, make: Any) -> None:
    options: dict[str, Any] = (
        {"speculation": Speculation((0.5,))}
        if kind == "speculation"
        else {"scheduling": Scheduling(order="shortest_prompt")}
    )
    pool = PoolDeployment("serve", "any", Layout(), 1, 128, 8, **options)
    with pytest.raises(SimulationError, match="a live run"):
        live_run(Deployment("aggregated", (pool,)), service(make, CASES["ranks"]), 5)
