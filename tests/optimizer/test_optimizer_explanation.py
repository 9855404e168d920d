"""Explanations against brute force: every deployment of a small problem evaluated one by one."""

from __future__ import annotations

import json
from functools import cache
from itertools import product

import pytest
from optimizer_loop_cases import VARIED_LENGTHS, problem_of

from llmopt_optimizer.core.program import Assignment, Choice
from llmopt_optimizer.explanation import Explanation, explained
from llmopt_optimizer.explanation.explain import assignment_of, restored
from llmopt_optimizer.explanation.prices import MOVED
from llmopt_optimizer.explanation.sensitivity import neighbours
from llmopt_optimizer.frozen import Frozen
from llmopt_optimizer.loop import solve_problem
from llmopt_optimizer.loop.study import Study, open_study
from llmopt_optimizer.output.explanation import explanation_json, explanation_text
from llmopt_optimizer.result import Result
from llmopt_optimizer.scenario import resolve
from llmopt_problems import Problem
from llmopt_problems.deployment import Deployment, Layout, PoolDeployment

COST = "cost_per_million_output_tokens"
TODAY = Deployment(
    "aggregated",
    (PoolDeployment("serve", "H100-SXM", Layout(tp=2), instances=2, chunk_tokens=512, batch_cap=64),),
    prefix_cache=False,
)


@cache
def posed() -> Problem:
    return problem_of(
        {
            "traffic": {"arrivals": {"process": "poisson", "rate": "16 req/s"}, **VARIED_LENGTHS},
            "slo": [
                {"metric": "ttft", "statistic": "p95", "at_most": "0.1 s"},
                {"metric": "tpot", "statistic": "p95", "at_most": "16 ms"},
            ],
        }
    )


@cache
def answered() -> tuple[Result, Explanation, Study, Frozen]:
    result = solve_problem(posed())
    study, frozen = open_study(resolve(posed()))
    return result, explained(posed(), result, TODAY), study, restored(frozen, result)


def predicted() -> dict[Assignment, dict[str, float]]:
    """All metrics of every deployment that the expressions find feasible, one by one."""
    _, _, study, frozen = answered()
    (system,) = study.program.systems
    (variant,) = system.pools[0].variants
    names = [decision.symbol.name for decision in variant.decisions]
    every = product(*(decision.values for decision in variant.decisions))
    choices = (Choice("serve", variant.name, tuple(zip(names, values, strict=True))) for values in every)
    assignments = [Assignment(system.name, (choice,)) for choice in choices]
    found = {a: study.predictor.at(a, frozen.parameters()) for a in assignments}
    return {assignment: metrics for assignment, metrics in found.items() if metrics}


def cheapest(levels: dict[str, float]) -> float | None:
    kept = [m[COST] for m in predicted().values() if all(m[key] <= value for key, value in levels.items())]
    return min(kept, default=None)


def test_prices_are_those_of_brute_force() -> None:
    found = answered()[1]
    asked = {level.key: level.value for level in posed().slo}
    assert len(found.prices) == len(asked)
    for price, (key, value) in zip(found.prices, asked.items(), strict=True):
        assert price.now == pytest.approx(cheapest(asked))
        assert price.tighter == pytest.approx(cheapest({**asked, key: value * (1 - MOVED)}))
        assert price.looser == pytest.approx(cheapest({**asked, key: value * (1 + MOVED)}))
        assert price.without == pytest.approx(cheapest({k: v for k, v in asked.items() if k != key}))
    assert any(price.without != price.now for price in found.prices)


def test_decisions_are_moved_to_their_neighbours() -> None:
    result, found, study, _ = answered()
    best = assignment_of(study.program, result.front[0].deployment)
    assert study.deployment(best) == result.front[0].deployment
    everything = predicted()
    moved = [each for each in found.sensitivities if each.decision]
    assert {each.metric for each in moved} == {COST, "tpot_p95_s", "ttft_p95_s"}
    for each in moved:
        for step in (each.lower, each.upper):
            if step is not None:
                values = tuple((n, step.to if n == each.of else v) for n, v in best.choices[0].values)
                other = Assignment("aggregated", (best.choices[0]._replace(values=values),))
                assert step.metric == everything.get(other, {}).get(each.metric)


def test_elasticities_of_known_laws() -> None:
    """Money for a token falls as the rate rises; a spread is a factor of its metric."""
    slopes = {(each.metric, each.of): each.elasticity for each in answered()[1].sensitivities}
    assert slopes[COST, "request_rate_per_s"] == pytest.approx(-1, abs=1e-6)
    assert slopes["tpot_p95_s", "spread_aggregated_tpot_p95"] == pytest.approx(1, abs=1e-6)
    assert (COST, "arrival_scv") not in slopes


def test_exact_slopes_agree_with_steps() -> None:
    """Of every parameter; a decision that a metric depends on has a slope that points to the better side."""
    frozen = [each for each in answered()[1].sensitivities if not each.decision]
    assert len(frozen) > 5
    for each in frozen:
        assert each.exact_elasticity == pytest.approx(each.elasticity, rel=2e-3, abs=1e-5), each
    moved = [each for each in answered()[1].sensitivities if each.decision and each.slope is not None]
    instances = next(each for each in moved if each.of == "serve_instances" and each.metric == COST)
    assert instances.slope == pytest.approx(instances.at_value / instances.value)


def test_rivals_are_the_next_best() -> None:
    result, found, study, _ = answered()
    asked = {level.key: level.value for level in posed().slo}
    best = assignment_of(study.program, result.front[0].deployment)
    kept = sorted(
        metrics[COST]
        for assignment, metrics in predicted().items()
        if assignment != best and all(metrics[key] <= value for key, value in asked.items())
    )
    ours = [rival for rival in found.rivals if rival.verdict != "violated"]
    assert [rival.objective for rival in ours] == pytest.approx(kept[: len(ours)])
    assert all(rival.lost for rival in found.rivals if rival.verdict == "violated")
    assert found.rivals


def test_today_is_simulated_beside_the_recommendation() -> None:
    result, found, _, _ = answered()
    beside = {each.metric: each for each in found.comparison}
    assert beside["gpus"].today.value == 4
    assert beside["gpus"].best == result.front[0].simulated["gpus"]
    assert beside[COST].today.value == pytest.approx(4 * 2 / 3600 * 1e6 / (16 * 100))
    assert set(beside) >= {level.key for level in posed().slo}


def test_text_and_json_tell_the_same() -> None:
    found = answered()[1]
    text, tree = explanation_text(found), json.loads(explanation_json(found))
    assert len(tree["prices"]) == len(found.prices)
    for price in found.prices:
        assert price.level in text
    assert "Today" in text
    assert tree["today"]["pools"][0]["layout"]["tp"] == 2


def test_neighbours() -> None:
    assert neighbours((1, 2, 4), 2) == (1, 4)
    assert neighbours((1, 2, 4), 4) == (2, None)
    assert neighbours((3,), 3) == (None, None)
