"""Simulating deployments for the loop: the problem's traffic, enough replications, nothing twice.

A `Simulations` object owns the observations made so far, by deployment. Everything else about it is fixed:
the traffic drawn from the problem's seed, so that all deployments meet the same requests, and the service
levels that decide when replications are enough. A *glimpse* is one replication, the first of those that an
observation rests on: enough to turn down what is far off. Workers run the replications (`replicating`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from threading import Event

from llmopt_optimizer.loop.observation import Observation, observation
from llmopt_optimizer.loop.replicating import (
    Replication,
    latency_levels,
    replicated,
    replicated_afar,
    sealed,
    workload_source,
)
from llmopt_optimizer.loop.service import Workbench, service_model
from llmopt_optimizer.loop.store import Store, replication_key, service_hash, workload_hash
from llmopt_optimizer.loop.workers import Workers, here
from llmopt_problems.deployment import Deployment
from llmopt_simulator import (
    Looks,
    Observed,
    ServiceLevel,
    ServiceModel,
    WorkloadSource,
    evidence_of,
    replication_seed,
)

MOST_REPLICATIONS_FACTOR = 32
"""Replications may grow to this multiple of what was asked while a service level is undecided."""
GROUP = 4
"""Deployments that are simulated together, a worker: between groups progress is told and nothing is lost."""

Heard = Callable[[int, int], None]
Observations = Mapping[Deployment, Observation]
Pointless = Callable[[Observation], bool]
"""Whether no more replications are wanted of what has been observed, decided or not."""


class StoppedError(Exception):
    """Whoever asked for the work has left."""


@dataclass(slots=True)
class Simulations:
    """Observations of deployments under one problem."""

    bench: Workbench
    source: WorkloadSource
    levels: tuple[ServiceLevel, ...]
    workers: Workers
    store: Store = field(default_factory=Store)
    seen: dict[Deployment, Observation] = field(default_factory=dict)
    glimpsed: dict[Deployment, Observation] = field(default_factory=dict)
    requests: dict[int, str] = field(default_factory=dict)
    """Hashes of the workloads drawn so far, by seed."""
    runs: int = 0
    """Replications simulated, those found in the store left out."""
    most_factor: int = MOST_REPLICATIONS_FACTOR
    stopped: Event = field(default_factory=Event)
    """Set by whoever wants no more simulations: what is under way ends with `StoppedError`."""

    def observe(
        self,
        deployments: Sequence[Deployment],
        tell: Heard = lambda done, total: None,
        deadline: float | None = None,
        pointless: Pointless = lambda observed: False,
    ) -> list[Observation | None]:
        """An observation of each deployment, simulating those not seen before.

        No simulation is started after `deadline` (monotonic seconds); what was not simulated is None.
        """
        return self._all(deployments, self.seen, partial(self._observed, pointless), tell, deadline)

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
        run: Callable[[Sequence[Deployment], float | None], Observations],
        tell: Heard,
        deadline: float | None,
    ) -> list[Observation | None]:
        new = [deployment for deployment in dict.fromkeys(deployments) if deployment not in known]
        size = GROUP * self.workers.count
        for start in range(0, len(new), size):
            known.update(run(new[start : start + size], deadline))
            tell(min(start + size, len(new)), len(new))
        return [known.get(deployment) for deployment in deployments]

    def _glimpsed(self, deployments: Sequence[Deployment], deadline: float | None) -> Observations:
        runs = self._replications(deployments, range(1), deadline)
        confidence = self.bench.scenario.problem.verification.confidence
        return {
            deployment: observation(self.bench, deployment, evidence_of(seen, self.levels, confidence))
            for deployment, seen in runs.items()
        }

    def _observed(
        self, pointless: Pointless, deployments: Sequence[Deployment], deadline: float | None
    ) -> Observations:
        if self.exact:
            return self._glimpsed(deployments, deadline)
        return self._decided(pointless, deployments, deadline)

    def _decided(
        self, pointless: Pointless, deployments: Sequence[Deployment], deadline: float | None
    ) -> Observations:
        """Replications until every level is decided or they are pointless, looking as `look_until` does."""
        asked = self.bench.scenario.problem.verification
        looks = Looks(asked.replications, self.most_factor * asked.replications, asked.confidence)
        decided: dict[Deployment, Observation] = {}
        undecided: Sequence[Deployment] = deployments
        for look in count(1):
            runs = self._replications(undecided, range(looks.replications(look)), deadline)
            last = looks.replications(look) == looks.most
            undecided = []
            for deployment, runs_seen in runs.items():
                evidence = looks.evidence(look, runs_seen, self.levels)
                found = observation(self.bench, deployment, evidence)
                if last or evidence.verdict != "undecided" or pointless(found):
                    decided[deployment] = found
                else:
                    undecided.append(deployment)
            if not undecided:
                break
        return decided

    def _replications(
        self, deployments: Sequence[Deployment], numbers: Sequence[int], deadline: float | None
    ) -> dict[Deployment, list[Observed]]:
        """The numbered replications of each deployment for which there was time."""
        verification = self.bench.scenario.problem.verification
        seeds = [replication_seed(verification.seed, number) for number in numbers]
        services = {d: service_model(self.bench, d) for d in deployments}
        keys = {task: key for d in deployments for task, key in self._keys(d, services[d], seeds)}
        self._run([t for t, key in keys.items() if self.store.get(key) is None], keys, services, deadline)
        found = {d: [self.store.get(keys[Replication(d, seed)]) for seed in seeds] for d in deployments}
        return {d: [run for run in runs if run is not None] for d, runs in found.items() if None not in runs}

    def _run(
        self,
        tasks: Sequence[Replication],
        keys: Mapping[Replication, str],
        services: Mapping[Deployment, ServiceModel],
        deadline: float | None,
    ) -> None:
        """Simulate, and store what was measured."""

        def go_on() -> bool:
            return not self.stopped.is_set() and (deadline is None or time.monotonic() < deadline)

        observed = self.workers.map(self._runner(services), tasks, go_on)
        for task, found in zip(tasks, observed, strict=False):  # fewer where time or the asker left
            self.store.put(keys[task], found)
        self.runs += len(observed)
        if self.stopped.is_set():
            raise StoppedError

    def _runner(self, services: Mapping[Deployment, ServiceModel]) -> Callable[[Replication], Observed]:
        if self.workers.shares_memory:
            return partial(replicated, self.source, services, self.levels)
        return partial(replicated_afar, sealed(self.bench.scenario.problem))

    def _keys(
        self, deployment: Deployment, service: ServiceModel, seeds: Sequence[int]
    ) -> Iterator[tuple[Replication, str]]:
        """What a replication is stored under, by seed."""
        made = service_hash(service)
        for seed in seeds:
            key = replication_key(made, self._workload(seed), deployment, self.levels, seed)
            yield Replication(deployment, seed), key

    def _workload(self, seed: int) -> str:
        if seed not in self.requests:
            self.requests[seed] = workload_hash(self.source(seed))
        return self.requests[seed]


def simulations(bench: Workbench, store: Store | None = None, workers: Workers | None = None) -> Simulations:
    """An empty record of simulations of a scenario's problem; what `store` holds is not simulated again."""
    problem = bench.scenario.problem
    return Simulations(
        bench, workload_source(problem), latency_levels(problem), workers or here(), store or Store()
    )
