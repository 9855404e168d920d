"""Brief runs: what the beginning of a replication already says of the whole.

Where requests come at given times, nothing that happens before one arrives depends on it. So a run of the
first requests alone is the beginning of the whole run, up to the arrival of the next one. Latencies that
have ended by then are those of the whole run, the others are at least as long as they have lasted, and a
percentile of the whole run is at least the value that enough of them reach. A deployment whose percentiles
are bad enough by then is turned down for a fraction of a run, and by nothing else than its run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from llmopt_optimizer.core.program import Assignment
from llmopt_optimizer.loop.replicating import Replication, around, sealed
from llmopt_optimizer.loop.service import Workbench, service_model
from llmopt_optimizer.loop.simulation import StoppedError
from llmopt_optimizer.loop.study import Study
from llmopt_problems.metrics_catalog import STATISTICS, metric_key
from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator import Run, replication_seed, simulate
from llmopt_simulator.options import SimulationOptions

PART = 0.3
"""Share of the requests that a brief run serves: enough to see a percentile of 95 after the warm-up."""

Floors = Mapping[str, float]
"""Lower bounds of metrics of the whole run, by metric key."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Beginning:
    """The first requests of a workload, and what the whole run will measure."""

    workload: Workload
    until_s: float
    """Arrival of the next request: up to here the run is that of the whole workload."""
    first: int
    """The first measured request."""
    measured: int
    """Measured requests of the whole run."""
    decoding: int
    """Those of them with more than one output token."""


def beginning_of(workload: Workload, part: float = PART) -> Beginning | None:
    """The beginning of a workload; None where arrivals depend on answers, or there are too few requests."""
    fixed = workload.concurrency is None and workload.follows is None and workload.think_s is None
    count = len(workload.requests)
    kept = int(count * part)
    first = min(int(count * (SimulationOptions().warmup_fraction or 0.0)), count - 1)
    if not fixed or kept <= first:
        return None
    return Beginning(
        replace(workload, requests=_leading(workload.requests, kept)),
        float(workload.requests.arrival_s[kept]),
        first,
        count - first,
        int(np.count_nonzero(workload.requests.output_tokens[first:] > 1)),
    )


def _leading(requests: Requests, kept: int) -> Requests:
    """The first `kept` requests."""
    classes = requests.class_ids
    return Requests(
        requests.arrival_s[:kept],
        requests.input_tokens[:kept],
        requests.output_tokens[:kept],
        requests.block_offsets[: kept + 1],
        requests.block_ids[: requests.block_offsets[kept]],
        requests.block_tokens,
        None if classes is None else classes[:kept],
    )


def floors_of(run: Run, beginning: Beginning) -> Floors:
    """Lower bounds of the latencies of the whole run from the run of its beginning."""
    seen = slice(beginning.first, None)
    arrival_s, tokens = run.column("arrival_s")[seen], run.column("output_tokens")[seen]
    first_s, finish_s = (
        np.fmin(run.column(name)[seen], beginning.until_s) for name in ("first_token_s", "finish_s")
    )  # fmin: of a rejected request it is only known that it came
    lasted = {"ttft": first_s - arrival_s, "e2e": finish_s - arrival_s}
    several = tokens > 1
    lasted["tpot"] = ((finish_s - first_s)[several]) / (tokens[several] - 1)
    counts = {"ttft": beginning.measured, "e2e": beginning.measured, "tpot": beginning.decoding}
    return {
        metric_key(name, statistic): _least(values, counts[name], statistic)
        for name, values in lasted.items()
        for statistic in STATISTICS
    }


def _least(values: Floats, count: int, statistic: str) -> float:
    """The least that a statistic of `count` values can be: these, and others of which nothing is known."""
    if statistic == "mean":
        return float(values.sum()) / max(count, 1)
    above = count - max(math.ceil(count * int(statistic[1:]) / 100), 1) + 1
    return float(np.sort(values)[-above]) if 0 < above <= len(values) else 0.0


@dataclass(slots=True)
class Briefs:
    """Brief runs of a study's first replication; those of deployments still in question are kept."""

    study: Study
    beginning: Beginning | None
    seed: int
    seen: dict[Assignment, Floors] = field(default_factory=dict)

    def floors(self, assignments: Sequence[Assignment], deadline: float) -> list[Floors]:
        """Lower bounds of the first replication of each; nothing for those for which there was no time."""
        if self.beginning is None:
            return [{} for _ in assignments]
        new = [assignment for assignment in assignments if assignment not in self.seen]
        tasks = [Replication(self.study.deployment(assignment), self.seed) for assignment in new]
        simulations = self.study.simulations

        def go_on() -> bool:
            return not simulations.stopped.is_set() and time.monotonic() < deadline

        found = simulations.workers.map(self._runner(self.beginning), tasks, go_on)
        self.seen |= zip(new, found, strict=False)  # fewer where time or the asker left
        if simulations.stopped.is_set():
            raise StoppedError
        return [self.seen.get(assignment, {}) for assignment in assignments]

    def _runner(self, beginning: Beginning) -> Callable[[Replication], Floors]:
        simulations = self.study.simulations
        if simulations.workers.shares_memory:
            return partial(_floors, simulations.bench, beginning)
        return partial(_floors_afar, sealed(self.study.scenario.problem))


def _floors(bench: Workbench, beginning: Beginning, task: Replication) -> Floors:
    service = service_model(bench, task.deployment)
    return floors_of(simulate(beginning.workload, task.deployment, service, task.seed), beginning)


def _floors_afar(problem: bytes, task: Replication) -> Floors:
    """The same from the problem as `sealed` gave it, where nothing else is at hand."""
    _, bench, source = around(problem)
    beginning = beginning_of(source(task.seed))
    return {} if beginning is None else _floors(bench, beginning, task)


def briefs(study: Study) -> Briefs:
    """No brief runs yet of a study's first replication; none ever where a replay says all or users wait."""
    seed = replication_seed(study.scenario.problem.verification.seed, 0)
    beginning = None if study.simulations.exact else beginning_of(study.simulations.source(seed))
    return Briefs(study, beginning, seed)
