"""Trials: deployments that were simulated, with the verdict on each.

A verdict is about the user's service levels at the asked confidence: verified when every interval keeps its
bound, violated when one breaks it, undecided between. Only verified deployments are ever recommended. Whoever
is far off at a first glimpse, a single replication, is turned down by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmopt_optimizer.core.program import Assignment, Objective
from llmopt_optimizer.loop.observation import Observation
from llmopt_optimizer.result import Estimate, Verdict
from llmopt_problems import Problem
from llmopt_problems.schema.service import ServiceLevel


@dataclass(frozen=True, slots=True)
class Trial:
    """One simulated proposal."""

    assignment: Assignment
    observation: Observation
    verdict: Verdict
    violated: tuple[str, ...]
    """Keys of the service levels that are not kept."""
    glimpse: Observation | None = None
    """The first replication alone, for comparison with the first replication of others."""

    @property
    def glimpsed_only(self) -> bool:
        """Whether one replication was enough to turn the deployment down."""
        return self.glimpse is self.observation

    def costs(self, objectives: Sequence[Objective]) -> tuple[float, ...]:
        """Simulated objectives, signed so that smaller is better."""
        metrics = self.observation.metrics
        return tuple(objective.sign * metrics[objective.metric].value for objective in objectives)


def judged(
    problem: Problem, assignment: Assignment, observation: Observation, glimpse: Observation | None = None
) -> Trial:
    """The verdict on an observation."""
    verdicts = {level.key: verdict_on(level, observation.metrics[level.key]) for level in problem.slo}
    if observation.saturated:
        return Trial(assignment, observation, Verdict.VIOLATED, ("traffic", *verdicts), glimpse)
    failed = tuple(key for key, verdict in verdicts.items() if verdict is not Verdict.VERIFIED)
    if Verdict.VIOLATED in verdicts.values():
        return Trial(assignment, observation, Verdict.VIOLATED, failed, glimpse)
    verdict = Verdict.UNDECIDED if failed else Verdict.VERIFIED
    return Trial(assignment, observation, verdict, failed, glimpse)


def verdict_on(level: ServiceLevel, estimate: Estimate) -> Verdict:
    """Whether an interval keeps a service level, breaks it, or leaves it open."""
    sign = 1 if level.bound == "at_most" else -1
    ends = sorted((sign * estimate.low, sign * estimate.high))
    if ends[1] <= sign * level.value:
        return Verdict.VERIFIED
    return Verdict.VIOLATED if ends[0] > sign * level.value else Verdict.UNDECIDED


def verified(trials: Iterable[Trial]) -> list[Trial]:
    """The trials that kept every service level."""
    return [trial for trial in trials if trial.verdict is Verdict.VERIFIED]


def nondominated(trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[Trial]:
    """Trials that no other one matches in all objectives and beats in one, best first objective first.

    Of trials with equal objectives the earliest stays.
    """
    kept: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: trial.costs(objectives)):
        costs = trial.costs(objectives)
        if not any(covers(other.costs(objectives), costs, 0.0) for other in kept):
            kept.append(trial)
    return kept


def covers(costs: Sequence[float], others: Sequence[float], slack: float) -> bool:
    """Whether `costs` are nowhere worse than `others`, by more than the relative `slack`."""
    return all(a <= b + slack * abs(b) for a, b in zip(costs, others, strict=True))
