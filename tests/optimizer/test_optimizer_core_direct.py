"""The direct route: decided exponents, decisions without a choice, and quantities far from unit size."""

from __future__ import annotations

import random
from dataclasses import replace
from math import inf

import mpmath
import optimizer_core_naive as naive
import pyomo.environ as pyo
import pytest
from sympy import Add, Float, Integer, Max, Min, Mul, Piecewise, Pow, Symbol, exp, log, sqrt

from llmopt_optimizer.core.algebra import larger, smaller, substituted, where_above
from llmopt_optimizer.core.direct import solve_direct
from llmopt_optimizer.core.exact import precise_value
from llmopt_optimizer.core.monotone import bounds
from llmopt_optimizer.core.program import (
    Constraint,
    Decision,
    Limit,
    Objective,
    Pool,
    Program,
    State,
    System,
    Variant,
)
from llmopt_optimizer.core.second_opinion import NAME, NO_OPINION, second_opinion
from llmopt_optimizer.core.solution import SolveResult
from llmopt_optimizer.core.solvers.outcome import SolveStatus
from llmopt_optimizer.core.solvers.scip import ScipBackEnd
from llmopt_optimizer.core.solving import solve

N, M, X, COST = (Symbol(name, positive=True) for name in ("n", "m", "x", "cost"))


def program(
    cost: Add,
    decisions: tuple[Decision, ...],
    states: tuple[State, ...] = (),
    constraints: tuple[Constraint, ...] = (),
    limits: tuple[Limit, ...] = (),
) -> Program:
    variant = Variant("only", decisions, {COST: cost}, states, constraints)
    system = System("one", (Pool("pool", (variant,)),), {"cost": COST})
    return Program((system,), (Objective("cost"),), limits)


def naive_optimum(problem: Program) -> float:
    """The smallest cost of all feasible assignments, evaluated one by one."""
    costs = [point.metrics["cost"] for point in naive.feasible(problem, naive.all_points(problem))]
    return min(costs, default=inf)


def queue(load: Float) -> tuple[Add, Add]:
    """Sakasegawa's delay probability and a percentile of the wait, in the shapes of the real programs."""
    delayed = larger(load, 1e-12) ** (sqrt(2 * (N + 1)) - 1)
    mean = delayed / (N * (1 - smaller(load, 0.995)))
    return delayed, where_above(delayed, 0.05, mean / delayed * log(delayed / 0.05), 0)


def random_power_program(seed: int) -> Program:
    """A state under powers whose base or exponent is decided, zero bases included."""
    rng = random.Random(seed)
    decisions = (
        Decision(N, tuple(rng.sample(range(1, 9), 3))),
        Decision(M, tuple(rng.sample(range(1, 6), 2))),
    )
    slope = Float(round(rng.uniform(0.05, 0.3), 3))
    state = State(X, Float(round(rng.uniform(0.1, 0.6), 3)) / M + slope * X, Integer(0), Integer(2))
    share = smaller(1, X)
    delayed, wait = queue(smaller(0.9, X / 2))
    term = rng.choice(
        (
            (1 - share) ** N * M + X,
            (1 - (1 - share) ** N) / M + N / 10,
            (X + Float(0.2)) ** (N / 3) + 2 / N,
            delayed * 5 + N / 7,
            wait + N / 9 + M * X,
            X**N - M * (1 - share) ** M,
        )
    )
    return program(term, decisions, (state,))


@pytest.mark.parametrize("seed", range(24))
def test_powers_with_decided_exponents_agree_with_enumeration(seed: int) -> None:
    problem = random_power_program(seed)
    result = solve_direct(problem, seconds=30)
    assert result.status is SolveStatus.OPTIMAL, result
    assert result.objective == pytest.approx(naive_optimum(problem), rel=1e-9)


def test_decisions_without_a_choice_are_numbers() -> None:
    alone = (Decision(N, (3,)), Decision(M, (2, 4)))
    state = State(X, Float(0.4) / M + Float(0.1) * X, Integer(0), Integer(1))
    problem = program((1 - smaller(1, X)) ** N + X * M, alone, (state,))
    result = solve_direct(problem, seconds=30)
    assert result.status is SolveStatus.OPTIMAL
    assert result.objective == pytest.approx(naive_optimum(problem), rel=1e-9)
    assert result.assignment is not None
    assert dict(result.assignment.choices[0].values)["n"] == 3


@pytest.mark.parametrize("unit", [1e-9, 1e-5, 1.0, 1e11])
def test_the_unit_of_a_quantity_does_not_matter(unit: float) -> None:
    """Step times of 1e-5 s and memories of 1e11 bytes: with absolute tolerances the first would be noise."""
    size = Float(unit)
    step = (size * (2 + X / N)) ** 3.5 + (size * (1 + N * X / 8)) ** 3.5
    state = State(X, Float(0.3) * M + Float(0.1) * X, Integer(0), Integer(4))
    decisions = (Decision(N, (1, 2, 3, 4, 6, 8)), Decision(M, (1, 2, 4)))
    rule = Constraint("rule", 4 - M * N)
    problem = program(step ** (1 / 3.5) + size * M / 16, decisions, (state,), (rule,))
    result = solve_direct(problem, seconds=30)
    assert result.status is SolveStatus.OPTIMAL, result
    assert result.objective == pytest.approx(naive_optimum(problem), rel=1e-9)


def test_rules_that_allow_nothing_are_infeasible() -> None:
    problem = program(N + M, (Decision(N, (1, 2)), Decision(M, (1, 2))), (), (Constraint("rule", 9 - N * M),))
    assert solve_direct(problem, seconds=10).status is SolveStatus.INFEASIBLE


def test_no_time_is_a_limit_and_no_claim() -> None:
    result = solve_direct(random_power_program(1), seconds=-1.0, check=False)
    assert result.status is SolveStatus.LIMIT
    assert result.assignment is None
    assert result.bound == -inf


def test_powers_of_one_base_are_joined() -> None:
    base = larger(X, 1e-12)
    exponent = sqrt(2 * (N + 1)) - 1
    product = Mul(Pow(base, exponent), Pow(base, -exponent), M, evaluate=False)
    renamed = substituted(product, {M: Symbol("k", positive=True)}, {})
    assert renamed == Symbol("k", positive=True)


def test_substitution_equals_sympys() -> None:
    expression = Max(X, N) * exp(-X) + Piecewise((M, X > 2), (X**N, True)) + Min(3, M * X)
    names = {N: Integer(3), M: Symbol("k", positive=True)}
    rebuilt = substituted(expression, names, {})
    for value in (0.5, 2.5, 7.0):
        known = {X: value, Symbol("k", positive=True): 1.5}
        expected = precise_value(expression.xreplace(names), known)
        assert precise_value(rebuilt, known) == pytest.approx(float(expected), rel=1e-14)


def test_ranges_hold_at_random_points() -> None:
    """Interval arithmetic with opened logarithms and narrowed branches contains every value."""
    delayed, wait = queue(smaller(0.97, X / N))
    ranges = {X: (0.01, 12.0), N: (1.0, 16.0)}
    rng = random.Random(7)
    for expression in (delayed, wait, log(delayed), where_above(X * N, 3, log(X * N / 3), -1)):
        low, high = bounds(expression, ranges)
        assert -inf < low <= high < inf
        for _ in range(200):
            known = {symbol: mpmath.mpf(rng.uniform(*span)) for symbol, span in ranges.items()}
            assert low * (1 + 1e-12) - 1e-12 <= precise_value(expression, known) <= high * (1 + 1e-12) + 1e-12


def claim(result: SolveResult, **changes: object) -> SolveResult:
    return replace(result, **changes)


def test_a_right_answer_is_confirmed() -> None:
    problem = random_power_program(2)
    check = second_opinion(problem, solve(problem), seconds=30)
    assert (check.name, check.passed) == (NAME, True), check


def test_a_worse_answer_that_is_called_optimal_is_refuted() -> None:
    problem = random_power_program(2)
    best = solve(problem)
    assert best.assignment is not None
    second = solve(replace(problem, excluded=frozenset({best.assignment})))
    check = second_opinion(problem, second, seconds=30)
    assert (check.name, check.passed) == (NAME, False)
    assert f"{best.objective:.9g}" in check.detail
    assert f"{second.objective:.9g}" in check.detail


def test_a_false_claim_of_infeasibility_is_refuted() -> None:
    problem = random_power_program(2)
    nothing = claim(solve(problem), status=SolveStatus.INFEASIBLE, assignment=None, objective=float("nan"))
    assert not second_opinion(problem, nothing, seconds=30).passed


def test_what_cannot_be_translated_or_finished_is_no_opinion() -> None:
    problem = random_power_program(2)
    answer = solve(problem)
    late = second_opinion(problem, answer, seconds=-1.0)
    assert (late.name, late.passed) == (NO_OPINION, True)
    assert "did not finish" in late.detail
    hard = program(X**N, (Decision(N, (1, 2)),), (State(X, N - X, Float(-5), Float(5), increasing=False),))
    odd = program((X - 3) ** (N / 3), (Decision(N, (1, 2)),), (State(X, X / 2 + 1, Integer(0), Integer(5)),))
    assert second_opinion(hard, solve(hard), seconds=20).passed
    check = second_opinion(odd, answer, seconds=20)
    assert check.name == NO_OPINION
    assert "cannot translate" in check.detail


@pytest.mark.parametrize("message", ["SCIP: error in LP solver!", "something else"])
def test_an_error_inside_scip_is_an_outcome(message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = pyo.ConcreteModel()
    solver = ScipBackEnd(model)

    def failing(model: object) -> None:
        raise Exception(message)  # what pyscipopt does

    monkeypatch.setattr(solver._solver, "solve", failing)
    if message.startswith("SCIP: "):
        outcome = solver.solve(1.0)
        assert outcome.status is SolveStatus.ERROR
        assert outcome.message == message
    else:
        with pytest.raises(Exception, match=message):
            solver.solve(1.0)
