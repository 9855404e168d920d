"""HiGHS, enumeration and a naive judge agree on random programs; SCIP's errors never pass as proofs."""

from __future__ import annotations

from collections import Counter

import optimizer_core_naive as naive
import pytest
from optimizer_core_random import Case, random_case

from llmopt_optimizer.core.direct import solve_direct
from llmopt_optimizer.core.enumeration import enumerate_front
from llmopt_optimizer.core.pareto import Front, FrontMethod, pareto
from llmopt_optimizer.core.preparation import (
    CompiledProgram,
    compile_program,
    tabulate_program,
    unpruned_table,
)
from llmopt_optimizer.core.program import Program
from llmopt_optimizer.core.solution import SolveResult
from llmopt_optimizer.core.solvers.outcome import SolveStatus
from llmopt_optimizer.core.solving import COLUMNS, ENUMERATION, solve
from llmopt_optimizer.core.translation.scope import NotTranslatable

QUICK_BATCH = 25
SLOW_BATCH = 200
BY_SOLVER = FrontMethod(join_cells=-1)
Vector = tuple[float, ...]


def equal(a: Vector, b: Vector) -> bool:
    return all(abs(x - y) <= 1e-9 * max(abs(x), abs(y)) for x, y in zip(a, b, strict=True))


def same_set(a: list[Vector], b: list[Vector]) -> bool:
    """Each vector has a partner in the other list; both lists hold distinct vectors."""
    return len(a) == len(b) and all(any(equal(x, y) for y in b) for x in a)


def signed(program: Program, front: Front) -> list[Vector]:
    signs = [objective.sign for objective in program.objectives]
    return [tuple(s * v for s, v in zip(signs, p.objectives, strict=True)) for p in front.points]


def check_front(case: Case, compiled: CompiledProgram, expected: list[Vector]) -> None:
    check_one_front(case, expected, pareto(case.program, compiled), ENUMERATION)
    check_one_front(case, expected, pareto(case.program, compiled, method=BY_SOLVER), COLUMNS)


def check_one_front(case: Case, expected: list[Vector], front: Front, route: str) -> None:
    assert front.complete, (front.checks, front.message)
    assert front.route == route
    assert front.missing == 0
    assert same_set(signed(case.program, front), expected)
    assert (front.status is SolveStatus.INFEASIBLE) == (not expected)
    metrics = {point.assignment: point for point in naive.feasible(case.program, case.points)}
    for point in front.points:
        judged = naive.cost_vectors(case.program, [metrics[point.assignment]])[0]
        assert any(equal(judged, vector) for vector in expected)
        assert point.gap == 0


def check_optimum(case: Case, compiled: CompiledProgram, expected: list[Vector]) -> None:
    check_one_optimum(case, expected, solve(case.program, compiled))
    check_one_optimum(case, expected, solve(case.program, compiled, join_cells=-1))


def check_one_optimum(case: Case, expected: list[Vector], result: SolveResult) -> None:
    if not expected:
        assert result.status is SolveStatus.INFEASIBLE
        return
    assert result.status is SolveStatus.OPTIMAL, result.checks
    sign = case.program.objectives[0].sign
    assert equal((sign * result.objective,), expected[0][:1])
    assert equal((sign * result.bound,), expected[0][:1])


def check_enumeration(case: Case, compiled: CompiledProgram, expected: list[Vector]) -> None:
    tabulated = tabulate_program(compiled, case.program.parameters)
    tables = tuple(unpruned_table(tabulated, i, case.program) for i in range(len(case.program.systems)))
    points, finished = enumerate_front(case.program, tables)
    assert finished
    assert same_set([point.costs for point in points], expected)


def check_routes(seeds: range) -> None:
    for seed in seeds:
        case = random_case(seed)
        compiled = compile_program(case.program)
        expected = naive.naive_front(case.program, case.points)
        check_front(case, compiled, expected)
        check_optimum(case, compiled, expected)
        check_enumeration(case, compiled, expected)


@pytest.mark.parametrize("start", range(0, 8 * QUICK_BATCH, QUICK_BATCH))
def test_routes_agree_with_the_naive_judge(start: int) -> None:
    check_routes(range(start, start + QUICK_BATCH))


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 3000, SLOW_BATCH))
def test_routes_agree_with_the_naive_judge_on_two_thousand_programs(start: int) -> None:
    check_routes(range(start, start + SLOW_BATCH))


def direct_verdict(case: Case, result: SolveResult) -> str:
    """`right`, or how the answer differs from the judge's."""
    expected = naive.naive_front(case.program, case.points)
    if not expected:
        return "right" if result.status is SolveStatus.INFEASIBLE else f"wrong, said {result.status}"
    cost = case.program.objectives[0].sign * result.objective
    found = result.assignment is not None and equal((cost,), expected[0])
    return "right" if found and result.status is SolveStatus.OPTIMAL else f"wrong, said {result.status}"


def check_direct(seeds: range) -> Counter[str]:
    """Count the direct route's verdicts; a certified optimum that is not one fails here."""
    verdicts: Counter[str] = Counter()
    for seed in seeds:
        case = random_case(seed, most_objectives=1)
        try:
            result = solve_direct(case.program, seconds=20)
        except NotTranslatable:
            verdicts["not translatable"] += 1
            continue
        verdict = direct_verdict(case, result)
        verdicts[verdict] += 1
        claims = (SolveStatus.OPTIMAL, SolveStatus.INFEASIBLE)
        assert verdict == "right" or result.status not in claims, (seed, result)
    return verdicts


def test_direct_route_never_proves_what_is_not_so(capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = check_direct(range(5000, 5030))
    with capsys.disabled():
        print(f"\ndirect route (SCIP) on 30 random programs: {dict(verdicts)}")
    assert verdicts["right"] >= 22


@pytest.mark.slow
def test_direct_route_never_proves_what_is_not_so_at_length(capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = check_direct(range(6000, 6300))
    with capsys.disabled():
        print(f"\ndirect route (SCIP) on 300 random programs: {dict(verdicts)}")
    assert verdicts["right"] >= 225
