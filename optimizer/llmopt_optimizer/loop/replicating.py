"""One replication as a task: the same run from the problem alone, in this process or in another.

A worker that does not see this process's memory gets the problem with each task, as bytes, and builds its own
workbench from it; what it built it keeps. Files that the problem names (traces, coefficients, models) are
read where the worker is.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from llmopt_optimizer.formulation.class_metrics import class_number
from llmopt_optimizer.loop.service import Workbench, service_model, workbench
from llmopt_optimizer.scenario import resolve
from llmopt_problems import Problem
from llmopt_problems.deployment import Deployment
from llmopt_problems.traffic import Workload, sample
from llmopt_simulator import Observed, ServiceLevel, ServiceModel, WorkloadSource, replicate_once


@dataclass(frozen=True, slots=True)
class Replication:
    """One run of a deployment."""

    deployment: Deployment
    seed: int


def replicated(
    source: WorkloadSource,
    services: Mapping[Deployment, ServiceModel],
    levels: Sequence[ServiceLevel],
    task: Replication,
) -> Observed:
    """What a replication measures."""
    return replicate_once(source, task.deployment, services[task.deployment], None, levels, task.seed)


def replicated_afar(problem: bytes, task: Replication) -> Observed:
    """The same from the problem as `sealed` gave it, where nothing else is at hand."""
    asked, bench, source = around(problem)
    services = {task.deployment: service_model(bench, task.deployment)}
    return replicated(source, services, latency_levels(asked), task)


def sealed(problem: Problem) -> bytes:
    """A problem as it travels to another process."""
    return pickle.dumps(problem)


@lru_cache(maxsize=4)
def around(problem: bytes) -> tuple[Problem, Workbench, WorkloadSource]:
    """What tasks of a sealed problem share: the problem, its workbench, its traffic by seed."""
    asked: Problem = pickle.loads(problem)
    return asked, workbench(resolve(asked)), workload_source(asked)


def workload_source(problem: Problem) -> WorkloadSource:
    """Draws the problem's traffic from a seed; a draw is kept, since every deployment meets the same ones."""
    limit = getattr(problem.traffic.arrivals, "limit", None)
    count = problem.verification.requests if limit is None else limit
    draw: Callable[[int], Workload] = partial(sample, problem.traffic, count)
    return lru_cache(maxsize=64)(draw)


def latency_levels(problem: Problem) -> tuple[ServiceLevel, ...]:
    """The upper bounds on latencies, which the simulator itself can decide."""
    return tuple(
        ServiceLevel(level.metric, level.statistic or "mean", level.value, class_number(problem, level))
        for level in problem.slo
        if level.is_latency and level.bound == "at_most"
    )
