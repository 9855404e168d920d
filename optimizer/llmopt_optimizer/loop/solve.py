"""Solving a problem and simulating a single deployment: the two things that a user asks for."""

from __future__ import annotations

import time

from llmopt_calibration.step.rules import layout_violations
from llmopt_optimizer.errors import DeploymentError
from llmopt_optimizer.loop.conclusion import concluded
from llmopt_optimizer.loop.observation import Observation
from llmopt_optimizer.loop.rounds import Tell, run_rounds
from llmopt_optimizer.loop.service import workbench
from llmopt_optimizer.loop.simulation import simulations
from llmopt_optimizer.loop.study import open_study
from llmopt_optimizer.result import Progress, Result
from llmopt_optimizer.scenario import Scenario, resolve
from llmopt_problems import Problem
from llmopt_problems.deployment import Deployment


def solve_problem(problem: Problem, *, progress: Tell | None = None) -> Result:
    """The verified Pareto-optimal deployments of `problem`, within `problem.limits.time_s` of wall-clock
    time.

    `progress` is told what is being done. Raises `ProblemError` for names that no catalog has.
    """
    started = time.monotonic()
    tell: Tell = progress or (lambda _: None)
    tell(Progress("building expressions", 0.01))
    study, frozen = open_study(resolve(problem))
    ledger = run_rounds(study, frozen, started + problem.limits.time_s, tell)
    result = concluded(study, ledger, time.monotonic() - started)
    tell(Progress("done", 1.0))
    return result


def simulate_problem(problem: Problem, deployment: Deployment) -> Observation:
    """What simulation says of `deployment` under the traffic of `problem`.

    Raises `DeploymentError` when the deployment breaks a rule of the engine or does not fit its accelerators.
    """
    scenario = resolve(problem)
    _require_valid(scenario, deployment)
    (found,) = simulations(workbench(scenario)).observe([deployment])
    assert found is not None  # without a deadline every deployment is simulated
    return found


def _require_valid(scenario: Scenario, deployment: Deployment) -> None:
    offered = {site.accelerator.name for site in scenario.sites}
    for pool in deployment.pools:
        if pool.accelerator not in offered:
            raise DeploymentError(
                f"{pool.role} pool: the problem offers {', '.join(sorted(offered))}, not {pool.accelerator}: "
                "add it under hardware.accelerators or choose another"
            )
        broken = layout_violations(scenario.model, pool.layout, scenario.precision.weights)
        if broken:
            raise DeploymentError(f"{pool.role} pool: " + "; ".join(broken))
