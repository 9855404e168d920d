"""Where instances lie: which of them share a node or a rack, by the deployment's rule of placement.

Accelerators are numbered node by node. Instances take the next ones in turn; one that fits a node goes on to
a fresh node rather than lie in two, and one that does not takes whole nodes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmopt_problems.deployment import Deployment
from llmopt_simulator.service import KvTransfer

Places = tuple[NDArray[np.int64], NDArray[np.int64]]


def places(deployment: Deployment, transfer: KvTransfer) -> Places:
    """Node and rack of every instance, prefill instances first, each of shape (instances,)."""
    sizes = np.repeat([pool.layout.world for pool in deployment.pools], _counts(deployment))
    if transfer.near is None:
        first = np.cumsum(sizes) - sizes
        return np.arange(len(sizes)), _racks(first, transfer)
    node = transfer.near.gpus
    order, gaps = _order(deployment)
    starts, free = np.zeros(len(sizes), np.int64), 0
    for place, instance in enumerate(order):
        size = int(sizes[instance])
        if place in gaps or free % node + min(size, node) > node:
            free += -free % node
        starts[instance] = free
        free += size if size <= node else size + -size % node
    return starts // node, _racks(starts, transfer)


def _order(deployment: Deployment) -> tuple[NDArray[np.intp], set[int]]:
    """Instances in the order in which they are placed, and the places before which a fresh node begins."""
    counts = _counts(deployment)
    if deployment.transfers.placement == "paired":
        turns = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
        return np.argsort(turns, kind="stable"), set()
    gaps = set(np.cumsum(counts).tolist()) if deployment.transfers.placement == "apart" else set[int]()
    return np.arange(sum(counts)), gaps


def _counts(deployment: Deployment) -> list[int]:
    return [pool.instances for pool in deployment.pools]


def _racks(starts: NDArray[np.int64], transfer: KvTransfer) -> NDArray[np.int64]:
    """The rack of each first accelerator."""
    return starts // transfer.rack.gpus if transfer.rack else np.zeros_like(starts)
