"""What a group carries: the largest rate at which simulation verifies every service level, by bisection.

Most rates far from the answer are decided by one replication; those near it take as many as their service
levels need, at most `MOST_FACTOR` times what was asked. An undecided rate does not count as carried.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from llmopt_optimizer.fleet.lineup import Lineup
from llmopt_optimizer.loop.observation import Observation
from llmopt_optimizer.loop.racing import SPREAD
from llmopt_optimizer.loop.simulation import Simulations
from llmopt_optimizer.loop.trials import verdict_on
from llmopt_optimizer.result import Verdict
from llmopt_problems.deployment import Deployment
from llmopt_problems.schema.service import ServiceLevel

STEP = 1.12
"""Factor by which the search moves until the answer lies between two rates."""
LEAST_SHARE = 0.02
"""A group that carries less than this share of what was expected of it is given up."""
MOST_STEPS = 40


@dataclass(frozen=True, slots=True)
class Group:
    """A deployment that may be repeated, and the rate that one of it carries."""

    name: str
    accelerator: str
    deployment: Deployment
    rate_per_s: float
    observation: Observation
    """At that rate."""

    @property
    def gpus(self) -> int:
        """Accelerators of one group."""
        return self.deployment.gpus


def observed(lineup: Lineup, deployment: Deployment, rate_per_s: float) -> Observation | None:
    """The observation of a group at a rate, if every service level is verified; None otherwise."""
    runs = lineup.simulations_at(rate_per_s)
    return checked(runs, deployment)


def checked(runs: Simulations, deployment: Deployment) -> Observation | None:
    """The observation of a deployment, if every service level is verified; None otherwise."""
    levels = runs.bench.scenario.problem.slo
    (first,) = runs.glimpse([deployment])
    if first is None or first.saturated or (not runs.exact and far_off(first, levels)):
        return None
    (found,) = runs.observe([deployment])
    if found is None or found.saturated:
        return None
    kept = all(verdict_on(level, found.metrics[level.key]) is Verdict.VERIFIED for level in levels)
    return found if kept else None


def far_off(glimpse: Observation, levels: Sequence[ServiceLevel]) -> bool:
    """Whether one replication misses a level by more than replications differ."""
    return any(
        not glimpse.metrics[level.key].value <= level.value * (1 + SPREAD[level.metric]) for level in levels
    )


def carried(
    lineup: Lineup, name: str, deployment: Deployment, guess_per_s: float, deadline: float | None = None
) -> Group | None:
    """The group with the largest rate that it carries, within the problem's tolerance.

    None for a group that carries next to nothing, or when time ended before anything was verified.
    """
    accuracy = max(lineup.study.scenario.problem.verification.tolerance, 1e-3)
    kept: dict[float, Observation] = {}
    low, high, rate = 0.0, float("inf"), guess_per_s
    for _ in range(MOST_STEPS):
        if deadline is not None and time.monotonic() >= deadline:
            break
        found = observed(lineup, deployment, rate)
        if found is None:
            high = rate
        else:
            low, kept[rate] = rate, found
        if (low and high <= low * (1 + accuracy)) or high < LEAST_SHARE * guess_per_s:
            break
        rate = _next(low, high)
    return Group(name, lineup.accelerator, deployment, low, kept[low]) if low else None


def _next(low: float, high: float) -> float:
    if not low:
        return high / STEP
    return low * STEP if high == float("inf") else sqrt(low * high)
