"""Is the answer what the solver says it is? Checks from first principles, none of which asks a solver.

Feasibility: values lie in their domains, the assignment is not excluded, and states, constraints and limits
hold when the original expressions are evaluated at 30 digits. Optimality: no assignment that differs in one
or two decisions is better, and where the joint space is small enough, none at all. An answer that fails a
feasibility check is an `ERROR`; one that fails an optimality check is at most `FEASIBLE`, without a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

from .enumeration import enumerate_front
from .evaluation import Evaluation, EvaluationError, evaluate_all
from .findings import Check
from .preparation import Tabulated, unpruned_table
from .program import TOLERANCE, Assignment, Program
from .refuter import best_neighbour
from .solution import SolveResult
from .solvers.outcome import SolveStatus

ENUMERATION_CELLS = 1_000_000
AGREEMENT = 1e-9
"""Relative difference allowed between 30-digit values and those that the route reported."""


def certified(
    program: Program, tabulated: Tabulated, result: SolveResult, deadline: float | None = None
) -> SolveResult:
    """The result with its checks, its metrics at 30 digits, and a status that the checks support.

    `tabulated` must hold the columns of the program without pruning.
    """
    assignment = result.assignment
    if assignment is None:
        return _without_assignment(program, tabulated, result, deadline)
    checks, metrics = _feasibility(program, assignment, evaluate_all(program, (assignment,))[0])
    result = replace(result, checks=tuple(checks), metrics=metrics)
    if not all(check.passed for check in checks):
        return replace(result, status=SolveStatus.ERROR, message="the assignment fails a check")
    cost = program.objectives[0].sign * metrics[program.objectives[0].metric]
    value = _agreement(result.objective, metrics[program.objectives[0].metric])
    optimality = _optimality(program, tabulated, assignment, cost, deadline)
    return _judged(replace(result, checks=(*checks, value, *optimality)), program)


def _judged(result: SolveResult, program: Program) -> SolveResult:
    """An optimum that a check refutes is only feasible, and its bound proves nothing."""
    if result.status is not SolveStatus.OPTIMAL or all(check.passed for check in result.checks):
        return result
    message = "the solver's claim of optimality fails a check"
    bound = -inf * program.objectives[0].sign
    return replace(result, status=SolveStatus.FEASIBLE, bound=bound, message=message)


def points_checks(program: Program, assignments: Sequence[Assignment]) -> list[list[Check]]:
    """The feasibility checks of each assignment."""
    found = zip(assignments, evaluate_all(program, assignments), strict=True)
    return [_feasibility(program, assignment, evaluation)[0] for assignment, evaluation in found]


def _feasibility(
    program: Program, assignment: Assignment, evaluation: Evaluation | EvaluationError
) -> tuple[list[Check], dict[str, float]]:
    if isinstance(evaluation, EvaluationError):
        return [Check("evaluation at 30 digits", False, str(evaluation))], {}
    checks = [
        Check("evaluation at 30 digits", True, f"{len(evaluation.metrics)} metrics"),
        Check("not excluded", assignment not in program.excluded, f"{len(program.excluded)} exclusions"),
        _states_check(evaluation),
        _margins_check(evaluation),
    ]
    return checks, {name: float(value) for name, value in evaluation.metrics.items()}


def _states_check(evaluation: Evaluation) -> Check:
    failed = [name for name, smallest in evaluation.smallest.items() if not smallest]
    detail = f"not shown to be smallest roots: {failed}" if failed else f"{len(evaluation.smallest)} states"
    return Check("states are smallest roots", not failed, detail)


def _margins_check(evaluation: Evaluation) -> Check:
    failed = {name: float(margin) for name, margin in evaluation.margins.items() if not margin <= TOLERANCE}
    detail = f"relative violation {failed}" if failed else f"{len(evaluation.margins)} hold"
    return Check("constraints and limits", not failed, detail)


def _agreement(reported: float, value: float) -> Check:
    error = abs(reported - value) / max(abs(value), 1e-300) if reported != value else 0.0
    return Check("objective at 30 digits", error <= AGREEMENT, f"relative difference {error:.1e}")


def _optimality(
    program: Program, tabulated: Tabulated, assignment: Assignment, cost: float, deadline: float | None
) -> list[Check]:
    best = best_neighbour(program, tabulated, assignment)
    refuted = best < cost - TOLERANCE * abs(cost)
    checks = [Check("two-decision neighbourhood", not refuted, f"best neighbour {best:g}, claimed {cost:g}")]
    optimum = _enumerated_optimum(program, tabulated, deadline)
    if optimum is not None:
        passed = abs(optimum - cost) <= TOLERANCE * abs(cost)
        checks.append(Check("enumeration", passed, f"optimum {optimum:g}, claimed {cost:g}"))
    return checks


def _enumerated_optimum(program: Program, tabulated: Tabulated, deadline: float | None) -> float | None:
    """The smallest signed cost of all feasible assignments, inf without any; None if not computed."""
    tables = tuple(unpruned_table(tabulated, index, program) for index in range(len(tabulated.columns)))
    if sum(table.size for table in tables) > ENUMERATION_CELLS:
        return None
    front, finished = enumerate_front(program, tables, deadline)
    return (front[0].costs[0] if front else inf) if finished else None


def _without_assignment(
    program: Program, tabulated: Tabulated, result: SolveResult, deadline: float | None
) -> SolveResult:
    """A claim of infeasibility is compared with enumeration."""
    if result.status is not SolveStatus.INFEASIBLE:
        return result
    optimum = _enumerated_optimum(program, tabulated, deadline)
    if optimum is None:
        return result
    check = Check("enumeration", optimum == inf, f"best signed cost {optimum:g}")
    status = SolveStatus.INFEASIBLE if check.passed else SolveStatus.ERROR
    return replace(result, status=status, checks=(check,))
