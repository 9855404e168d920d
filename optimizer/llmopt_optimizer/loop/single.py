"""One run of one deployment: the run itself beside what it says in the words of the metric catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from llmopt_optimizer.loop.observation import Observation, observation
from llmopt_optimizer.loop.service import service_model, workbench
from llmopt_optimizer.loop.solve import require_valid
from llmopt_optimizer.scenario import resolve
from llmopt_problems import Problem
from llmopt_problems.deployment import Deployment
from llmopt_problems.runs import warmup_fraction, workload_of
from llmopt_problems.schema.run import RunSpec
from llmopt_simulator import (
    Evidence,
    Run,
    SimulationOptions,
    evidence_of,
    frozen_parameters,
    metrics,
    replication_seed,
    run_intervals,
    simulate,
)

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class SingleRun:
    """A run and its numbers."""

    run: Run
    simulation: Observation


def simulate_once(spec: RunSpec, problem: Problem, deployment: Deployment) -> SingleRun:
    """The run that `spec` asks for, as `problem` and `deployment` spell it out.

    Intervals of latencies are those of one long run. Raises `DeploymentError` when the deployment breaks a
    rule of the engine or does not fit, `ProblemError` when no request is left to measure.
    """
    scenario = resolve(problem)
    require_valid(scenario, deployment)
    bench, seed = workbench(scenario), replication_seed(spec.seed, 0)
    workload = workload_of(spec, problem, seed)
    options = SimulationOptions(warmup_fraction(spec, workload))
    run = simulate(workload, deployment, service_model(bench, deployment), seed, options)
    return SingleRun(run, observation(bench, deployment, _evidence(run)))


def _evidence(run: Run) -> Evidence:
    values: Mapping[str, float] = metrics(run)
    seen = evidence_of([(dict(values), frozen_parameters(run, values))], (), CONFIDENCE)
    return replace(seen, metrics={**seen.metrics, **run_intervals(run, CONFIDENCE)})
