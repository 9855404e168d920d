"""The optimistic reading of one problem: its bounded space, and how to ask it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llmopt_calibration.compiled import CompiledStep
from llmopt_optimizer.bounds.demand import demand_of
from llmopt_optimizer.bounds.metrics import Offered
from llmopt_optimizer.bounds.openings import Openings, at, openings
from llmopt_optimizer.bounds.roles import LAYOUT, Floats, Layouts, Patience, role_bounds
from llmopt_optimizer.bounds.space import BoundedSystem, SystemRows, system_rows
from llmopt_optimizer.core.program import Assignment, Program
from llmopt_optimizer.formulation.deployments import with_settings
from llmopt_optimizer.scenario import Scenario
from llmopt_problems.deployment import Deployment, Layout, PoolDeployment
from llmopt_problems.schema.service import ServiceLevel
from llmopt_problems.traffic import Workload

PATIENCE = 1.5
"""A prompt's time by a service level, times this: replications scatter around their mean."""
MARKOV = 20.0
"""By Markov's inequality at most one request in so many exceeds so many times the mean."""
DEMANDS = 5
"""Replications whose requests bounds are taken from."""


@dataclass(frozen=True, slots=True)
class Optimism:
    """The bounds of every deployment of a program."""

    systems: tuple[BoundedSystem, ...]
    program: Program
    offered: Offered

    def openings(self, verified: Floats, slack: float) -> Openings:
        """What may be better than the verified costs (f, objectives) by more than the relative `slack`."""
        return openings(self.systems, self.program, self.offered, verified, slack)

    def interval(self, assignment: Assignment, metrics: Sequence[str]) -> dict[str, tuple[float, float]]:
        """The two numbers between which each metric of one deployment lies, if it keeps every level.

        Empty for a deployment that breaks a rule of validity.
        """
        system = next(s for s in self.systems if s.rows.system.name == assignment.system)
        pairs = zip(system.rows.columns, assignment.choices, strict=True)
        rows = [columns.row_of(choice) for columns, choice in pairs]
        known = [row for row in rows if row is not None]
        if len(known) < len(rows):
            return {}
        return {key: (low, high) for key, low, high in at(system, known, metrics, self.offered)}


def optimism(
    scenario: Scenario,
    program: Program,
    step_of: Callable[[PoolDeployment], CompiledStep],
    draw: Callable[[int], Workload],
    seeds: Sequence[int],
) -> Optimism:
    """The optimistic reading of `program` for the traffic that `draw` gives for each of `seeds`."""
    search = scenario.problem.search
    in_order, rejects = served_in_order(scenario), search.scheduling.queue_limit is not None
    demands = tuple(
        demand_of(draw(seed), prefix_cache=search.prefix_cache, in_order=in_order, rejects=rejects)
        for seed in seeds
    )
    patience = patience_of(scenario.problem.slo)

    def bounded(rows: SystemRows) -> BoundedSystem:
        bounds = tuple(
            role_bounds(part.layouts, steps(part.layouts, step_of), demands, patience) for part in rows.roles
        )
        return BoundedSystem(rows, bounds)

    systems = tuple(bounded(rows) for rows in system_rows(program))
    return Optimism(systems, program, Offered(scenario, demands))


def served_in_order(scenario: Scenario) -> bool:
    """Whether every rank takes waiting requests in the order in which they came."""
    problem = scenario.problem
    pool = PoolDeployment("serve", scenario.sites[0].accelerator.name, Layout(), 1, 1, 1)
    bare = Deployment("aggregated", (pool,), problem.search.router, problem.search.prefix_cache)
    return all(pool.scheduling.order == "fcfs" for pool in with_settings(bare, problem).pools)


def patience_of(levels: Sequence[ServiceLevel]) -> Patience | None:
    """When prompts are done where the levels are kept; None when no level of all requests says so."""
    found = []
    for level in (level for level in levels if level.request_class is None):
        if level.metric in ("ttft", "e2e") and level.at_most is not None and level.statistic is not None:
            mean = level.statistic == "mean"
            share = 1 - 1 / MARKOV if mean else int(level.statistic[1:]) / 100
            found.append(Patience(share, level.at_most * (MARKOV if mean else PATIENCE)))
    return max(found, key=lambda patience: (patience.share, -patience.seconds), default=None)


def steps(
    layouts: Layouts, step_of: Callable[[PoolDeployment], CompiledStep]
) -> dict[tuple[str, tuple[int, ...]], CompiledStep]:
    """The compiled step of every accelerator and layout, with room for the largest caps among the rows."""
    values = layouts.values
    found = {}
    for accelerator in np.unique(layouts.accelerator):
        mine = layouts.take(np.flatnonzero(layouts.accelerator == accelerator))
        for degrees, _ in mine.groups(*LAYOUT):
            pool = PoolDeployment(
                role=layouts.role,
                accelerator=str(accelerator),
                layout=Layout(*degrees),
                instances=1,
                chunk_tokens=int(values["chunk_tokens"].max()),
                batch_cap=int(values["batch_cap"].max()),
            )
            found[str(accelerator), degrees] = step_of(pool)
    return found
