"""The rules that a scheduling must keep, each with what to do about it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import get_args

from llmopt_problems.deployment import (
    Deployment,
    KvGrowth,
    Mixing,
    PoolDeployment,
    QueueOrder,
    Scheduling,
)
from llmopt_problems.traffic.requests import Requests


def scheduling_problems(requests: Requests, deployment: Deployment) -> Iterator[str]:
    """What is wrong with the scheduling of any pool."""
    for pool in deployment.pools:
        name, scheduling = f"the {pool.role} pool", pool.scheduling
        yield from _choice_problems(name, scheduling)
        yield from _number_problems(name, scheduling)
        yield from _ahead_problems(name, scheduling)
        yield from _limit_problems(name, pool, deployment)
        if scheduling.growth is not None:
            yield from _growth_problems(name, pool, scheduling.growth)
    yield from _priority_problems(requests, deployment.pools[0].scheduling)


def _choice_problems(name: str, scheduling: Scheduling) -> Iterator[str]:
    for field, value, choices in (
        ("mixing", scheduling.mixing, get_args(Mixing)),
        ("order", scheduling.order, get_args(QueueOrder)),
    ):
        if value not in choices:
            yield f"{name} has {field} = {value!r}: choose one of {', '.join(choices)}"


def _number_problems(name: str, scheduling: Scheduling) -> Iterator[str]:
    for field in ("window_s", "step_overhead_s"):
        if not 0.0 <= getattr(scheduling, field) < math.inf:
            yield f"{name} has {field} = {getattr(scheduling, field)}: give seconds, 0 or more"
    if scheduling.window_requests is not None and scheduling.window_requests < 1:
        yield f"{name} has window_requests = {scheduling.window_requests}: give at least 1, or None"


def _ahead_problems(name: str, scheduling: Scheduling) -> Iterator[str]:
    if scheduling.plan_ahead and not scheduling.overlapped:
        yield f"{name} plans ahead and does not overlap: set overlapped, or leave plan_ahead out"


def _limit_problems(name: str, pool: PoolDeployment, deployment: Deployment) -> Iterator[str]:
    limit = pool.scheduling.queue_limit
    if limit is None:
        return
    if pool.role == "decode":
        yield f"{name} has queue_limit = {limit}: give it to the pool where requests arrive"
    least = 0 if deployment.router == "central_queue" else 1
    if limit < least:
        yield f"{name} has queue_limit = {limit}: nothing would be served; give at least {least}"


def _growth_problems(name: str, pool: PoolDeployment, growth: KvGrowth) -> Iterator[str]:
    if pool.role != "serve":
        yield f"{name} grows: it cannot compute what it retracts again; only aggregated pools can"
    if not 0.0 <= growth.conservativeness <= 1.0:
        yield f"{name} has conservativeness = {growth.conservativeness}: give a share of the output in [0, 1]"
    floor = growth.conservativeness_floor
    if floor is not None and not 0.0 <= floor <= growth.conservativeness:
        yield f"{name} has conservativeness_floor = {floor}: give 0 to {growth.conservativeness}, or None"
    if growth.decay_steps < 1:
        yield f"{name} has decay_steps = {growth.decay_steps}: give at least 1"
    if not 0.0 <= growth.watermark < 1.0:
        yield f"{name} has watermark = {growth.watermark}: give a share of the pages in [0, 1)"


def _priority_problems(requests: Requests, scheduling: Scheduling) -> Iterator[str]:
    classes, priorities = requests.class_ids, scheduling.priorities
    if scheduling.order != "priority" or classes is None:
        return
    if priorities and max(classes) >= len(priorities):
        most = max(classes)
        yield f"priorities has {len(priorities)} entries and a request is of class {most}: give one a class"
    elif min(priorities, default=0) < 0:
        yield f"priorities holds {min(priorities)}: give 0 or more, smaller ones are served first"
