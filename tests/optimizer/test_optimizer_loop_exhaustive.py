"""The loop's answer against simulating every deployment of a small search space.

A deployment is *missed* when simulation verifies it and no point of the front is within the tolerance of it
or better in every objective. Nothing may be missed where the loop claims a proof, no verified deployment may
be better than its bounds, and every simulation of the loop must be the one that exhaustive simulation makes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from optimizer_loop_cases import CLOSED_LOOP, VARIED_LENGTHS, problem_of

from llmopt_calibration.step.rules import layout_violations
from llmopt_optimizer.bounds.openings import potentials
from llmopt_optimizer.core.program import Assignment, Choice
from llmopt_optimizer.loop.conclusion import concluded
from llmopt_optimizer.loop.ledger import Ledger, front_costs, gap_of, missing_of, opened
from llmopt_optimizer.loop.rounds import run_rounds
from llmopt_optimizer.loop.study import Study, open_study
from llmopt_optimizer.loop.trials import Trial, covers, judged, nondominated, verified
from llmopt_optimizer.result import Result, Status, Verdict
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
        """Verified deployments that no point of the front matches within the tolerance."""
        objectives = self.study.program.objectives
        front = [
            tuple(o.sign * point.simulated[o.metric].value for o in objectives) for point in self.result.front
        ]
        return [
            trial
            for trial in verified(self.trials)
            if not any(covers(own, trial.costs(objectives), self.tolerance) for own in front)
        ]

    @property
    def tolerance(self) -> float:
        return self.study.scenario.problem.verification.tolerance

    def undercut(self) -> list[tuple[Assignment, str]]:
        """Metrics of verified deployments that are better than their bounds, beyond their intervals."""
        names = list(self.study.predictor.program.systems[0].metrics)
        found = []
        for trial in verified(self.trials):
            known = self.study.optimism.interval(trial.assignment, names)
            for name, (low, high) in known.items():
                estimate = trial.observation.metrics[name]
                if estimate.high < low * (1 - 1e-9) or estimate.low > high * (1 + 1e-9):
                    found.append((trial.assignment, name))
        return found


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
    ledger = run_rounds(study, frozen, time.monotonic() + 600, lambda _: None)
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
    pytest.param(posed(16, 0.1, {}), id="tight"),
    pytest.param(posed(30, 0.3, VARIED_LENGTHS), id="near_capacity", marks=pytest.mark.slow),
    pytest.param(posed(8, 0.1, {}, BOTH_MODES), id="both_modes", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("problem", SMALL_SPACES)
def test_front_is_that_of_exhaustive_simulation(problem: Problem) -> None:
    done = exhausted(problem)
    assert done.result.status is Status.PROVEN
    assert done.result.gap == 0
    assert 8 < len(done.trials) <= 60
    assert done.missed() == []
    assert done.undercut() == []
    simulated = {trial.assignment: trial.observation for trial in done.trials}
    for trial in done.ledger.trials:
        early = trial.glimpsed_only or trial.verdict is Verdict.DOMINATED
        assert early or simulated[trial.assignment] == trial.observation


LIMITED = {"search": {"scheduling": {"queue_limit": 1}, "chunk_tokens": {"choices": [2048]}}}
OFTEN = [{"metric": "ttft", "statistic": "p50", "at_most": "0.5 s"}]
REJECTING = [
    pytest.param({"arrivals": {"process": "poisson", "rate": "60 req/s"}}, id="open"),
    pytest.param({"arrivals": {**CLOSED_LOOP, "concurrency": 48, "think_time": "1 s"}}, id="closed"),
]


@pytest.mark.parametrize("traffic", REJECTING)
def test_bounds_hold_where_full_queues_reject(traffic: Mapping[str, Any]) -> None:
    """Up to half of the requests may be turned away; money counts for the tokens of the others."""
    aims = [{"minimize": "cost_per_million_output_tokens"}, {"maximize": "throughput_tokens_per_s"}]
    wanted = {"traffic": {**traffic, **VARIED_LENGTHS}, "slo": OFTEN, "objectives": aims}
    done = exhausted(problem_of(wanted, LIMITED))
    kept = verified(done.trials)
    assert min(trial.observation.metrics["slo_attainment"].value for trial in kept) < 0.9
    assert done.undercut() == []
    assert done.missed() == []


def test_gap_covers_what_a_search_has_not_simulated_yet() -> None:
    """Take one deployment of the front away: the gap is at least what it would improve."""
    done = exhausted(posed(8, 0.3, VARIED_LENGTHS))
    objectives, optimism = done.study.program.objectives, done.study.optimism
    best = nondominated(verified(done.ledger.trials), objectives)
    assert len(best) > 1
    improvements = []
    for missing in best:
        same = missing.costs(objectives)
        others = tuple(
            trial for trial in done.ledger.trials if not covers(trial.costs(objectives), same, 0.0)
        )
        ledger = opened(optimism, replace(done.ledger, trials=others), done.tolerance)
        costs = np.array([missing.costs(objectives)])
        improvements.append(float(potentials(costs, front_costs(others, objectives))[0]))
        assert gap_of(ledger, objectives) >= improvements[-1]
        assert missing_of(ledger, objectives) > 0
    assert missing_of(done.ledger, objectives) == 0
    assert min(improvements) > 0


def compared(problems: Iterator[Problem]) -> None:
    """No proof is wrong, no gap is too small, no bound is undercut; prints the counts."""
    seen = proven = missed = undercut = 0
    for problem in problems:
        done = exhausted(problem)
        seen += 1
        proven += done.result.status in (Status.PROVEN, Status.INFEASIBLE)
        missed += bool(done.missed())
        undercut += len(done.undercut())
        assert all(trial.verdict is not Verdict.VERIFIED or not trial.glimpsed_only for trial in done.trials)
    print(f"{seen} problems, {proven} decided, {missed} with a missed deployment, {undercut} bounds undercut")
    assert (missed, undercut) == (0, 0)
    assert proven == seen


@pytest.mark.slow
def test_nothing_is_missed_in_aggregated_spaces() -> None:
    grid = product((4, 8, 16, 30), (0.1, 0.3, 1.0), ({}, VARIED_LENGTHS))
    compared(posed(rate, ttft_s, lengths) for rate, ttft_s, lengths in grid)


@pytest.mark.slow
def test_nothing_is_missed_with_both_modes() -> None:
    grid = product((8, 30), (0.1, 0.3, 1.0), ({}, VARIED_LENGTHS))
    compared(posed(rate, ttft_s, lengths, BOTH_MODES) for rate, ttft_s, lengths in grid)


def drawn(rng: np.random.Generator) -> Problem:
    """A random small problem: traffic, levels, objectives, caps and modes."""
    tpot_ms, e2e_s = rng.choice([8, 10, 15, 40]), rng.choice([1.0, 2.0, 5.0])
    slo = [{"metric": "ttft", "statistic": str(rng.choice(["mean", "p90", "p95"])), "at_most": "0.4 s"}]
    slo += [{"metric": "tpot", "statistic": "p95", "at_most": f"{tpot_ms} ms"}] * bool(rng.random() < 0.6)
    slo += [{"metric": "e2e", "statistic": "p90", "at_most": f"{e2e_s} s"}] * bool(rng.random() < 0.4)
    closed = rng.random() < 0.3
    rate = f"{rng.choice([3, 8, 15, 25, 40])} req/s"
    users = {**CLOSED_LOOP, "concurrency": int(rng.choice([4, 16, 48]))}
    traffic = {"arrivals": users if closed else {"process": "poisson", "rate": rate}}
    aims: list[list[dict[str, str]]] = [
        [{"minimize": "cost_per_million_output_tokens"}, {"minimize": "tpot", "statistic": "p95"}],
        [{"minimize": "gpus"}, {"minimize": "ttft", "statistic": "p95"}],
        [{"minimize": "cost_per_hour"}],
        [{"minimize": "gpus"}, {"minimize": "e2e", "statistic": "mean"}],
    ]
    search = {
        "modes": ["aggregated", "disaggregated"] if rng.random() < 0.4 else ["aggregated"],
        "chunk_tokens": {"choices": [int(rng.choice([512, 1024])), 2048][int(rng.random() < 0.5) :]},
        "batch_cap": {"choices": sorted({int(rng.choice([8, 16, 24])), 64})},
    }
    lengths = VARIED_LENGTHS if rng.random() < 0.5 else {}
    objectives = aims[int(rng.integers(len(aims)))]
    seed = {"verification": {"seed": int(rng.integers(1, 1000))}}
    return problem_of(
        {"traffic": {**traffic, **lengths}, "slo": slo, "search": search, "objectives": objectives}, seed
    )


def test_nothing_is_missed_in_a_random_problem() -> None:
    rng = np.random.default_rng(4)
    compared(drawn(rng) for _ in range(2))


@pytest.mark.slow
def test_nothing_is_missed_in_a_hundred_random_problems() -> None:
    rng = np.random.default_rng(1)
    compared(drawn(rng) for _ in range(100))
