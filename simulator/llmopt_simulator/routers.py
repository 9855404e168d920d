"""Routers as the records that the kernel reads: workers, and room for what a router remembers of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, get_args

import numpy as np

from llmopt_problems.deployment import DecodePolicy, Deployment, RankPolicy, RouterPolicy
from llmopt_problems.traffic.requests import Requests
from llmopt_simulator.kernel import records as shapes
from llmopt_simulator.kernel import state as k
from llmopt_simulator.roles import front_pools

ROUTERS: Final = {
    "random": k.RANDOM,
    "round_robin": k.ROUND_ROBIN,
    "shortest_queue": k.SHORTEST_QUEUE,
    "cache_aware": k.CACHE_AWARE,
    "kv_aware": k.KV_AWARE,
    "power_of_two": k.POWER_OF_TWO,
    "central_queue": k.CENTRAL_QUEUE,
    "nearest": k.NEAREST,
    "minimum_tokens": k.MINIMUM_TOKENS,
}
"""Router policies by their names in a deployment."""


def router_settings(deployment: Deployment, requests: Requests) -> dict[str, float]:
    """The settings of a router. Trees that can never outgrow their size need no entries."""
    rules, workers = deployment.routing, worker_records(deployment)
    return {
        "router": ROUTERS[deployment.router],
        "decode_router": ROUTERS[rules.decode],
        "dp_aware": rules.dp_aware,
        "dp_balance": ROUTERS[rules.dp_balance],
        "workers": len(workers),
        "trees_evict": _may_evict(deployment, requests),
        "max_tree_tokens": rules.max_tree_tokens,
        "eviction_interval_s": rules.eviction_interval_s,
        "cache_threshold": rules.cache_threshold,
        "balance_abs": rules.balance_abs_threshold,
        "balance_rel": rules.balance_rel_threshold,
    }


def routing_problems(deployment: Deployment) -> Iterator[str]:
    """What is wrong with the routing of a deployment."""
    rules = deployment.routing
    for name, value, choices in (
        ("router", deployment.router, get_args(RouterPolicy)),
        ("decode", rules.decode, get_args(DecodePolicy)),
        ("dp_balance", rules.dp_balance, get_args(RankPolicy)),
    ):
        if value not in choices:
            yield f"{name} = {value!r}: choose one of {', '.join(choices)}"
    if deployment.router in ("kv_aware", "central_queue") and not rules.dp_aware:
        yield f"a {deployment.router} router chooses among ranks: set dp_aware, or take another"
    for name in ("cache_threshold", "balance_abs_threshold", "balance_rel_threshold", "max_tree_tokens"):
        if not getattr(rules, name) >= 0:
            yield f"{name} = {getattr(rules, name)}: give 0 or more"
    if not 0.0 <= rules.eviction_interval_s < math.inf:
        yield f"eviction_interval_s = {rules.eviction_interval_s}: give seconds, or 0 for never"


def worker_records(deployment: Deployment) -> k.Records:
    """The workers that the router sees: ranks, or instances."""
    sizes: list[int] = []
    for pool in front_pools(deployment):
        each = 1 if deployment.routing.dp_aware else pool.ranks // pool.instances
        sizes += [each] * (pool.ranks // each)
    workers = np.zeros(len(sizes), shapes.WORKER)
    workers["ranks"] = sizes
    workers["rank_start"] = np.cumsum(sizes) - sizes
    workers["oldest"] = workers["youngest"] = k.NONE
    return workers


def set_workers(ranks: k.Records, workers: k.Records) -> None:
    """Tell every rank which worker it is of; decode ranks are of none."""
    ranks["worker"] = k.NONE
    front = int(workers["ranks"].sum())
    ranks["worker"][:front] = np.repeat(np.arange(len(workers)), workers["ranks"])


def tree_arrays(deployment: Deployment, requests: Requests) -> dict[str, k.Records]:
    """Entries and their table, empty; of no length where the router's trees never outgrow their size."""
    workers = len(worker_records(deployment))
    blocks = int(requests.block_ids.max(initial=-1)) + 1
    room = 0
    if _may_evict(deployment, requests):
        room = len(requests) + min(len(requests.block_ids), blocks * workers)
    entries = np.zeros(room, shapes.ENTRY)
    entries["next"] = np.arange(1, room + 1)
    return {"entries": entries, "entry_table": _table(room)}


def _may_evict(deployment: Deployment, requests: Requests) -> bool:
    """Whether the tree of a worker that gets every request would outgrow its size."""
    rules = deployment.routing
    if deployment.router != "cache_aware" or rules.eviction_interval_s == 0.0:
        return False
    most = int(requests.input_tokens.sum())
    if most > rules.max_tree_tokens and deployment.prefix_cache:
        repeated = len(requests.block_ids) - len(np.unique(requests.block_ids))
        most -= repeated * requests.block_tokens
    return most > rules.max_tree_tokens


def _table(entries: int) -> k.Records:
    """A hash table for so many entries, at most half full, its length a power of two."""
    return np.full(1 << (2 * entries).bit_length(), k.NONE, np.int64)
