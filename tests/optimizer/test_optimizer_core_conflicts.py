"""Infeasible programs name a set of limits that cannot hold together, and the smallest help for each."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import optimizer_core_naive as naive
import pytest
from optimizer_core_random import random_case
from sympy import Symbol

from llmopt_optimizer.core.conflicts import explain_infeasible
from llmopt_optimizer.core.program import (
    Constraint,
    Decision,
    Limit,
    Objective,
    Pool,
    Program,
    System,
    Variant,
)
from llmopt_optimizer.core.solving import solve

N, G, L = (Symbol(name, positive=True) for name in ("n", "gpus", "latency"))


def program(*limits: Limit, memory: int = 1, label: str = "memory") -> Program:
    """N accelerators in 1, 2, 4, 8: latency 8/n seconds, and at least `memory` of them."""
    rule = Constraint("memory", memory - N, label)
    pool = Pool("pool", (Variant("v", (Decision(N, (1, 2, 4, 8)),), {G: N, L: 8 / N}, (), (rule,)),))
    return Program((System("s", (pool,), {"gpus": G, "latency": L}),), (Objective("gpus"),), limits)


def test_two_limits_conflict_and_each_could_be_relaxed() -> None:
    conflict = explain_infeasible(
        program(Limit("latency", "at_most", 2.5, "TTFT"), Limit("gpus", "at_most", 3, "GPUs"))
    )
    assert conflict.groups == ("TTFT", "GPUs")
    assert conflict.irreducible
    assert [(r.limit, r.asked, r.needed) for r in conflict.relaxations] == [
        ("TTFT", 2.5, 4.0),
        ("GPUs", 3, 4.0),
    ]


def test_a_limit_that_fails_alone_is_the_whole_conflict() -> None:
    conflict = explain_infeasible(
        program(Limit("latency", "at_most", 0.5, "TTFT"), Limit("gpus", "at_most", 8, "GPUs"))
    )
    assert conflict.groups == ("TTFT",)
    assert [r.needed for r in conflict.relaxations] == [1.0, None]


def test_labelled_constraints_take_part() -> None:
    conflict = explain_infeasible(program(Limit("gpus", "at_most", 3, "GPUs"), memory=4))
    assert set(conflict.groups) == {"memory", "GPUs"}
    assert [r.needed for r in conflict.relaxations] == [4.0]


def test_rules_of_validity_alone_give_an_empty_conflict() -> None:
    conflict = explain_infeasible(program(Limit("gpus", "at_most", 3, "GPUs"), memory=99, label=""))
    assert conflict.groups == ()
    assert [r.needed for r in conflict.relaxations] == [None]


def test_lower_limits_are_relaxed_downwards() -> None:
    conflict = explain_infeasible(program(Limit("latency", "at_least", 30.0, "slow")))
    assert [r.needed for r in conflict.relaxations] == [8.0]


def test_without_time_nothing_is_called_irreducible() -> None:
    conflict = explain_infeasible(program(Limit("gpus", "at_most", 0, "GPUs")), seconds=0.0)
    assert not conflict.irreducible


@pytest.mark.parametrize("seed", range(8000, 8040))
def test_conflicts_of_random_programs_are_irreducible_by_the_naive_judge(seed: int) -> None:
    case = random_case(seed)
    infeasible = [c for c in _tightened(case.program, case.points) if not naive.feasible(c, case.points)]
    for each in infeasible:
        conflict = explain_infeasible(each)
        chosen = tuple(limit for limit in each.limits if limit.name in conflict.groups)
        assert conflict.irreducible
        assert not naive.feasible(replace(each, limits=chosen), case.points)
        for fewer in combinations(chosen, len(chosen) - 1) if chosen else ():
            assert naive.feasible(replace(each, limits=fewer), case.points)
        for relaxation, limit in zip(conflict.relaxations, each.limits, strict=True):
            if relaxation.needed is not None:
                relaxed = tuple(replace(o, value=relaxation.needed) if o is limit else o for o in each.limits)
                assert naive.feasible(replace(each, limits=relaxed), case.points)
                assert solve(replace(each, limits=relaxed)).assignment is not None


def _tightened(program: Program, points: list[naive.Point]) -> list[Program]:
    """The program with limits at the best values of two metrics, which seldom hold together."""
    if not points:
        return []
    names = sorted(points[0].metrics)[:2]
    best = [min(point.metrics[name] for point in points) for name in names]
    limits = tuple(Limit(n, "at_most", v, f"best {n}") for n, v in zip(names, best, strict=True))
    return [replace(program, limits=(*limits, *program.limits))]
