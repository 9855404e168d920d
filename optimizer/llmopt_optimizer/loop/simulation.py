"""Simulating deployments for the loop: the problem's traffic, enough replications, nothing twice.

A `Simulations` object owns the observations made so far, by deployment. Everything else about it is fixed:
the traffic drawn from the problem's seed, so that all deployments meet the same requests, and the service
levels that decide when replications are enough. A *glimpse* is one replication, the first of those that an
observation rests on: enough to turn down what is far off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from os import cpu_count
from threading import Event

from llmopt_optimizer.formulation.class_metrics import class_number
from llmopt_optimizer.loop.observation import Observation, observation
from llmopt_optimizer.loop.service import Workbench, service_model
from llmopt_optimizer.loop.store import Store, replication_key, service_hash, workload_hash
from llmopt_optimizer.loop.workers import mapped
from llmopt_problems import Problem
from llmopt_problems.deployment import Deployment
from llmopt_problems.traffic import Workload, sample
from llmopt_simulator import (
    Evidence,
    Looks,
    Observed,
    ServiceLevel,
    ServiceModel,
    WorkloadSource,
    evidence_of,
    look_until,
    replicate_once,
    replication_seed,
)

MOST_REPLICATIONS_FACTOR = 32
"""Replications may grow to this multiple of what was asked while a service level is undecided."""

Heard = Callable[[int, int], None]


class StoppedError(Exception):
    """Whoever asked for the work has left."""


@dataclass(slots=True)
class Simulations:
    """Observations of deployments under one problem."""

    bench: Workbench
    source: WorkloadSource
    levels: tuple[ServiceLevel, ...]
    store: Store = field(default_factory=Store)
    seen: dict[Deployment, Observation] = field(default_factory=dict)
    glimpsed: dict[Deployment, Observation] = field(default_factory=dict)
    requests: dict[int, str] = field(default_factory=dict)
    """Hashes of the workloads drawn so far, by seed."""
    runs: int = 0
    """Replications simulated, those found in the store left out."""
    most_factor: int = MOST_REPLICATIONS_FACTOR
    stopped: Event = field(default_factory=Event)
    """Set by whoever wants no more simulations: the next replication raises `StoppedError`."""

    def observe(
        self,
        deployments: Sequence[Deployment],
        tell: Heard = lambda done, total: None,
        deadline: float | None = None,
    ) -> list[Observation | None]:
        """An observation of each deployment, simulating those not seen before, one a core at a time.

        No simulation is started after `deadline` (monotonic seconds); what was not simulated is None.
        """
        return self._all(deployments, self.seen, self._observed, tell, deadline)

    def glimpse(
        self,
        deployments: Sequence[Deployment],
        tell: Heard = lambda done, total: None,
        deadline: float | None = None,
    ) -> list[Observation | None]:
        """What one replication says of each deployment; see `observe`."""
        return self._all(deployments, self.glimpsed, self._glimpsed, tell, deadline)

    @property
    def exact(self) -> bool:
        """Whether one replication is all there is: the replay of a trace."""
        return self.bench.scenario.traffic.requests is not None

    def _all(
        self,
        deployments: Sequence[Deployment],
        known: dict[Deployment, Observation],
        run: Callable[[Deployment], Observation],
        tell: Heard,
        deadline: float | None,
    ) -> list[Observation | None]:
        new = [deployment for deployment in dict.fromkeys(deployments) if deployment not in known]
        results = mapped(partial(_in_time, deadline, run), new, cpu_count() or 1)
        for done, found in enumerate(results, start=1):
            if found is not None:
                known[found.deployment] = found
            tell(done, len(new))
        return [known.get(deployment) for deployment in deployments]

    def _glimpsed(self, deployment: Deployment) -> Observation:
        seed = replication_seed(self.bench.scenario.problem.verification.seed, 0)
        observed = [self._replication(deployment)(seed)]
        return observation(self.bench, deployment, evidence_of(observed, self.levels, self._confidence))

    def _observed(self, deployment: Deployment) -> Observation:
        return self._glimpsed(deployment) if self.exact else self._decided(deployment)

    def _decided(self, deployment: Deployment) -> Observation:
        asked = self.bench.scenario.problem.verification
        most = self.most_factor * asked.replications
        looks = Looks(asked.replications, most, asked.confidence)
        evidence = look_until(_is_decided, self._replication(deployment), self.levels, looks, asked.seed)
        return observation(self.bench, deployment, evidence)

    @property
    def _confidence(self) -> float:
        return self.bench.scenario.problem.verification.confidence

    def _replication(self, deployment: Deployment) -> Callable[[int], Observed]:
        """Replications of a deployment by seed, from the store where they are there."""
        service = service_model(self.bench, deployment)
        key = service_hash(service)
        return lambda seed: self._stored(deployment, service, key, seed)

    def _stored(self, deployment: Deployment, service: ServiceModel, service_key: str, seed: int) -> Observed:
        if self.stopped.is_set():
            raise StoppedError
        key = replication_key(service_key, self._workload(seed), deployment, self.levels, seed)
        found = self.store.get(key)
        if found is None:
            found = replicate_once(self.source, deployment, service, None, self.levels, seed)
            self.runs += 1
            self.store.put(key, found)
        return found

    def _workload(self, seed: int) -> str:
        if seed not in self.requests:
            self.requests[seed] = workload_hash(self.source(seed))
        return self.requests[seed]


def _is_decided(evidence: Evidence) -> bool:
    return evidence.verdict != "undecided"


def _in_time(
    deadline: float | None, run: Callable[[Deployment], Observation], deployment: Deployment
) -> Observation | None:
    if deadline is not None and time.monotonic() >= deadline:
        return None
    return run(deployment)


def simulations(bench: Workbench, store: Store | None = None) -> Simulations:
    """An empty record of simulations of a scenario's problem; what `store` holds is not simulated again."""
    problem = bench.scenario.problem
    return Simulations(bench, workload_source(problem), latency_levels(problem), store or Store())


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
