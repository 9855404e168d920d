"""Fronts with known answers, and honesty when the time is over."""

from __future__ import annotations

import math

import pytest
from sympy import Expr, Max, Symbol, sqrt

from llmopt_optimizer.core.pareto import FrontMethod, pareto
from llmopt_optimizer.core.program import Decision, Limit, Objective, Pool, Program, System, Variant
from llmopt_optimizer.core.solvers.outcome import SolveStatus
from llmopt_optimizer.core.solving import ENUMERATION, solve

N, A, B, C, D = (Symbol(name, positive=True) for name in ("n", "a", "b", "c", "d"))


def program(metrics: dict[str, Expr], values: tuple[int, ...], **extra: object) -> Program:
    """Two pools of one decision each: attributes (a, b) = (n, 1/n) and (c, d) = (n, 1/n)."""
    first = Pool("first", (Variant("v", (Decision(N, values),), {A: N, B: 1 / N}),))
    second = Pool("second", (Variant("v", (Decision(N, values),), {C: N, D: 1 / N}),))
    objectives = tuple(Objective(name) for name in metrics)
    return Program((System("s", (first, second), metrics),), objectives, **extra)  # type: ignore[arg-type]


def test_two_objectives_sum_against_largest() -> None:
    # cost n1 + n2 against Max(1/n1, 1/n2): only n1 = n2 is nondominated
    front = pareto(program({"cost": A + C, "latency": Max(B, D)}, tuple(range(1, 13))))
    assert front.complete
    assert [point.objectives for point in front.points] == [
        (2.0 * n, pytest.approx(1 / n)) for n in range(1, 13)
    ]
    assert all(point.gap == 0 for point in front.points)


def test_three_objectives_keep_every_pair() -> None:
    # cost, 1/n1 and 1/n2 conflict pairwise: all 36 pairs are nondominated
    front = pareto(program({"cost": A + C, "one": B, "two": D}, tuple(range(1, 7))))
    assert front.complete
    assert len(front.points) == 36
    assert len({point.assignment for point in front.points}) == 36


def test_maximised_objectives_are_reported_in_their_own_sense() -> None:
    base = program({"cost": A + C, "throughput": A * C}, (1, 2, 3))
    flipped = Program(base.systems, (Objective("cost"), Objective("throughput", "maximize")))
    front = pareto(flipped)
    assert [point.objectives for point in front.points] == [(2, 1), (3, 2), (4, 4), (5, 6), (6, 9)]


def test_no_time_leaves_open_boxes_and_no_claim() -> None:
    front = pareto(program({"cost": A + C, "latency": Max(B, D)}, tuple(range(1, 40))), seconds=0.0)
    assert not front.complete
    assert front.open_boxes
    assert front.status is SolveStatus.LIMIT


def test_boxes_that_the_solver_leaves_are_closed_by_enumeration() -> None:
    values = tuple(range(1, 200))
    method = FrontMethod(join_cells=-1)
    front = pareto(program({"cost": A + C, "latency": sqrt(B) + D}, values), seconds=1.0, method=method)
    assert front.complete
    assert front.status is SolveStatus.OPTIMAL
    expected = naive_front({(a + c, a**-0.5 + 1 / c) for a in values for c in values})
    assert len(front.points) == len(expected)
    for point, vector in zip(front.points, expected, strict=True):
        assert point.objectives == pytest.approx(vector, rel=1e-12)


def naive_front(vectors: set[tuple[float, float]]) -> list[tuple[float, float]]:
    """Two objectives, sorted by the first: those that improve the second."""
    kept: list[tuple[float, float]] = []
    for vector in sorted(vectors):
        if not kept or vector[1] < kept[-1][1] * (1 - 1e-9):
            kept.append(vector)
    return kept


def test_spaces_too_large_to_enumerate_keep_their_open_boxes() -> None:
    values = tuple(range(1, 200))
    method = FrontMethod(join_cells=-1, completion_cells=0)
    front = pareto(program({"cost": A + C, "latency": sqrt(B) + D}, values), seconds=0.7, method=method)
    assert not front.complete
    assert front.open_boxes
    assert front.status in (SolveStatus.FEASIBLE, SolveStatus.LIMIT)
    for point in front.points:
        assert point.bound <= 2.0  # the smallest cost is 2: a valid bound is not above it
        assert point.gap >= 0


def test_infeasible_front_is_complete_and_empty() -> None:
    front = pareto(
        program({"cost": A + C, "latency": B + D}, (1, 2, 3), limits=(Limit("cost", "at_most", 1.0),))
    )
    assert front.complete
    assert front.points == ()
    assert front.status is SolveStatus.INFEASIBLE


def test_metrics_that_tables_cannot_hold_are_enumerated() -> None:
    # sqrt(a/n + c b) of 150 x 150 distinct rows: more cells than a table may have, and no linear form
    values = tuple(range(1, 181))
    metric = sqrt(A * D + 3 * B * C) + A / 50 + C / 90
    result = solve(program({"m": metric}, values))
    best = min(math.sqrt(a / c + 3 * c / a) + a / 50 + c / 90 for a in values for c in values)
    assert result.route == ENUMERATION
    assert result.status is SolveStatus.OPTIMAL
    assert result.objective == pytest.approx(best, rel=1e-12)


def test_solve_honours_its_time_limit() -> None:
    result = solve(program({"cost": A + C}, tuple(range(1, 50))), seconds=0.0)
    assert result.status is SolveStatus.LIMIT
    assert result.assignment is None
    assert result.bound == -math.inf
