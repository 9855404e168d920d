"""The links of a deployment and the host tiers of its ranks, as the records that the kernel reads."""

from __future__ import annotations

import numpy as np

from llmopt_problems.deployment import Deployment
from llmopt_simulator.kernel import records as shapes
from llmopt_simulator.kernel import state as k
from llmopt_simulator.service import PoolService, ServiceModel


def link_records(ranks: k.Records, deployment: Deployment, service: ServiceModel) -> k.Records:
    """Outgoing and incoming link of every instance, then the host links that `ranks` name."""
    instances = sum(pool.instances for pool in deployment.pools)
    links = np.zeros(2 * instances + int(ranks["host_link"].max()) + 1, shapes.LINK)
    ranks["host_link"] += 2 * instances
    if service.transfer is not None:
        links["bytes_per_s"][0 : 2 * instances : 2] = service.transfer.sender_bytes_per_s
        links["bytes_per_s"][1 : 2 * instances : 2] = service.transfer.receiver_bytes_per_s
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


def transfer_layers(deployment: Deployment, service: ServiceModel) -> int:
    """Parts in which contexts are sent: 1 where they are sent as a whole."""
    if service.transfer is None or deployment.mode != "disaggregated":
        return 1
    return service.transfer.layers if deployment.transfers.mode == "per_layer" else 1


def _pool_of(deployment: Deployment, rank: int) -> int:
    ends = np.cumsum([pool.ranks for pool in deployment.pools])
    return int(np.searchsorted(ends, rank, side="right"))
