"""The race: one replication for everybody, enough replications for whoever is still in it.

All deployments meet the same requests, so a single replication tells much about the next ones. A deployment
is turned down at a glimpse when it misses a level, or loses to a verified deployment in every objective, by
more than replications differ (`SPREAD`, generous). Everybody else is simulated until its levels are decided.
A replayed trace has one replication, which says all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from llmopt_optimizer.core.program import Assignment
from llmopt_optimizer.loop.observation import Observation
from llmopt_optimizer.loop.simulation import Heard
from llmopt_optimizer.loop.study import Study
from llmopt_optimizer.loop.trials import Trial, covers, judged, nondominated, verified
from llmopt_optimizer.result import Estimate, Verdict
from llmopt_problems.metrics_catalog import METRICS

SPREAD: Mapping[str, float] = {
    "ttft": 0.5,
    "queueing": 0.5,
    "e2e": 0.3,
    "tpot": 0.1,
    "itl": 0.1,
    "gpus": 0.0,
    "cost_per_hour": 0.0,
}
"""By how much one replication of a metric may differ from the mean of several, relative."""
OTHER_SPREAD = 0.1
PAIRED = 0.3
"""Part of the spread that is left between two deployments that meet the same requests."""


def raced(
    study: Study,
    assignments: Sequence[Assignment],
    known: Sequence[Trial],
    tell: Heard = lambda done, total: None,
    deadline: float | None = None,
) -> tuple[Trial, ...]:
    """A trial of each assignment for which there was time; `known` are the trials so far."""
    simulations = study.simulations
    deployments = [study.deployment(assignment) for assignment in assignments]
    half = len(assignments)
    first = simulations.glimpse(deployments, lambda done, _: tell(done, 2 * half), deadline)
    early = [
        None if glimpse is None else turned_down(study, assignment, glimpse, known)
        for assignment, glimpse in zip(assignments, first, strict=True)
    ]
    pairs = zip(deployments, early, first, strict=True)
    left = [d for d, trial, glimpse in pairs if trial is None and glimpse is not None]
    front = nondominated(verified(known), study.program.objectives)

    def pointless(observed: Observation) -> bool:
        return any(_adds_nothing(study, observed.metrics, trial) for trial in front)

    observed = simulations.observe(left, lambda done, _: tell(half + done, 2 * half), deadline, pointless)
    full = dict(zip(left, observed, strict=True))
    trials: list[Trial] = []
    for assignment, deployment, trial, glimpse in zip(assignments, deployments, early, first, strict=True):
        if trial is not None:
            trials.append(trial)
        elif (found := full.get(deployment)) is not None:
            trials.append(_settled(judged(study.scenario.problem, assignment, found, glimpse), front, study))
    return tuple(trials)


def _settled(trial: Trial, front: Sequence[Trial], study: Study) -> Trial:
    """A trial whose levels were left open because a rival is as good loses to that rival."""
    matched = any(_adds_nothing(study, trial.observation.metrics, rival) for rival in front)
    if trial.verdict is not Verdict.UNDECIDED or not matched:
        return trial
    return replace(trial, verdict=Verdict.DOMINATED, violated=())


def _adds_nothing(study: Study, metrics: Mapping[str, Estimate], rival: Trial) -> bool:
    """Whether a verified rival is as good in every objective, within the tolerance, with confidence."""
    objectives = study.program.objectives
    own = []
    for objective in objectives:
        known = metrics[objective.metric]
        own.append(known.low if objective.sign > 0 else -known.high)
    return covers(rival.costs(objectives), own, study.scenario.problem.verification.tolerance)


def turned_down(
    study: Study, assignment: Assignment, glimpse: Observation, known: Sequence[Trial]
) -> Trial | None:
    """The trial of a deployment that one replication is enough for; None when it stays in the race."""
    if study.simulations.exact:
        return None
    if glimpse.saturated:
        levels = tuple(level.key for level in study.scenario.problem.slo)
        return Trial(assignment, glimpse, Verdict.VIOLATED, ("traffic", *levels), glimpse)
    missed = _missed(study, glimpse)
    if missed:
        return Trial(assignment, glimpse, Verdict.VIOLATED, missed, glimpse)
    front = nondominated(verified(known), study.program.objectives)
    if any(_loses(study, glimpse, trial) for trial in front):
        return Trial(assignment, glimpse, Verdict.DOMINATED, (), glimpse)
    return None


def hopeless(
    study: Study, floors: Mapping[str, float], costs: Sequence[float], front: Sequence[Trial]
) -> bool:
    """Whether the first replication will be turned down, whatever its rest brings.

    `floors` are lower bounds of its metrics, `costs` optimistic signed objectives, `front` verified rivals.
    """
    for level in study.scenario.problem.slo:
        floor = floors.get(level.key, 0.0)
        if level.bound == "at_most" and floor > level.value * (1 + spread_of(study, level.key)):
            return True
    return any(_surely_loses(study, floors, costs, trial) for trial in front)


def _surely_loses(study: Study, floors: Mapping[str, float], costs: Sequence[float], rival: Trial) -> bool:
    if rival.glimpse is None:
        return False
    for objective, cost in zip(study.program.objectives, costs, strict=True):
        least = max(cost, floors.get(objective.metric, cost)) if objective.sign > 0 else cost
        other = objective.sign * rival.glimpse.metrics[objective.metric].value
        if not least - other >= _room(study, objective.metric) * abs(other):
            return False
    return True


def _room(study: Study, key: str) -> float:
    """By how much two deployments that met the same requests must differ, relative."""
    return PAIRED * spread_of(study, key) - study.scenario.problem.verification.tolerance


def _missed(study: Study, glimpse: Observation) -> tuple[str, ...]:
    """Levels that are missed by more than replications differ."""
    found = []
    for level in study.scenario.problem.slo:
        value, spread = glimpse.metrics[level.key].value, spread_of(study, level.key)
        above = value > level.value * (1 + spread)
        below = value < level.value / (1 + spread)
        if above if level.bound == "at_most" else below:
            found.append(level.key)
    return tuple(found)


def _loses(study: Study, glimpse: Observation, rival: Trial) -> bool:
    """Whether a verified rival is as good in every objective, as far as the same requests can tell."""
    if rival.glimpse is None:
        return False
    for objective in study.program.objectives:
        own, other = (o.metrics[objective.metric].value for o in (glimpse, rival.glimpse))
        room = _room(study, objective.metric) * abs(other)
        if not objective.sign * (own - other) >= room:  # nan stays in the race
            return False
    return True


def spread_of(study: Study, key: str) -> float:
    """Relative spread of one replication of the metric `key`."""
    all_served = study.scenario.problem.search.scheduling.queue_limit is None
    if key == "cost_per_million_output_tokens" and study.scenario.traffic.concurrency is None and all_served:
        return 0.0
    names = [name for name in METRICS if key.rpartition(":")[2].startswith(name)]
    return SPREAD.get(max(names, key=len), OTHER_SPREAD) if names else 1.0
