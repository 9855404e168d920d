"""KV transfers take what arithmetic says: alone, together on a link, at the end of prefill or by layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmopt_problems.deployment import Deployment, Layout, PoolDeployment, Routing, Transfers
from llmopt_simulator import KvTransfer, NearLink, RackLink, ServiceModel, SimulationError, metrics, simulate
from llmopt_simulator.run import Run

LATENCY_S = 0.125
TOKEN_BYTES = 3.0
STEP_S = 2.0
"""Every prefill step takes as long, whatever it computes."""


def deployed(
    make,
    transfers: Transfers,
    link: KvTransfer,
    senders: int = 1,
    receivers: int = 1,
    decode: str = "round_robin",
    chunk: int = 64,
    decode_capacity: int = 1 << 20,
) -> tuple[Deployment, ServiceModel]:
    front = PoolDeployment("prefill", "x", Layout(), senders, chunk, 1)
    back = PoolDeployment("decode", "x", Layout(), receivers, 64, 64)
    routing = Routing(decode=decode)  # type: ignore[arg-type]
    pools = front, back
    deployment = Deployment(
        "disaggregated", pools, "round_robin", False, routing=routing, transfers=transfers
    )
    services = make.service(front, constant=STEP_S), make.service(back, decode_capacity, constant=0.5)
    return deployment, ServiceModel(services, link)


def link(sender: float, receiver: float = 1e9, layers: int = 1) -> KvTransfer:
    return KvTransfer(LATENCY_S, TOKEN_BYTES, sender, receiver, layers)


def sent(make, transfers: Transfers, link: KvTransfer, tokens: int, count: int = 1, **given: int) -> Run:
    """`count` requests of so many tokens, all at the start of the run."""
    deployment, service = deployed(make, transfers, link, **given)
    return simulate(make.workload(np.zeros(count), tokens, 3), deployment, service)


def exposed_s(run: Run) -> np.ndarray:
    """From the end of prefill to the first token, of every request."""
    return np.asarray(run.column("first_token_s") - run.column("prefilled_s"))


@pytest.mark.parametrize("overhead_s", [0.0, 0.75])
@pytest.mark.parametrize(("sender", "receiver"), [(8.0, 100.0), (100.0, 8.0)])
def test_one_transfer_takes_latency_and_its_bytes(make, overhead_s, sender, receiver) -> None:
    run = sent(make, Transfers("end", overhead_s), link(sender, receiver), 40)
    np.testing.assert_allclose(exposed_s(run), LATENCY_S + overhead_s + 40 * TOKEN_BYTES / 8.0, rtol=1e-12)


@pytest.mark.parametrize("count", [2, 5, 16])
def test_transfers_of_one_moment_share_a_link_exactly(make, count) -> None:
    """So many senders with links of their own end at one moment and share the receiver's."""
    run = sent(make, Transfers(), link(1e9, 10.0), 20, count, senders=count)
    np.testing.assert_allclose(exposed_s(run), LATENCY_S + count * 20 * TOKEN_BYTES / 10.0, rtol=1e-12)


@pytest.mark.parametrize("layers", [2, 8, 61])
@pytest.mark.parametrize("seconds", [0.01, 0.5, 1.9, STEP_S, 2.5, 40.0])
def test_layers_are_sent_while_others_are_computed(make, layers, seconds) -> None:
    """A context that takes so many seconds on its links ends with its last layer, or with all of it."""
    run = sent(make, Transfers("per_layer"), link(20 * TOKEN_BYTES / seconds, layers=layers), 20)
    last_s, all_s = seconds / layers, STEP_S / layers + seconds - STEP_S
    np.testing.assert_allclose(exposed_s(run), LATENCY_S + max(last_s, all_s), rtol=1e-9)


@pytest.mark.parametrize("seconds", [0.3, 60.0])
def test_chunks_are_sent_step_by_step(make, seconds) -> None:
    """Of five chunks on a fast link only the last layer of the last is left; a slow link never rests."""
    run = sent(make, Transfers("per_layer"), link(50 * TOKEN_BYTES / seconds, layers=4), 50, chunk=10)
    expected = seconds / 5 / 4 if seconds < 1 else STEP_S / 4 + seconds - 5 * STEP_S
    np.testing.assert_allclose(exposed_s(run), LATENCY_S + expected, rtol=1e-9)


def test_a_slow_link_catches_up_when_its_rival_ends(make) -> None:
    """Two senders share a receiver; what has waited goes at the link's rate, not at that of computing."""
    deployment, service = deployed(make, Transfers("per_layer"), link(1e9, 60.0, layers=2), senders=2)
    run = simulate(make.workload([0.0, 0.0], [20, 60], 3), deployment, service)
    first, second = run.column("first_token_s")
    # From 1.125 s on each has 30 bytes/s: 26.25 bytes each at the end of prefill; one layer more is set up by
    # 2.125 s. The short one (60 bytes) ends at 3.125 s; the long one has the link to itself then.
    assert first == pytest.approx(3.125, rel=1e-12)
    assert second == pytest.approx(3.125 + (180 - 60) / 60.0, rel=1e-12)


def test_without_room_at_a_decode_rank_a_context_is_sent_at_the_end(make) -> None:
    """The second of two requests finds no room until the first has ended."""
    by_layer, at_end = (
        sent(make, Transfers(mode), link(1e9, layers=80), 20, 2, decode_capacity=30)  # type: ignore[arg-type]
        for mode in ("per_layer", "end")
    )
    streamed = by_layer.state.requests["streams"]
    assert streamed.tolist() == [True, False]
    assert not at_end.state.requests["streams"].any()
    finish, first = by_layer.column("finish_s"), by_layer.column("first_token_s")
    assert first[1] == pytest.approx(max(finish[0], by_layer.column("prefilled_s")[1]) + LATENCY_S, rel=1e-6)


NODE = NearLink(2, 0.25, 60.0, 1e9)
RACK = RackLink(4, 30.0, 0.5)


def tiered(make, placement: str, senders: int, receivers: int, decode: str = "round_robin") -> Run:
    """Requests of 120 bytes, one a sender, all at one moment; 20 bytes/s between nodes of two instances."""
    transfers = Transfers(placement=placement)  # type: ignore[arg-type]
    way = replace(link(20.0), near=NODE, rack=RACK)
    pools = {"senders": senders, "receivers": receivers}
    return sent(make, transfers, way, 40, senders, decode=decode, **pools)


def test_a_transfer_takes_the_way_that_its_placement_gives(make) -> None:
    """Nodes of two, racks of two nodes: [P P] [D D] apart, [P D] [P D] in turn."""
    np.testing.assert_allclose(exposed_s(tiered(make, "apart", 2, 2)), LATENCY_S + 120 / 20.0)
    np.testing.assert_allclose(exposed_s(tiered(make, "paired", 2, 2)), 0.25 + 120 / 60.0)
    np.testing.assert_allclose(exposed_s(tiered(make, "packed", 1, 1)), 0.25 + 120 / 60.0)
    np.testing.assert_allclose(exposed_s(tiered(make, "packed", 1, 2)), 0.25 + 120 / 60.0)


def test_what_leaves_a_rack_shares_its_link(make) -> None:
    """[P P] [P P] fill the first rack: their transfers share 30 bytes/s, a quarter is less than 20."""
    run = tiered(make, "apart", 4, 4)
    np.testing.assert_allclose(exposed_s(run), LATENCY_S + 0.5 + 120 / (30.0 / 4))
    assert metrics(run)["kv_near_share"] == 0.0


def test_the_nearest_decode_rank_is_on_the_same_node(make) -> None:
    """Round robin gives the second sender, of [P P] [P D], the only receiver that is far from it."""
    assert tiered(make, "paired", 4, 4, "nearest").column("decode_rank").tolist() == [4, 5, 6, 7]
    shares = [
        metrics(tiered(make, "packed", 3, 3, policy))["kv_near_share"] for policy in ("nearest", "random")
    ]
    assert shares[0] == pytest.approx(1 / 3)
    assert shares[1] <= 1 / 3


def test_a_placement_needs_a_link_inside_nodes(make) -> None:
    with pytest.raises(SimulationError, match="apart"):
        sent(make, Transfers(placement="paired"), link(1.0), 20)
    with pytest.raises(SimulationError, match="multiple"):
        sent(make, Transfers(), replace(link(1.0), near=NODE, rack=replace(RACK, gpus=3)), 20)


@pytest.mark.parametrize(
    ("transfers", "broken"),
    [
        (Transfers("per_layer"), {"bytes_per_token": 0.0}),
        (Transfers("later"), {}),  # type: ignore[arg-type]
        (Transfers("end", -1.0), {}),
        (Transfers("end", float("nan")), {}),
        (Transfers(), {"layers": 0}),
    ],
)
def test_transfers_that_cannot_be_are_refused(make, transfers, broken) -> None:
    with pytest.raises(SimulationError, match=r"transfers|layers"):
        sent(make, transfers, replace(link(1.0), **broken), 20)
