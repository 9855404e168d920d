"""What a brief run says holds for the whole run, event for event, whatever the system."""

from __future__ import annotations

import numpy as np
import pytest
from optimizer_loop_cases import CLOSED_LOOP, problem_of
from random_systems.cases import random_system

from llmopt_optimizer.loop.brief import Beginning, beginning_of, briefs, floors_of
from llmopt_optimizer.loop.racing import hopeless, raced, turned_down
from llmopt_optimizer.loop.study import open_study
from llmopt_optimizer.loop.trials import nondominated, verified
from llmopt_optimizer.scenario import resolve
from llmopt_problems.traffic import sample
from llmopt_simulator import Run, metrics, simulate
from llmopt_simulator.errors import SimulationError

ENDS = ("admitted_s", "first_token_s", "finish_s")


def agrees_until(whole: Run, brief: Run, beginning: Beginning) -> bool:
    """Whether all that happened to the first requests before the end of the beginning is the same."""
    kept = len(brief.workload.requests)
    for name in ENDS:
        now, then = (np.nan_to_num(run.column(name)[:kept], nan=np.inf) for run in (brief, whole))
        early = (now < beginning.until_s) | (then < beginning.until_s)
        if not np.array_equal(now[early], then[early]):
            return False
    return True


def compared(seeds: range) -> int:
    """How many random systems had a beginning; each floor is below what the whole run measured."""
    seen = 0
    for seed in seeds:
        system = random_system(np.random.default_rng(seed))
        beginning = beginning_of(system.workload, 0.5)
        if beginning is None:
            continue
        both = (system.workload, beginning.workload)
        try:
            runs = [simulate(workload, system.deployment, system.service, seed) for workload in both]
        except SimulationError:  # a random system may break a rule of the simulator
            continue
        assert agrees_until(*runs, beginning), seed
        known = metrics(runs[0])
        floors = floors_of(runs[1], beginning)
        above = [key for key, floor in floors.items() if not floor <= known[key] * (1 + 1e-12) and floor > 0]
        assert not above, (seed, above)
        seen += 1
    return seen


def test_floors_hold_in_random_systems() -> None:
    assert compared(range(200)) > 10


@pytest.mark.slow
def test_floors_hold_in_thousands_of_random_systems() -> None:
    assert compared(range(1000, 6000)) > 300


def test_users_who_wait_for_answers_have_no_beginning() -> None:
    closed = problem_of({"traffic": {"arrivals": CLOSED_LOOP}})
    assert beginning_of(sample(closed.traffic, 300, 1)) is None


def test_whoever_is_hopeless_would_be_turned_down() -> None:
    """Of every deployment of a small problem: the brief run never says more than the first replication."""
    traffic = {"arrivals": {"process": "poisson", "rate": "16 req/s"}}
    search = {"batch_cap": {"choices": [4, 64]}, "instances": {"choices": [1, 2, 4]}}
    problem = problem_of({"traffic": traffic, "search": search})
    study, frozen = open_study(resolve(problem))
    front = study.front(frozen, (), 60.0)
    known = raced(study, [point.assignment for point in front.points], ())
    rivals = nondominated(verified(known), study.program.objectives)
    assert rivals
    everything = study.optimism.openings(np.zeros((0, 2)), 0.0)
    assignments = [everything.assignment(index) for index in range(len(everything))]
    found = briefs(study).floors(assignments, float("inf"))
    hopeless_ones = 0
    for assignment, floors, costs in zip(assignments, found, everything.costs.tolist(), strict=True):
        (glimpse,) = study.simulations.glimpse([study.deployment(assignment)])
        assert glimpse is not None
        if hopeless(study, floors, costs, rivals):
            hopeless_ones += 1
            assert turned_down(study, assignment, glimpse, known) is not None
    assert 0 < hopeless_ones < len(assignments)
