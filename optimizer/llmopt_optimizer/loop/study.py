"""A study: everything about a problem that stays the same from round to round.

The program with its expressions compiled, the predictor of all metrics, and the simulations made so far. What
changes between rounds (frozen numbers, trials) is passed in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from llmopt_optimizer.bounds.optimism import DEMANDS, Optimism, optimism
from llmopt_optimizer.core.pareto import Front, FrontMethod, pareto
from llmopt_optimizer.core.preparation import CompiledProgram, compile_program
from llmopt_optimizer.core.program import Assignment, Limit, Objective, Program, Sense
from llmopt_optimizer.core.solving import solve
from llmopt_optimizer.formulation.build import build_program, needed_only
from llmopt_optimizer.formulation.deployments import deployment_of, with_settings
from llmopt_optimizer.frozen import Frozen, starting_frozen
from llmopt_optimizer.loop.prediction import Predictor, predictor
from llmopt_optimizer.loop.service import workbench
from llmopt_optimizer.loop.simulation import Simulations, simulations
from llmopt_optimizer.loop.store import Store
from llmopt_optimizer.loop.workers import Workers
from llmopt_optimizer.scenario import Scenario
from llmopt_problems.deployment import Deployment
from llmopt_simulator import replication_seed

PROPOSALS = FrontMethod(audit_boxes=0, audit_cells=0, check_points=False)
"""Fronts that simulation and bounds will judge need no checks of their own."""


@dataclass(frozen=True, slots=True)
class Study:
    """A scenario with its expressions compiled and its simulator ready."""

    scenario: Scenario
    program: Program
    """Only the metrics that objectives and limits read."""
    compiled: CompiledProgram
    predictor: Predictor
    simulations: Simulations
    optimism: Optimism

    def deployment(self, assignment: Assignment) -> Deployment:
        """The deployment that an assignment stands for."""
        search = self.scenario.problem.search
        chosen = deployment_of(assignment, search.router, prefix_cache=search.prefix_cache)
        return with_settings(chosen, self.scenario.problem)

    def master(self, frozen: Frozen, settled: Iterable[Assignment] = ()) -> Program:
        """The program with the given frozen numbers, settled deployments left out."""
        return replace(self.program, parameters=frozen.parameters(), excluded=frozenset(settled))

    def front(self, frozen: Frozen, settled: Iterable[Assignment], seconds: float) -> Front:
        """The complete front of the other deployments as the expressions see it: proposals, not checked."""
        return pareto(self.master(frozen, settled), self.compiled, seconds, PROPOSALS)


def open_study(
    scenario: Scenario, store: Store | None = None, workers: Workers | None = None
) -> tuple[Study, Frozen]:
    """Build and compile the expressions of a scenario; also the frozen numbers before any simulation."""
    frozen = starting_frozen(scenario)
    full = build_program(scenario, frozen)
    program = needed_only(full)
    bench = workbench(scenario)
    made = simulations(bench, store, workers)
    asked = scenario.problem.verification
    seeds = [replication_seed(asked.seed, i) for i in range(min(DEMANDS, asked.replications))]
    bounds = optimism(scenario, full, bench.step, made.source, seeds[: 1 if made.exact else None])
    study = Study(scenario, program, compile_program(program), predictor(full), made, bounds)
    return study, frozen


def pilots(study: Study, frozen: Frozen, seconds: float) -> list[Assignment]:
    """Deployments to measure before the first proposal: of each mode the best in each objective and limit.

    Limits are left out, so that there are pilots even where the first guess of the formulas is too gloomy.
    """
    metrics = [
        *study.program.objectives,
        *(Objective(limit.metric, _better(limit)) for limit in study.program.limits),
    ]
    found: dict[Assignment, None] = {}
    for index, system in enumerate(study.program.systems):
        compiled = CompiledProgram(
            study.compiled.systems[index : index + 1], study.compiled.pools[index : index + 1]
        )
        free = replace(study.master(frozen), systems=(system,), limits=())
        for objective in dict.fromkeys(metrics):
            result = solve(replace(free, objectives=(objective,)), compiled, seconds, check=False)
            if result.assignment is not None:
                found[result.assignment] = None
    return list(found)


def _better(limit: Limit) -> Sense:
    return "minimize" if limit.direction == "at_most" else "maximize"
