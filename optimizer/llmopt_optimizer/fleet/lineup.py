"""A lineup: every deployment on one accelerator type that may serve one kind of requests, as one group.

What is asked of a group is a rate, and everything else stays the same: expressions, step laws and bounds are
made once, and the problem of a rate puts its number in. A group *carries* a rate when simulation verifies
every service level at it. That a group which does not carry a rate carries no higher one is taken for
granted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from threading import Event

import numpy as np

from llmopt_optimizer.bounds.openings import Openings
from llmopt_optimizer.bounds.optimism import DEMANDS, optimism
from llmopt_optimizer.core.program import Assignment, Program
from llmopt_optimizer.frozen import Frozen
from llmopt_optimizer.loop.simulation import Simulations, simulations
from llmopt_optimizer.loop.store import Store
from llmopt_optimizer.loop.study import Study, open_study
from llmopt_optimizer.loop.workers import Workers
from llmopt_optimizer.scenario import Scenario, resolve
from llmopt_optimizer.symbols import frozen_symbols
from llmopt_problems import Problem
from llmopt_problems.deployment import Deployment
from llmopt_problems.traffic import traffic_summary
from llmopt_simulator import replication_seed

HORIZON_S = 120.0
"""Shortest time that a replication covers: a backlog that grows must have time to show."""
ANSWERS = 8
"""And at least so many answers one after the other, at the latency that is promised."""
MOST_FACTOR = 4
"""Replications of an undecided group may grow to this multiple of what was asked."""
REFERENCE_RATE_PER_S = 1.0
"""Rate of the problem from which expressions are made; they hold for every rate."""


@dataclass(frozen=True, slots=True)
class Lineup:
    """The groups of one accelerator type for one kind of requests."""

    accelerator: str
    problem_at: Callable[[float], Problem]
    """The deployment problem of a group that serves so many requests a second."""
    study: Study
    frozen: Frozen
    store: Store
    stopped: Event | None = None
    """Set by whoever wants no more simulations."""

    def scenario_at(self, rate_per_s: float) -> Scenario:
        """The scenario at a rate, with enough requests that every replication covers its time."""
        problem = self.problem_at(rate_per_s)
        asked = problem.verification
        horizon_s = max(HORIZON_S, ANSWERS * answer_s(problem))
        requests = max(asked.requests, min(ceil(rate_per_s * horizon_s), 1_000_000))
        longer = problem.model_copy(update={"verification": asked.model_copy(update={"requests": requests})})
        traffic = traffic_summary(longer.traffic)
        return replace(self.study.scenario, problem=longer, traffic=traffic)

    def simulations_at(self, rate_per_s: float) -> Simulations:
        """Simulations of groups that serve a rate."""
        bench = replace(self.study.simulations.bench, scenario=self.scenario_at(rate_per_s))
        runs = replace(
            simulations(bench, self.store, self.study.simulations.workers), most_factor=MOST_FACTOR
        )
        return runs if self.stopped is None else replace(runs, stopped=self.stopped)

    def program_at(self, rate_per_s: float) -> Program:
        """The program as the expressions expect it at a rate."""
        master = self.study.master(self.frozen)
        symbol = frozen_symbols().request_rate_per_s
        return replace(master, parameters={**master.parameters, symbol: rate_per_s})

    def openings_at(self, rate_per_s: float) -> Openings:
        """The groups that may carry a rate as far as bounds know; their costs are accelerators."""
        scenario = self.scenario_at(rate_per_s)
        runs = self.simulations_at(rate_per_s)
        asked = scenario.problem.verification
        seeds = [replication_seed(asked.seed, i) for i in range(min(DEMANDS, asked.replications))]
        found = optimism(scenario, self.study.optimism.program, runs.bench.step, runs.source, seeds)
        return found.openings(np.zeros((0, 1)), -1.0)

    def deployment(self, assignment: Assignment) -> Deployment:
        """The deployment of a group."""
        return self.study.deployment(assignment)


def open_lineup(
    accelerator: str,
    problem_at: Callable[[float], Problem],
    store: Store | None = None,
    workers: Workers | None = None,
) -> Lineup:
    """Build and compile the expressions of a lineup; the problem's only objective must be `gpus`.

    Raises `ProblemError` as `resolve` does.
    """
    store = store or Store()
    study, frozen = open_study(resolve(problem_at(REFERENCE_RATE_PER_S)), store, workers)
    return Lineup(accelerator, problem_at, study, frozen, store)


def answer_s(problem: Problem) -> float:
    """Longest mean time of an answer that the service levels promise; 0 where none says so."""
    tokens = traffic_summary(problem.traffic).mean_output_tokens
    promised = {"e2e": 1.0, "tpot": tokens, "itl": tokens}
    return max((level.value * promised.get(level.metric, 0.0) for level in problem.slo), default=0.0)


def assignments_of(openings: Openings, gpus: int) -> Sequence[Assignment]:
    """The openings with exactly so many accelerators."""
    return [openings.assignment(int(row)) for row in np.flatnonzero(openings.costs[:, 0] == gpus)]
