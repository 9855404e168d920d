"""Wrong answers are found out: every tampering with a result lowers its status."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mpmath import mp, mpf
from sympy import Integer, Max, Mod, Piecewise, Rational, Symbol, ceiling, floor

from llmopt_optimizer.core.certify import certified
from llmopt_optimizer.core.direct import solve_direct
from llmopt_optimizer.core.evaluation import EvaluationError, evaluate, evaluate_all
from llmopt_optimizer.core.exact import precise_value
from llmopt_optimizer.core.preparation import Tabulated, compile_program, tabulate_program
from llmopt_optimizer.core.program import (
    Assignment,
    Choice,
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
from llmopt_optimizer.core.solution import SolveResult
from llmopt_optimizer.core.solvers.outcome import SolveStatus
from llmopt_optimizer.core.solving import solve
from llmopt_optimizer.core.translation.scope import NotTranslatable

N, B, X, COST, STEP = (Symbol(name, positive=True) for name in ("n", "b", "x", "cost", "step"))


def program(**extra: object) -> Program:
    """Accelerators n, batch b; the step solves x = 1 + b x / (8 n); cost n/b, step at most 3."""
    decisions = (Decision(N, (1, 2, 4, 8)), Decision(B, tuple(range(1, 33))))
    state = State(X, 1 + B * X / (8 * N), Integer(1), Integer(50))
    variant = Variant("v", decisions, {COST: N / B, STEP: X}, (state,), (Constraint("cap", B - 4 * N),))
    system = System("s", (Pool("pool", (variant,)),), {"cost": COST, "step": STEP})
    limits = (Limit("step", "at_most", 1.6, "TPOT"),)
    return Program((system,), (Objective("cost"),), limits, **extra)  # type: ignore[arg-type]


def tabulated(of: Program) -> Tabulated:
    return tabulate_program(compile_program(of), of.parameters)


def assignment(n: int, b: int) -> Assignment:
    return Assignment("s", (Choice("pool", "v", (("n", n), ("b", b))),))


def failed(result: SolveResult) -> list[str]:
    return [check.name for check in result.checks if not check.passed]


def test_the_true_optimum_passes_every_check() -> None:
    # x = 1/(1 - b/8n) <= 1.6 means b/n <= 3: the best is b = 3n
    result = solve(program())
    assert result.status is SolveStatus.OPTIMAL
    assert result.objective == pytest.approx(1 / 3, rel=1e-12)
    assert result.metrics["step"] == pytest.approx(1.6, rel=1e-12)
    assert failed(result) == []
    assert {"enumeration", "two-decision neighbourhood"} <= {check.name for check in result.checks}


@pytest.mark.parametrize(
    ("change", "status", "check"),
    [
        ({"objective": 0.3}, SolveStatus.FEASIBLE, "objective at 30 digits"),
        ({"assignment": assignment(2, 8)}, SolveStatus.ERROR, "constraints and limits"),
        ({"assignment": assignment(8, 33)}, SolveStatus.ERROR, "evaluation at 30 digits"),
        (
            {"assignment": assignment(1, 2), "objective": 0.5},
            SolveStatus.FEASIBLE,
            "two-decision neighbourhood",
        ),
        ({"assignment": assignment(1, 2), "objective": 0.5}, SolveStatus.FEASIBLE, "enumeration"),
        ({"assignment": None, "status": SolveStatus.INFEASIBLE}, SolveStatus.ERROR, "enumeration"),
    ],
)
def test_tampered_results_lose_their_status(
    change: dict[str, object], status: SolveStatus, check: str
) -> None:
    honest = solve(program(), check=False)
    result = certified(program(), tabulated(program()), replace(honest, **change))  # type: ignore[arg-type]
    assert result.status is status
    assert check in failed(result)
    if status is SolveStatus.FEASIBLE:
        assert result.bound == float("-inf")


def test_an_excluded_assignment_is_an_error() -> None:
    honest = solve(program(), check=False)
    assert honest.assignment is not None
    cut = program(excluded=frozenset({honest.assignment}))
    result = certified(cut, tabulated(cut), honest)
    assert result.status is SolveStatus.ERROR
    assert failed(result) == ["not excluded"]


def test_states_are_solved_to_thirty_digits() -> None:
    evaluation = evaluate(program(), assignment(4, 4))
    with mp.workdps(30):
        assert abs(evaluation.metrics["step"] - mpf(8) / 7) < mpf(10) ** -24
    assert evaluation.smallest == {"pool.x": True}


def test_many_assignments_are_judged_as_each_alone() -> None:
    """Good ones, one that breaks a limit, one outside its domain, one of an unknown system, one twice."""
    pairs = [(1, 2), (4, 4), (8, 1), (1, 32), (3, 1), (4, 4)]
    listed = [assignment(n, b) for n, b in pairs] + [Assignment("other", assignment(1, 1).choices)]
    together = evaluate_all(program(), listed)
    for each, found in zip(listed, together, strict=True):
        if isinstance(found, EvaluationError):
            with pytest.raises(EvaluationError, match=str(found)):
                evaluate(program(), each)
        else:
            assert found == evaluate(program(), each)
    assert [isinstance(found, EvaluationError) for found in together] == [False] * 3 + [True] * 2 + [
        False,
        True,
    ]


def test_a_state_beyond_its_bound_has_no_value() -> None:
    variant = program().systems[0].pools[0].variants[0]
    tight = replace(variant, states=(replace(variant.states[0], upper=Rational(11, 10)),))
    pool = Pool("pool", (tight,))
    with pytest.raises(EvaluationError, match="no root"):
        evaluate(Program((System("s", (pool,), {"cost": COST}),), (Objective("cost"),)), assignment(1, 4))


def test_precise_values_need_no_numpy() -> None:
    with mp.workdps(30):
        value = precise_value(
            Piecewise((Max(N / 3, 1), N < 5), (ceiling(N * Rational(2, 3)), True)), {N: mpf(4)}
        )
        assert abs(value - mpf(4) / 3) < mpf(10) ** -28
        assert precise_value(floor(N / 3) + Mod(N, 4), {N: mpf(7)}) == 5


def test_direct_route_finds_the_same_optimum() -> None:
    result = solve_direct(program(), seconds=30)
    assert result.status is SolveStatus.OPTIMAL, result
    assert result.objective == pytest.approx(1 / 3, rel=1e-9)


def test_direct_route_names_the_node_that_it_cannot_translate() -> None:
    variant = replace(program().systems[0].pools[0].variants[0], attributes={COST: Mod(X, 2), STEP: X})
    system = System("s", (Pool("pool", (variant,)),), {"cost": COST})
    with pytest.raises(NotTranslatable, match="Mod node"):
        solve_direct(Program((system,), (Objective("cost"),)))
