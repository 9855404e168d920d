"""Evidence: independent replications of one deployment, with a confidence interval on every metric.

A replication is a run of a fresh workload drawn from its own seed; its metrics are one observation each, so
intervals are Student-t over replications (a percentile is taken within each one). An SLO is verified when
the upper end of its interval keeps the bound, violated when the lower end breaks it, else undecided.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Literal

import numpy as np

from llmopt_problems.deployment import Deployment
from llmopt_problems.traffic.requests import Workload
from llmopt_simulator.errors import SimulationError
from llmopt_simulator.frozen import frozen_parameters
from llmopt_simulator.intervals import Interval, mean_interval, relative_half_width
from llmopt_simulator.levels import ServiceLevel
from llmopt_simulator.measure import metrics
from llmopt_simulator.options import SimulationOptions
from llmopt_simulator.run import simulate
from llmopt_simulator.service import ServiceModel

WorkloadSource = Callable[[int], Workload]
"""Draws a workload from a seed; equal seeds give equal workloads."""

Verdict = Literal["verified", "violated", "undecided"]

Observed = tuple[dict[str, float], dict[str, float]]
"""Metrics and frozen parameters of one replication."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What replications say of one deployment."""

    metrics: Mapping[str, Interval]
    """By metric name."""
    frozen: Mapping[str, Interval]
    """By frozen parameter; `llmopt_simulator.frozen.MEANINGS` says what each one is."""
    replications: tuple[Mapping[str, float], ...]
    """The metrics of every replication."""
    confidence: float
    levels: tuple[ServiceLevel, ...]

    def precision(self, metric: str) -> float:
        """Half-width of a metric's interval over its value; infinite where one of them is, or it is absent.

        Raises `SimulationError` for a name that runs do not have.
        """
        if metric not in self.metrics:
            known = ", ".join(sorted(self.metrics))
            raise SimulationError(f"no metric is called {metric!r}; a run has {known}")
        return relative_half_width(self.metrics[metric])

    @property
    def verdicts(self) -> Mapping[ServiceLevel, Verdict]:
        """The verdict on every level."""
        return {level: verdict(self.metrics[level.key], level.at_most_s) for level in self.levels}

    @property
    def verdict(self) -> Verdict:
        """Verified when all levels are, violated when one is, else undecided."""
        found = set(self.verdicts.values())
        if "violated" in found:
            return "violated"
        return "undecided" if "undecided" in found else "verified"


def verdict(interval: Interval, at_most: float) -> Verdict:
    """Whether a confidence interval keeps a bound, breaks it, or leaves it open (NaN leaves it open)."""
    if interval.high <= at_most:
        return "verified"
    return "violated" if interval.low > at_most else "undecided"


def replicate(
    source: WorkloadSource,
    deployment: Deployment,
    service: ServiceModel,
    options: SimulationOptions | None = None,
    *,
    levels: Sequence[ServiceLevel] = (),
    replications: int = 5,
    confidence: float = 0.95,
    seed: int = 1,
) -> Evidence:
    """Evidence from a fixed number of replications; raises `SimulationError` as `simulate` does."""
    observed = [
        replicate_once(source, deployment, service, options, levels, replication_seed(seed, i))
        for i in range(replications)
    ]
    return evidence_of(observed, levels, confidence)


def replicate_until_decided(
    source: WorkloadSource,
    deployment: Deployment,
    service: ServiceModel,
    options: SimulationOptions | None = None,
    *,
    levels: Sequence[ServiceLevel],
    replications: int = 5,
    most_replications: int = 40,
    confidence: float = 0.95,
    seed: int = 1,
) -> Evidence:
    """Evidence from as many replications as decide every level: at least `replications`, at most the cap.

    See `look_confidence` for what looking again costs.
    """
    seen = partial(replicate_once, source, deployment, service, options, levels)
    looks = Looks(replications, most_replications, confidence)
    return look_until(lambda evidence: evidence.verdict != "undecided", seen, levels, looks, seed)


def replicate_until_precise(
    source: WorkloadSource,
    deployment: Deployment,
    service: ServiceModel,
    options: SimulationOptions | None = None,
    *,
    metric: str = "ttft_p95_s",
    fraction: float = 0.05,
    levels: Sequence[ServiceLevel] = (),
    replications: int = 5,
    most_replications: int = 1280,
    confidence: float = 0.95,
    seed: int = 1,
) -> Evidence:
    """Evidence from as many replications as know `metric` to within `fraction` of its value.

    Ends when the half-width of its interval is at most that share of the mean, when a replication is
    saturated (no steady state, so nothing to be precise about), or at the cap: `evidence.precision(metric)`
    tells which. Raises `SimulationError` for a metric that runs do not have.
    """

    def enough(evidence: Evidence) -> bool:
        return evidence.precision(metric) <= fraction or evidence.metrics["saturated"].value > 0.0

    seen = partial(replicate_once, source, deployment, service, options, levels)
    looks = Looks(replications, most_replications, confidence)
    return look_until(enough, seen, levels, looks, seed)


@dataclass(frozen=True, slots=True)
class Looks:
    """After how many replications a sequential procedure looks: `first`, then twice as many, up to `most`."""

    first: int
    most: int
    confidence: float

    def replications(self, look: int) -> int:
        """How many replications look 1, 2, … sees."""
        return min(self.first * 2 ** (look - 1), self.most)

    def evidence(self, look: int, observed: Sequence[Observed], levels: Sequence[ServiceLevel]) -> Evidence:
        """What the replications seen at a look say together."""
        return evidence_of(observed, levels, look_confidence(self.confidence, look))


def look_confidence(confidence: float, look: int) -> float:
    """The confidence of the intervals at look 1, 2, … such that all looks together keep `confidence`.

    Stopping when an interval looks good picks the lucky ones, so an interval of the last look alone would
    cover too seldom. With 1 − (1 − c) / 2^j at look j, whose sizes are fixed beforehand, the chance that the
    interval of any look misses is at most (1 − c)(1/2 + 1/4 + …) = 1 − c, wherever one stops (union bound).
    """
    return 1.0 - (1.0 - confidence) / 2.0**look


def look_until(
    enough: Callable[[Evidence], bool],
    observe: Callable[[int], Observed],
    levels: Sequence[ServiceLevel],
    looks: Looks,
    seed: int,
) -> Evidence:
    """Evidence from replications seen through `observe` (by seed), until it is `enough` or at the cap."""
    observed: list[Observed] = []
    for look in count(1):
        wanted = range(len(observed), looks.replications(look))
        observed += [observe(replication_seed(seed, number)) for number in wanted]
        evidence = looks.evidence(look, observed, levels)
        if len(observed) == looks.most or enough(evidence):
            break
    return evidence


def replication_seed(seed: int, number: int) -> int:
    """The seed of one replication: the same whatever the number of replications."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint32)[0])


def replicate_once(
    source: WorkloadSource,
    deployment: Deployment,
    service: ServiceModel,
    options: SimulationOptions | None,
    levels: Sequence[ServiceLevel],
    seed: int,
) -> Observed:
    """Metrics and frozen parameters of one run of the workload that `source` draws for `seed`."""
    run = simulate(source(seed), deployment, service, seed, options)
    values = metrics(run, levels)
    return values, frozen_parameters(run, values)


def evidence_of(
    observed: Sequence[Observed],
    levels: Sequence[ServiceLevel],
    confidence: float,
) -> Evidence:
    """What these replications say together."""
    values = tuple(found for found, _ in observed)
    frozen = _intervals([found for _, found in observed], confidence)
    return Evidence(_intervals(values, confidence), frozen, values, confidence, tuple(levels))


def _intervals(observed: Sequence[Mapping[str, float]], confidence: float) -> dict[str, Interval]:
    """An interval a name. Replications in which a quantity does not exist (NaN) say nothing of it."""
    names = dict.fromkeys(name for values in observed for name in values)
    return {
        name: mean_interval(_present(values.get(name, math.nan) for values in observed), confidence)
        for name in names
    }


def _present(values: Iterable[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)] or [math.nan]
