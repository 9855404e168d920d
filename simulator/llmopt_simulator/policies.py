"""Scheduling policies as the fields that the kernel reads."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from llmopt_problems.deployment import Deployment, KvGrowth, PoolDeployment, Scheduling
from llmopt_problems.traffic.requests import Requests
from llmopt_simulator.kernel import state as k

_NO_LIMIT = 2**62


def set_scheduling(ranks: k.Records, engines: k.Records, deployment: Deployment) -> None:
    """Write the scheduling of every pool into its engines and ranks."""
    for number, pool in enumerate(deployment.pools):
        its_engines = np.flatnonzero(engines["pool"] == number)
        its_ranks = np.flatnonzero(np.isin(ranks["engine"], its_engines))
        for name, value in _engine_fields(pool.scheduling).items():
            engines[name][its_engines] = value
        for name, value in _rank_fields(pool).items():
            ranks[name][its_ranks] = value
        if pool.scheduling.growth is not None:
            capacity = int(ranks["capacity_pages"][its_ranks[0]])
            ranks["watermark_pages"][its_ranks] = int(pool.scheduling.growth.watermark * capacity)


def queue_limit(deployment: Deployment) -> int:
    """Waiting requests at which the front pool's queues reject."""
    limit = deployment.pools[0].scheduling.queue_limit
    return _NO_LIMIT if limit is None else limit


def order_keys(requests: Requests, scheduling: Scheduling) -> NDArray[np.int64]:
    """What orders waiting requests, smallest first, shape (n,); arrival breaks ties."""
    if scheduling.order == "shortest_prompt":
        return requests.input_tokens
    classes = requests.class_ids
    if scheduling.order == "priority" and classes is not None:
        priorities = scheduling.priorities or range(int(classes.max(initial=0)) + 1)
        return np.asarray(priorities, np.int64)[classes]
    return np.zeros(len(requests), np.int64)


def _engine_fields(scheduling: Scheduling) -> dict[str, float]:
    target = scheduling.window_requests
    return {
        "window_s": scheduling.window_s,
        "window_requests": _NO_LIMIT if target is None else target,
        "opened_s": math.inf,
        "overhead_s": scheduling.step_overhead_s,
        "overlapped": scheduling.overlapped,
        "ahead": scheduling.plan_ahead,
        "seen_s": math.inf,
    }


def _rank_fields(pool: PoolDeployment) -> dict[str, float]:
    scheduling, front = pool.scheduling, pool.role != "decode"
    growth = scheduling.growth or KvGrowth(watermark=0.0)
    start = growth.conservativeness
    floor = start if growth.conservativeness_floor is None else growth.conservativeness_floor
    return {
        "prefill_first": front and scheduling.mixing == "prefill_first",
        "ordered": front and scheduling.order != "fcfs",
        "grows": scheduling.growth is not None,
        "spare_page": growth.spare_page,
        "share": start,
        "share_start": start,
        "share_floor": floor,
        "share_decay": (start - floor) / growth.decay_steps,
    }
