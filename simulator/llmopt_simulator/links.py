"""The links of a deployment and the host tiers of its ranks, as the records that the kernel reads."""

from __future__ import annotations

import numpy as np

from llmopt_problems.deployment import Deployment
from llmopt_simulator.kernel import records as shapes
from llmopt_simulator.kernel import state as k
from llmopt_simulator.placement import places
from llmopt_simulator.service import PoolService, ServiceModel


def link_records(ranks: k.Records, deployment: Deployment, service: ServiceModel) -> k.Records:
    """Outgoing and incoming link of every instance between nodes and inside its own, of every rack, then the
    host links that `ranks` name.
    """
    instances, transfer = sum(pool.instances for pool in deployment.pools), service.transfer
    others = 4 * instances + 2 * (int(ranks["rack"].max()) + 1)
    links = np.zeros(others + int(ranks["host_link"].max()) + 1, shapes.LINK)
    ranks["host_link"] += others
    rates = links["bytes_per_s"]
    if transfer is not None:
        near = transfer.near or transfer
        rates[0 : 2 * instances : 2] = transfer.sender_bytes_per_s
        rates[1 : 2 * instances : 2] = transfer.receiver_bytes_per_s
        rates[2 * instances : 4 * instances : 2] = near.sender_bytes_per_s
        rates[2 * instances + 1 : 4 * instances : 2] = near.receiver_bytes_per_s
        rates[4 * instances : others] = transfer.rack.bytes_per_s if transfer.rack else np.inf
    for number, rank in enumerate(ranks):
        host = service.pools[_pool_of(deployment, number)].host
        if host is not None:
            links["bytes_per_s"][rank["host_link"]] = host.bytes_per_s
    return links


def set_host_tiers(
    ranks: k.Records, deployment: Deployment, services: tuple[PoolService, ...], block_tokens: int
) -> None:
    """Write the host tier of every rank; engines of one instance share the links of their ranks.

    `host_link` counts from 0 here: `link_records` puts these links behind the others.
    """
    start = links = 0
    for pool, service in zip(deployment.pools, services, strict=True):
        stop, dp = start + pool.ranks, pool.layout.dp
        place = np.arange(pool.ranks)
        ranks["host_link"][start:stop] = links + place // (pool.layout.pp * dp) * dp + place % dp
        host = service.host
        if host is not None and deployment.prefix_cache:
            ranks["host_capacity_pages"][start:stop] = host.capacity_tokens // service.page_tokens
            ranks["host_latency_s"][start:stop] = host.latency_s
            ranks["host_block_bytes"][start:stop] = host.bytes_per_token * block_tokens
        start, links = stop, links + pool.instances * dp


def set_places(ranks: k.Records, deployment: Deployment, service: ServiceModel) -> None:
    """Write where the instance of every rank lies; without KV transfers nobody asks."""
    if service.transfer is not None and deployment.mode != "aggregated":
        nodes, racks = places(deployment, service.transfer)
        ranks["node"], ranks["rack"] = nodes[ranks["instance"]], racks[ranks["instance"]]


def transfer_settings(deployment: Deployment, service: ServiceModel) -> dict[str, float]:
    """The settings of KV transfers."""
    transfer, overhead_s = service.transfer, deployment.transfers.overhead_s
    if transfer is None:
        names = ("transfer_latency_s", "near_latency_s", "rack_latency_s", "transfer_bytes_per_token")
        return {**dict.fromkeys(names, 0.0), "transfer_layers": 1}
    return {
        "transfer_latency_s": transfer.latency_s + overhead_s,
        "near_latency_s": (transfer.near or transfer).latency_s + overhead_s,
        "rack_latency_s": transfer.rack.latency_s if transfer.rack else 0.0,
        "transfer_layers": transfer_layers(deployment, service),
        "transfer_bytes_per_token": transfer.bytes_per_token,
    }


def transfer_layers(deployment: Deployment, service: ServiceModel) -> int:
    """Parts in which contexts are sent: 1 where they are sent as a whole."""
    if service.transfer is None or deployment.mode == "aggregated":
        return 1
    return service.transfer.layers if deployment.transfers.mode == "per_layer" else 1


def _pool_of(deployment: Deployment, rank: int) -> int:
    ends = np.cumsum([pool.ranks for pool in deployment.pools])
    return int(np.searchsorted(ends, rank, side="right"))
