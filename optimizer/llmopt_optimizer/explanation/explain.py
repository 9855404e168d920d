"""From a result to its explanation: the study opened again with the parameters that the result measured."""

from __future__ import annotations

import time
from dataclasses import replace

from llmopt_optimizer.core.program import Assignment, Choice, Pool, Program
from llmopt_optimizer.explanation.findings import Comparison, Explanation
from llmopt_optimizer.explanation.prices import prices
from llmopt_optimizer.explanation.rivals import rivals
from llmopt_optimizer.explanation.sensitivity import sensitivities
from llmopt_optimizer.formulation.deployments import decision_values
from llmopt_optimizer.formulation.levels import level_text
from llmopt_optimizer.frozen import Frozen
from llmopt_optimizer.loop.store import Store
from llmopt_optimizer.loop.study import Study, open_study
from llmopt_optimizer.loop.trials import verdict_on
from llmopt_optimizer.result import Point, Result, Verdict
from llmopt_optimizer.scenario import resolve
from llmopt_problems import Problem
from llmopt_problems.deployment import Deployment

SECONDS = 120.0
"""Time for solving again; what it does not suffice for is left out."""


def explained(
    problem: Problem,
    result: Result,
    today: Deployment | None = None,
    store: Store | None = None,
    seconds: float = SECONDS,
) -> Explanation:
    """Why `result` answers `problem`, and how it compares with the deployment that runs `today`."""
    bare = Explanation(
        problem_name=result.problem_name,
        status=result.status.value,
        objective=result.objectives[0],
        best=result.front[0].deployment if result.front else None,
        conflicts=result.conflicts,
        relaxations=result.relaxations,
        today=today,
    )
    study, first = open_study(resolve(problem), store)
    if result.front:
        bare = _reasons(study, restored(first, result), result, bare, time.monotonic() + seconds)
    return bare if today is None else _compared(study, result, today, bare)


def restored(frozen: Frozen, result: Result) -> Frozen:
    """The frozen parameters as the result's simulations measured them."""
    measured = {record.name: record for record in result.frozen}
    found = {symbol: measured[symbol.name] for symbol in frozen.records if symbol.name in measured}
    return frozen.measured(found)


def _reasons(study: Study, frozen: Frozen, result: Result, bare: Explanation, deadline: float) -> Explanation:
    best = result.front[0]
    assignment = assignment_of(study.program, best.deployment)
    metrics = dict.fromkeys((*result.objectives, *(level.key for level in study.scenario.problem.slo)))
    levels = study.scenario.problem.slo
    return replace(
        bare,
        sensitivities=sensitivities(study.predictor, assignment, frozen, list(metrics)),
        prices=prices(study.master(frozen), study.compiled, levels, best, deadline),
        rivals=tuple(rivals(study, frozen, result, assignment, deadline)),
    )


def _compared(study: Study, result: Result, today: Deployment, bare: Explanation) -> Explanation:
    (observed,) = study.simulations.observe([today])
    assert observed is not None  # without a deadline every deployment is simulated
    levels = study.scenario.problem.slo
    verdicts = {level: verdict_on(level, observed.metrics[level.key]) for level in levels}
    keys = dict.fromkeys((*result.objectives, *(level.key for level in levels), "gpus", "cost_per_hour"))
    best: Point | None = result.front[0] if result.front else None
    return replace(
        bare,
        comparison=tuple(
            Comparison(key, best.simulated[key], observed.metrics[key]) for key in keys if best is not None
        ),
        today_misses=tuple(level_text(level) for level in levels if verdicts[level] is not Verdict.VERIFIED),
    )


def assignment_of(program: Program, deployment: Deployment) -> Assignment:
    """The assignment of a program that stands for a deployment of its search space."""
    system = program.system(deployment.mode)
    return Assignment(system.name, tuple(_choice(pool, deployment) for pool in system.pools))


def _choice(pool: Pool, deployment: Deployment) -> Choice:
    mine = [p for p in deployment.pools if pool.name in (p.role, "both")]
    name = "+".join(p.accelerator for p in mine)
    variant = next(variant for variant in pool.variants if variant.name == name)
    values = {f"{p.role}_{key}": value for p in mine for key, value in decision_values(p).items()}
    decided = tuple((d.symbol.name, values[d.symbol.name]) for d in variant.decisions)
    return Choice(pool.name, name, decided)
