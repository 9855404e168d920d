"""Who came next, and why it was not recommended.

The next best by the expressions are found by solving again without those found before, and simulated; the
best of those that simulation refused come from the result. Each says what it brings and what it lost by.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from llmopt_optimizer.core.program import Assignment
from llmopt_optimizer.core.solving import solve
from llmopt_optimizer.explanation.findings import Rival
from llmopt_optimizer.formulation.levels import level_text
from llmopt_optimizer.frozen import Frozen
from llmopt_optimizer.loop.racing import raced
from llmopt_optimizer.loop.study import Study
from llmopt_optimizer.loop.trials import Trial
from llmopt_optimizer.result import Point, Result

NEXT = 3
"""Rivals of each kind."""


def rivals(study: Study, frozen: Frozen, result: Result, best: Assignment, deadline: float) -> list[Rival]:
    """The next best by the expressions, then the best of the refused."""
    listed = next_best(study, frozen, best, deadline)
    trials = raced(study, [assignment for assignment, _ in listed], (), deadline=deadline)
    simulated = {trial.assignment: trial for trial in trials}
    found = [_next(study, simulated.get(a), a, objective, result) for a, objective in listed]
    return found + [r for r in refused(result) if r.deployment not in {f.deployment for f in found}]


def _next(
    study: Study, trial: Trial | None, assignment: Assignment, predicted: float, result: Result
) -> Rival:
    """A rival as simulation knows it; as the expressions do where there was no time."""
    if trial is None:
        return Rival(study.deployment(assignment), predicted, False, "not simulated", ())
    levels = {level.key: level_text(level) for level in study.scenario.problem.slo}
    value = trial.observation.metrics[result.objectives[0]].value
    missed = tuple(levels.get(key, key) for key in trial.violated)
    return Rival(trial.observation.deployment, value, True, trial.verdict.value, missed)


def next_best(
    study: Study, frozen: Frozen, best: Assignment, deadline: float
) -> list[tuple[Assignment, float]]:
    """The best assignments of the expressions beside `best`, with their first objective."""
    found: list[tuple[Assignment, float]] = []
    master = study.master(frozen)
    while len(found) < NEXT and (seconds := deadline - time.monotonic()) > 0:
        barred = frozenset({best, *(assignment for assignment, _ in found)})
        result = solve(replace(master, excluded=barred), study.compiled, seconds, check=False)
        if result.assignment is None:
            break
        found.append((result.assignment, result.objective))
    return found


def refused(result: Result) -> Sequence[Rival]:
    """The refused deployments that would have been best in the first objective."""
    objective, sign = result.objectives[0], 1 if result.senses[0] == "minimize" else -1
    ordered = sorted(result.cut, key=lambda point: sign * point.simulated[objective].value)
    return [_rival(point, objective) for point in ordered[:NEXT]]


def _rival(point: Point, objective: str) -> Rival:
    value = point.simulated[objective].value
    return Rival(point.deployment, value, True, point.verdict.value, point.violated)
