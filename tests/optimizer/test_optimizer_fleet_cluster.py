"""Clusters of groups that may differ: the answer against measuring every group, time limits, files, texts."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from llmopt_optimizer.answer import Plan
from llmopt_optimizer.core.covering import table
from llmopt_optimizer.core.packing import Shape
from llmopt_optimizer.fleet.capacity import carried, observed
from llmopt_optimizer.fleet.ceilings import Ladder
from llmopt_optimizer.fleet.cluster import solve_cluster
from llmopt_optimizer.fleet.lineup import Lineup, assignments_of, open_lineup
from llmopt_optimizer.fleet.plan import PlanResult
from llmopt_optimizer.fleet.stocks import Cluster, Kind
from llmopt_optimizer.output.plan_files import read_plan
from llmopt_optimizer.result import Status
from llmopt_problems import ProblemError, load, load_any
from llmopt_problems.schema import ClusterProblem

SMALL: dict[str, Any] = {
    "kind": "mixed",
    "name": "small",
    "model": {"name": "Llama-3.1-8B", "weights": "bf16", "kv_cache": "bf16"},
    "hardware": {"accelerators": [{"name": "H100-SXM", "count": 5, "price": "2 USD/h"}]},
    "traffic": {
        "input_tokens": {"distribution": "constant", "value": 1000},
        "output_tokens": {"distribution": "constant", "value": 40},
    },
    "slo": [{"metric": "ttft", "statistic": "p95", "at_most": "300 ms"}],
    "search": {
        "modes": ["aggregated"],
        "tp": {"choices": [1, 2]},
        "instances": {"choices": [1, 2]},
        "chunk_tokens": {"choices": [512, 2048]},
        "batch_cap": {"choices": [16]},
        "prefix_cache": False,
    },
    "group_gpus": 3,
    "verification": {"requests": 200, "replications": 3, "tolerance": 0.05},
    "limits": {"time": "5 min"},
}
"""Eight groups, of one, two and four accelerators (four is too many for a group)."""


def problem_of(tmp_path: Path, **changes: Any) -> ClusterProblem:
    path = tmp_path / "problem.yaml"
    path.write_text(yaml.safe_dump(SMALL | changes))
    problem = load_any(path)
    assert isinstance(problem, ClusterProblem)
    return problem


@cache
def small() -> tuple[ClusterProblem, Lineup, dict[str, float]]:
    """The small problem, its lineup, and what every single group carries by simulation."""
    problem = ClusterProblem.model_validate(SMALL)
    offer = problem.hardware.accelerators[0]
    lineup = open_lineup(offer.name, partial(problem.group_problem, offer))
    everybody = lineup.openings_at(1e-3)
    found = {}
    for gpus in (1, 2, 3):
        for assignment in assignments_of(everybody, gpus):
            group = carried(lineup, str(assignment), lineup.deployment(assignment), 10.0)
            found[str(assignment)] = 0.0 if group is None else group.rate_per_s
    return problem, lineup, found


@cache
def solved() -> PlanResult:
    return solve_cluster(small()[0])


def test_the_mixture_is_the_best_of_all_within_the_tolerance() -> None:
    problem, lineup, rates = small()
    sizes = {str(a): g for g in (1, 2, 3) for a in assignments_of(lineup.openings_at(1e-3), g)}
    shapes = [Shape(name, (sizes[name],), rate) for name, rate in rates.items() if rate]
    assert len(rates) == 6
    best = float(table(shapes, 5).best[5])
    answer = solved()
    slack = 1 + 2 * problem.verification.tolerance  # the search's and the capacities' own
    assert answer.status is Status.PROVEN
    assert best / slack <= answer.value <= best * slack
    assert answer.bound >= best / slack
    assert answer.gap <= problem.verification.tolerance + 1e-6
    assert all(row.verified for row in answer.rows)
    assert sum(row.gpus for row in answer.rows) <= 5


def test_what_is_served_adds_up_and_is_never_more_than_what_is_carried() -> None:
    answer = solved()
    served = sum(row.groups * row.served_per_s["requests"] for row in answer.rows)
    assert served == pytest.approx(answer.value)
    assert all(row.served_per_s["requests"] <= row.carried_per_s["requests"] for row in answer.rows)
    assert all(check.passed for check in answer.checks)


def test_a_sizing_is_the_cheapest_stock_that_carries_the_load(tmp_path: Path) -> None:
    most = solved().value
    traffic = {**SMALL["traffic"], "rate": f"{0.5 * most} req/s"}
    answer = solve_cluster(problem_of(tmp_path, kind="sizing", traffic=traffic))
    assert answer.status is Status.PROVEN
    assert answer.objective == "usd_per_hour"
    assert answer.value == answer.bound == 2 * sum(row.gpus for row in answer.rows)
    served = sum(row.groups * row.served_per_s["requests"] for row in answer.rows)
    assert served == pytest.approx(0.5 * most)
    rates = small()[2].values()
    assert not any(rate >= 0.5 * most * 1.1 for rate in rates if answer.value == 4)  # one is not enough


def test_a_load_that_nothing_carries_is_infeasible(tmp_path: Path) -> None:
    traffic = {**SMALL["traffic"], "rate": f"{3 * solved().value} req/s"}
    answer = solve_cluster(problem_of(tmp_path, kind="sizing", traffic=traffic))
    assert answer.status is Status.INFEASIBLE
    assert "cannot serve" in answer.message
    assert answer.conflicts
    assert not answer.rows


def test_a_time_limit_is_answered_with_what_is_there(tmp_path: Path) -> None:
    answer = solve_cluster(problem_of(tmp_path, limits={"time": "20 ms"}))
    assert answer.status in (Status.FAILED, Status.FEASIBLE)
    assert "raise limits.time" in answer.message


def test_a_group_carries_its_rate_and_no_more() -> None:
    problem, lineup, rates = small()
    assignment = next(a for a in assignments_of(lineup.openings_at(1e-3), 1) if rates[str(a)])
    rate, step = rates[str(assignment)], 1 + 2 * problem.verification.tolerance
    assert observed(lineup, lineup.deployment(assignment), rate) is not None
    assert observed(lineup, lineup.deployment(assignment), rate * step) is None


def test_no_group_carries_what_bounds_rule_out() -> None:
    _, lineup, rates = small()
    for rate in (5.0, 20.0, 80.0):
        openings = lineup.openings_at(rate)
        open_here = {str(openings.assignment(row)) for row in range(len(openings))}
        assert {name for name, most in rates.items() if most >= rate} <= open_here


def test_a_ladder_knows_the_lowest_rung_that_is_too_high() -> None:
    asked = []

    def smallest(rate: float) -> float:
        asked.append(rate)
        return math.inf if rate > 100 else math.ceil(rate / 10)

    ladder = Ladder(1.0, smallest, None)
    ladder.at(0)
    ladder.fill(0, 128)
    for gpus in (1, 2, 5, 10):
        assert 10 * gpus < ladder.ceiling(gpus) <= 10 * gpus * 1.05 * (1 + 1e-9)
    assert len(asked) < 100
    assert Ladder(1.0, smallest, None).ceiling(1) == math.inf


def test_what_is_not_known_bounds_nothing() -> None:
    kind = Kind("a", 4, 1.0, 2)
    assert Cluster((kind,), None, 0.0).bound() == math.inf
    assert Cluster((kind,), 5.0, 0.0).bound() == 0.0
    known = kind.lowered(1, 2.0).lowered(2, 5.0)
    assert Cluster((known,), None, 0.0).bound() == 10.0
    assert Cluster((known,), 5.0, 0.0).bound() == 2.0
    assert Cluster((known,), 11.0, 0.0).bound() == math.inf
    assert known.lowered(2, 7.0).ceilings == {1: 2.0, 2: 5.0}


def test_a_plan_is_written_read_back_and_printed(tmp_path: Path) -> None:
    plan = Plan(small()[0], solved())
    csv, _ = plan.write(tmp_path)
    assert read_plan(tmp_path) == solved()
    frame = pd.read_csv(csv)
    assert frame["gpus"].sum() == sum(row.gpus for row in solved().rows)
    assert list(frame.columns)[-1] == "verified"
    document = json.loads((tmp_path / "plan.json").read_text())
    assert document["problem"]["kind"] == "mixed"
    text = str(plan)
    for words in ("proven", "What to launch", "one shape repeated", "groups verified by simulation"):
        assert words in text
    refused = replace(solved(), status=Status.INFEASIBLE, rows=(), conflicts=("a", "b"))
    assert "cannot hold together" in str(Plan(small()[0], refused))


BAD = [
    ({"kind": "fleeet"}, "unknown-choice", "kind"),
    ({"kind": "sizing"}, "sizing-load", "traffic"),
    ({"traffic": {**SMALL["traffic"], "rate": "3 req/s"}}, "mixed-load", "traffic.rate"),
    ({"minimize": "cost"}, "mixed-minimize", "minimize"),
    ({"slo": []}, "too-short", "slo"),
    ({"slo": [{"metric": "gpus", "at_most": 4}]}, "slo-latency", "slo.0.metric"),
    ({"slo": [{**SMALL["slo"][0], "class": "chat"}]}, "class-unknown", "slo.0.class"),
    ({"model": {"name": "nothing"}}, "known-model", "model.name"),
    ({"objectives": []}, "unknown-key", "objectives"),
    ({"group_gpus": 0}, "greater-than-equal", "group_gpus"),
]


@pytest.mark.parametrize(("change", "rule", "key"), BAD)
def test_bad_input_is_named_and_placed(tmp_path: Path, change: dict[str, Any], rule: str, key: str) -> None:
    with pytest.raises(ProblemError) as error:
        problem_of(tmp_path, **change)
    assert (error.value.faults[0].rule, error.value.faults[0].key) == (rule, key)
    assert error.value.faults[0].line is not None


def test_a_cluster_is_no_single_deployment() -> None:
    with pytest.raises(ProblemError, match="not for one deployment"):
        load("mixed_h200")


def test_every_size_of_the_example_is_a_group() -> None:
    problem = load_any("mixed_h200")
    assert isinstance(problem, ClusterProblem)
    one = problem.group_problem(problem.hardware.accelerators[0], 2.5)
    assert one.traffic.arrivals.rate_per_s == 2.5  # type: ignore[union-attr]
    assert [goal.key for goal in one.objectives] == ["gpus"]
    assert list(itertools.chain(one.slo)) == list(problem.slo)
