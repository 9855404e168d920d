"""Pipeline stages: bubbles against the closed form, every step against an explicit queue for each stage."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import simpy

from llmopt_problems.deployment import Deployment, Layout, PoolDeployment
from llmopt_simulator import Run, ServiceModel, simulate
from llmopt_simulator.kernel import state as k

PART_S = 0.05


def pipeline(make, stages: int, arrivals, inputs, constant: float, per_token: float) -> Run:
    """Prompts of one step each, dealt to the batches of one instance in turn, one at a time."""
    pool = PoolDeployment("serve", "x", Layout(pp=stages), 1, 512, 1)
    deployment = Deployment("aggregated", (pool,), "round_robin", prefix_cache=False)
    service = make.service(pool, 1000, 1, constant, n=per_token)
    return simulate(make.workload(arrivals, inputs, 1), deployment, ServiceModel((service,)))


@pytest.mark.parametrize("stages", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("micro_batches", [1, 2, 4, 7, 16])
def test_bubbles_are_those_of_theory(make, stages: int, micro_batches: int) -> None:
    """GPipe (Huang et al. 2019): m equal micro-batches on p stages leave (p − 1)/(m + p − 1) idle."""
    run = pipeline(make, stages, np.zeros(micro_batches), 10, stages * PART_S, 0.0)
    idle = 1 - micro_batches * PART_S / run.makespan_s
    assert idle == pytest.approx((stages - 1) / (micro_batches + stages - 1), abs=1e-12)
    ends = (stages + np.arange(micro_batches)) * PART_S
    np.testing.assert_allclose(run.column("finish_s"), ends, rtol=1e-12)


def explicit_ends(stages: int, arrivals, seconds) -> list[float]:
    """Batches as processes, stages as FIFO resources of capacity one."""
    env = simpy.Environment()
    servers = [simpy.Resource(env) for _ in range(stages)]
    ends = [0.0] * len(arrivals)

    def batch(own: list[int]) -> Iterator[simpy.Event]:
        for number in own:
            yield env.timeout(max(0.0, arrivals[number] - env.now))
            for server in servers:
                with server.request() as turn:
                    yield turn
                    yield env.timeout(seconds[number] / stages)
            ends[number] = env.now

    for first in range(stages):
        env.process(batch(list(range(first, len(arrivals), stages))))
    env.run()
    return ends


@pytest.mark.parametrize("case", range(60))
def test_unequal_steps_wait_as_in_an_explicit_pipeline(make, case: int) -> None:
    rng = np.random.default_rng(case)
    stages, count = int(rng.integers(2, 6)), int(rng.integers(2, 40))
    arrivals = np.cumsum(rng.exponential(rng.choice([0.02, 0.3]), count))
    inputs = rng.integers(1, 300, count)
    run = pipeline(make, stages, arrivals, inputs, 0.02, 0.002)
    expected = explicit_ends(stages, arrivals, 0.02 + 0.002 * inputs)
    np.testing.assert_allclose(run.column("finish_s"), expected, rtol=1e-9)
    assert np.all(run.state.totals[:, k.BUSY_S] <= run.makespan_s)


def test_no_pipeline_does_more_than_its_stages_can(make) -> None:
    """Long prompts beside short ones: the work of all batches takes at least its time on one stage."""
    inputs = np.where(np.arange(40) % 4 == 0, 400, 10)
    run = pipeline(make, 4, np.zeros(40), inputs, 0.02, 0.002)
    work_s = float(np.sum(0.02 + 0.002 * inputs))
    assert run.makespan_s >= work_s / 4
