"""Simulating deployments for the loop: the problem's traffic, enough replications, nothing twice.

A `Simulations` object owns the observations made so far, by deployment. Everything else about it is fixed:
the traffic drawn from the problem's seed, so that all deployments meet the same requests, and the service
levels that decide when replications are enough.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from os import cpu_count

from llmopt_optimizer.loop.observation import Observation, observation
from llmopt_optimizer.loop.service import Workbench, service_model
from llmopt_problems import Problem
from llmopt_problems.deployment import Deployment
from llmopt_problems.traffic import Workload, sample
from llmopt_simulator import (
    Evidence,
    ServiceLevel,
    ServiceModel,
    WorkloadSource,
    replicate,
    replicate_until_decided,
)

MOST_REPLICATIONS_FACTOR = 32
"""Replications may grow to this multiple of what was asked while a service level is undecided."""


@dataclass(slots=True)
class Simulations:
    """Observations of deployments under one problem."""

    bench: Workbench
    source: WorkloadSource
    levels: tuple[ServiceLevel, ...]
    seen: dict[Deployment, Observation] = field(default_factory=dict)

    def observe(
        self,
        deployments: Sequence[Deployment],
        tell: Callable[[int, int], None] = lambda done, total: None,
        deadline: float | None = None,
    ) -> list[Observation | None]:
        """An observation of each deployment, simulating those not seen before, one a core at a time.

        No simulation is started after `deadline` (monotonic seconds); what was not simulated is None.
        """
        new = [deployment for deployment in dict.fromkeys(deployments) if deployment not in self.seen]
        run = partial(self._simulate, deadline)
        with ThreadPoolExecutor(max_workers=cpu_count()) as threads:
            for done, found in enumerate(threads.map(run, new), start=1):
                if found is not None:
                    self.seen[found.deployment] = found
                tell(done, len(new))
        return [self.seen.get(deployment) for deployment in deployments]

    def _simulate(self, deadline: float | None, deployment: Deployment) -> Observation | None:
        if deadline is not None and time.monotonic() >= deadline:
            return None
        service = service_model(self.bench, deployment)
        run = self._replay if self.bench.scenario.traffic.requests is not None else self._replicate
        return observation(self.bench.scenario, deployment, run(deployment, service))

    def _replay(self, deployment: Deployment, service: ServiceModel) -> Evidence:
        return replicate(self.source, deployment, service, levels=self.levels, replications=1)

    def _replicate(self, deployment: Deployment, service: ServiceModel) -> Evidence:
        asked = self.bench.scenario.problem.verification
        return replicate_until_decided(
            self.source,
            deployment,
            service,
            levels=self.levels,
            replications=asked.replications,
            most_replications=MOST_REPLICATIONS_FACTOR * asked.replications,
            confidence=asked.confidence,
            seed=asked.seed,
        )


def simulations(bench: Workbench) -> Simulations:
    """An empty record of simulations of a scenario's problem."""
    problem = bench.scenario.problem
    return Simulations(bench, workload_source(problem), latency_levels(problem))


def workload_source(problem: Problem) -> WorkloadSource:
    """Draws the problem's traffic from a seed; a draw is kept, since every deployment meets the same ones."""
    limit = getattr(problem.traffic.arrivals, "limit", None)
    count = problem.verification.requests if limit is None else limit
    draw: Callable[[int], Workload] = partial(sample, problem.traffic, count)
    return lru_cache(maxsize=64)(draw)


def latency_levels(problem: Problem) -> tuple[ServiceLevel, ...]:
    """The upper bounds on latencies, which the simulator itself can decide."""
    return tuple(
        ServiceLevel(level.metric, level.statistic or "mean", level.value)
        for level in problem.slo
        if level.is_latency and level.bound == "at_most"
    )
