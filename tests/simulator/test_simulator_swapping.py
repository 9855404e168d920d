"""A decode pool whose KV grows: what it retracts goes to host memory and comes back, times by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmopt_problems.deployment import Deployment, KvGrowth, Layout, PoolDeployment, Scheduling
from llmopt_simulator import HostTier, KvTransfer, ServiceModel, SimulationError, simulate
from llmopt_simulator.run import Run

STEP_S = 1.0
HOST = HostTier(0, 2.0, 4.0, 0.25)
"""Half a second a token, after a quarter."""


def grown(make, capacity: int, growth: KvGrowth, inputs: object, outputs: object, host=HOST) -> Run:
    """Two requests at one moment to two prefill instances and one decode rank; transfers take no time."""
    front = PoolDeployment("prefill", "x", Layout(), 2, 64, 4)
    back = PoolDeployment("decode", "x", Layout(), 1, 64, 4, Scheduling(growth=growth))
    services = make.service(front, constant=STEP_S), make.service(back, capacity, constant=STEP_S)
    service = ServiceModel((services[0], replace(services[1], host=host)), KvTransfer(0.0, 1e-9, 1e9, 1e9))
    deployment = Deployment("disaggregated", (front, back), "round_robin", False)
    return simulate(make.workload([0.0, 0.0], inputs, outputs), deployment, service)


def test_what_does_not_fit_any_more_is_swapped_out_and_back(make) -> None:
    """Ten tokens each, of 24. Every step wants two more: two steps fit, the third retracts the second.

    It has 13 tokens and the KV of 12. The first one ends with its fifth decode step, at 6 s, and gives its
    pages back: 12 tokens are loaded in 0.25 + 12 · 2 / 4 s, and two decode steps are left.
    """
    run = grown(make, 24, KvGrowth(watermark=0.0), 10, [6, 5])
    assert run.column("retractions").tolist() == [0, 1]
    np.testing.assert_allclose(run.column("finish_s"), [6.0, 6.0 + 6.25 + 2.0])
    assert run.state.ranks["peak_pages"][2] == 24
    assert int(run.state.world["recomputed_tokens"][0]) == 0


def test_admission_keeps_the_share_of_output_to_come(make) -> None:
    """With all of it kept (15 + 15 tokens of 24) the second request is sent when the first has ended."""
    run = grown(make, 24, KvGrowth(1.0, watermark=0.0), 10, 6)
    assert run.column("retractions").tolist() == [0, 0]
    np.testing.assert_allclose(run.column("first_token_s"), [1.0, 6.0])
    np.testing.assert_allclose(run.column("finish_s"), [6.0, 11.0])


def test_a_request_that_one_rank_cannot_hold_is_rejected(make) -> None:
    run = grown(make, 24, KvGrowth(watermark=0.0), 10, [15, 14])
    assert run.finished.tolist() == [False, True]


def test_retracted_contexts_need_a_host_link(make) -> None:
    with pytest.raises(SimulationError, match="to host memory"):
        grown(make, 24, KvGrowth(), 10, 6, host=None)
