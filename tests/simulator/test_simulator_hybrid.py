"""Hybrid pools serve requests of their own and decode those that a prefill pool sends, times by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmopt_problems.deployment import Deployment, KvGrowth, Layout, PoolDeployment, Scheduling
from llmopt_problems.speculation import Speculation
from llmopt_simulator import KvTransfer, ServiceModel, SimulationError, metrics, simulate
from llmopt_simulator.run import Run

PREFILL_S, HYBRID_S, DECODE_S = 2.0, 0.5, 0.25
"""What every step of a pool takes."""
LATENCY_S = 0.125
PLAIN = Scheduling()
SECONDS = {"prefill": PREFILL_S, "hybrid": HYBRID_S, "decode": DECODE_S}


def served(
    make,
    arrival_s: object,
    inputs: object,
    outputs: object,
    roles=("prefill", "hybrid"),
    router="round_robin",
    capacity=1 << 20,
    scheduling=PLAIN,
    cached=False,
) -> Run:
    """One instance a pool; bytes take no time worth counting."""
    pools = tuple(PoolDeployment(role, "x", Layout(), 1, 16, 4, scheduling) for role in roles)
    services = tuple(make.service(pool, capacity, 1, SECONDS[pool.role]) for pool in pools)
    deployment = Deployment("hybrid", pools, router, cached)
    service = ServiceModel(services, KvTransfer(LATENCY_S, 1e-9, 1e9, 1e9))
    return simulate(make.workload(arrival_s, inputs, outputs), deployment, service)


def test_a_hybrid_instance_serves_its_own_and_decodes_what_it_is_sent(make) -> None:
    """The first request goes to the prefill pool, the second to the hybrid one."""
    run = served(make, [0.0, 0.0], 8, 3)
    sent_s = PREFILL_S + LATENCY_S
    np.testing.assert_allclose(run.column("first_token_s"), [sent_s, HYBRID_S])
    np.testing.assert_allclose(run.column("finish_s"), [sent_s + 2 * HYBRID_S, 3 * HYBRID_S])
    assert run.column("rank").tolist() == [0, 1]
    assert run.column("decode_rank").tolist() == [1, -1]


def test_what_is_sent_joins_the_steps_of_others(make) -> None:
    """The second request decodes from 0.5 s on; the first has come at 2.125 s and joins at 2.5 s."""
    run = served(make, [0.0, 0.0], 8, [3, 20])
    np.testing.assert_allclose(run.column("finish_s"), [3.5, 20 * HYBRID_S])
    assert metrics(run)["peak_batch_hybrid"] == 2


def test_a_decode_pool_beside_it_shares_what_is_sent(make) -> None:
    """The shortest queue: the hybrid rank has a request of its own, so the decode rank is sent the first."""
    run = served(make, [0.0, 0.0], 8, [3, 20], roles=("prefill", "hybrid", "decode"))
    assert run.column("decode_rank").tolist() == [2, -1]
    np.testing.assert_allclose(run.column("finish_s")[0], PREFILL_S + LATENCY_S + 2 * DECODE_S)


def test_cached_prefixes_make_room_for_what_is_sent(make) -> None:
    """The hybrid rank keeps the 12 tokens of its own request until they are wanted; nothing waits."""
    run = served(make, [0.0, 0.0], 8, [5, 4], capacity=14, cached=True)
    assert run.finished.all()
    np.testing.assert_allclose(run.column("first_token_s")[0], PREFILL_S + LATENCY_S)
    assert run.state.ranks["free_pages"][1] + run.state.ranks["tree_pages"][1] == 14


def test_what_is_sent_waits_until_a_hybrid_rank_has_room(make) -> None:
    """Without a cache its own request holds 14 of 16 pages until 5 s: the other one is sent then."""
    run = served(make, [0.0, 0.0], [8, 4], [2, 10], capacity=16)
    np.testing.assert_allclose(run.column("first_token_s")[0], 10 * HYBRID_S + LATENCY_S)


@pytest.mark.parametrize(
    ("roles", "scheduling", "match"),
    [
        (("hybrid", "decode"), Scheduling(), "has the pools"),
        (("hybrid",), Scheduling(), "has the pools"),
        (("prefill", "hybrid"), Scheduling(growth=KvGrowth()), "growth"),
        (("prefill", "hybrid"), Scheduling(plan_ahead=True), "plan_ahead"),
    ],
)
def test_hybrid_deployments_that_cannot_be(make, roles, scheduling, match: str) -> None:
    with pytest.raises(SimulationError, match=match):
        served(make, [0.0], 8, 3, roles=roles, scheduling=scheduling)


def test_hybrid_pools_do_not_speculate(make) -> None:
    run = served(make, [0.0], 8, 3)
    front, back = run.deployment.pools
    drafting = replace(back, speculation=Speculation((0.5,)))
    deployment = replace(run.deployment, pools=(front, drafting))
    with pytest.raises(SimulationError, match="speculation"):
        simulate(run.workload, deployment, run.service)
