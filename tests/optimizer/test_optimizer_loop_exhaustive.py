"""The loop's front against simulating every deployment of a small search space.

A deployment is *missed* when simulation verifies it and no point of the front is within `AGREEMENT` of it or
better in every objective. The loop promises that nothing untried is *predicted* to be better, so what it
misses is what the expressions hide: a latency predicted above a service level that simulation keeps, a load
above the margin of stability, or a sibling that errs otherwise than its simulated siblings. The slow test
counts how often, and holds the count.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from optimizer_loop_cases import VARIED_LENGTHS, problem_of

from llmopt_calibration.step.rules import layout_violations
from llmopt_optimizer.core.program import Assignment, Choice
from llmopt_optimizer.loop.conclusion import concluded
from llmopt_optimizer.loop.rounds import AGREEMENT, Ledger, run_rounds
from llmopt_optimizer.loop.siblings import refused_siblings
from llmopt_optimizer.loop.study import Study, open_study
from llmopt_optimizer.loop.trials import Trial, covers, judged, verified
from llmopt_optimizer.result import Result, Status
from llmopt_optimizer.scenario import resolve
from llmopt_problems import Problem


@dataclass(frozen=True, slots=True, repr=False)
class Exhausted:
    """A solved problem and the verdict on every deployment of its search space."""

    study: Study
    ledger: Ledger
    result: Result
    trials: tuple[Trial, ...]

    def missed(self) -> list[Trial]:
        objectives = self.study.program.objectives
        front = [
            tuple(o.sign * point.simulated[o.metric].value for o in objectives) for point in self.result.front
        ]
        return [
            trial
            for trial in verified(self.trials)
            if not any(covers(own, trial.costs(objectives), AGREEMENT) for own in front)
        ]

    def refused(self) -> frozenset[Assignment]:
        """Deployments that were refused with a simulated sibling, without a simulation of their own."""
        parameters = self.ledger.frozen.parameters()
        siblings = (refused_siblings(self.study, parameters, trial) for trial in self.ledger.trials)
        tried = {trial.assignment for trial in self.ledger.trials}
        return frozenset().union(*siblings) - tried

    def reason(self, trial: Trial) -> str:
        """Why the loop did not propose a deployment that it should have."""
        parameters = self.ledger.frozen.parameters()
        predicted = self.study.predictor.at(trial.assignment, parameters)
        if not predicted:
            return "load above the margin of stability"
        if trial.assignment in self.refused():
            return "refused with a sibling"
        if trial.assignment in self.ledger.implied:
            return "settled by a sibling's ratio"
        return "predicted to break a level"


def every_assignment(study: Study) -> Iterator[Assignment]:
    """All value vectors of the program that an engine can run on the accelerators there are."""
    scenario = study.scenario
    available = scenario.sites[0].available
    for system in study.program.systems:
        tables = [
            [
                Choice(pool.name, variant.name, tuple(zip(names, values, strict=True)))
                for variant in pool.variants
                for names in [[decision.symbol.name for decision in variant.decisions]]
                for values in product(*(decision.values for decision in variant.decisions))
            ]
            for pool in system.pools
        ]
        for choices in product(*tables):
            assignment = Assignment(system.name, choices)
            deployment = study.deployment(assignment)
            broken = any(
                layout_violations(scenario.model, pool.layout, scenario.precision.weights)
                or (pool.role == "serve" and pool.chunk_tokens <= pool.batch_cap)
                for pool in deployment.pools
            )
            if not broken and deployment.gpus <= available:
                yield assignment


def exhausted(problem: Problem) -> Exhausted:
    study, frozen = open_study(resolve(problem))
    ledger = run_rounds(study, frozen, time.monotonic() + 120, lambda _: None)
    result = concluded(study, ledger, 0.0)
    assignments = list(every_assignment(study))
    observed = study.simulations.observe([study.deployment(assignment) for assignment in assignments])
    pairs = zip(assignments, observed, strict=True)
    trials = tuple(judged(problem, assignment, found) for assignment, found in pairs if found is not None)
    assert len(trials) == len(assignments)
    return Exhausted(study, ledger, result, trials)


def posed(rate: float, ttft_s: float, lengths: Mapping[str, Any], *layers: Mapping[str, Any]) -> Problem:
    traffic = {"arrivals": {"process": "poisson", "rate": f"{rate} req/s"}, **lengths}
    slo = [{"metric": "ttft", "statistic": "p95", "at_most": f"{ttft_s} s"}]
    return problem_of({"traffic": traffic, "slo": slo}, *layers)


BOTH_MODES = {"search": {"modes": ["aggregated", "disaggregated"], "chunk_tokens": {"choices": [2048]}}}


SMALL_SPACES = [
    pytest.param(posed(8, 1.0, {}), id="loose"),
    pytest.param(posed(8, 0.1, {}, BOTH_MODES), id="both_modes", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("problem", SMALL_SPACES)
def test_front_is_that_of_exhaustive_simulation(problem: Problem) -> None:
    done = exhausted(problem)
    assert done.result.status is Status.PROVEN
    assert 8 < len(done.trials) <= 60
    assert done.missed() == []
    simulated = {trial.assignment: trial.observation for trial in done.trials}
    for trial in done.ledger.trials:
        assert simulated[trial.assignment] == trial.observation


MOST_MISSED = 7
"""Of the 24 problems below, those whose front may miss a deployment: 5 and 7 were counted, with two versions
of the traffic's random streams. It must not grow."""
MOST_WRONGLY_REFUSED = 1
"""Deployments, of the few in these problems that were refused with a sibling, that simulation verifies."""


@pytest.mark.slow
def test_how_often_the_front_misses_a_deployment() -> None:
    reasons: Counter[str] = Counter()
    problems = refused = wrongly = 0
    for rate, ttft_s, lengths in product((4, 8, 16, 30), (0.1, 0.3, 1.0), ({}, VARIED_LENGTHS)):
        done = exhausted(posed(rate, ttft_s, lengths))
        missed = done.missed()
        problems += bool(missed)
        reasons.update(done.reason(trial) for trial in missed)
        refused += len(done.refused())
        wrongly += len(done.refused() & {trial.assignment for trial in verified(done.trials)})
    print(f"missed in {problems} of 24 problems: {dict(reasons)}; {wrongly} of {refused} wrongly refused")
    assert problems <= MOST_MISSED, reasons
    assert refused > 0
    assert wrongly <= MOST_WRONGLY_REFUSED
