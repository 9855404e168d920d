"""The direct route: the original expressions as mixed-integer nonlinear models, one a choice of variants.

Nothing is tabulated beforehand: decisions are one-hot factors, states and attributes are continuous
variables with their defining equations, and the reductions of `NONLINEAR_CHAIN` do the rest. It serves
spaces that are too large to tabulate, and as a second opinion. A solver that finds another root of a state
than the smallest, or that claims too much, is found out by `certify`; points that the exact expressions value
otherwise are cut off and the model solved again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import product
from math import inf, nan

from .certify import certified
from .deadline import DeadlineError, check_deadline, remaining_seconds
from .direct_model import DirectModel, NothingAllowed, build_direct
from .evaluation import EvaluationError, evaluate
from .preparation import CompiledProgram, compile_program, tabulate_program
from .program import TOLERANCE, Assignment, Program, System, Variant
from .solution import SolveResult
from .solvers.outcome import Outcome, SolveStatus

DIRECT = "direct"
MOST_CUTS = 20
AGREEMENT = 1e-6
"""Relative difference of the solver's bound and the exact cost that counts as none."""
TABULATED_ROWS = 20_000_000
"""Pools up to this size are tabulated for the certificate."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The answer of one model; cost and bound are signed, infinite where there is none."""

    status: SolveStatus
    assignment: Assignment | None
    cost: float
    bound: float
    message: str


def solve_direct(
    program: Program,
    compiled: CompiledProgram | None = None,
    seconds: float | None = None,
    check: bool = True,
) -> SolveResult:
    """The best assignment by SCIP; raises `NotTranslatable` naming a node that no reduction takes.

    Where pools are too large to tabulate, optimality is not checked and the status is at most `FEASIBLE`.
    """
    start = time.monotonic()
    deadline = None if seconds is None else start + seconds
    program = program.with_objectives(program.objectives[0])
    parts = [
        _solve_variants(program, system, variants, deadline)
        for system in program.systems
        for variants in product(*(pool.variants for pool in system.pools))
    ]
    result = _merged(program, parts, start)
    return _checked(program, compiled, result, deadline) if check else result


def _solve_variants(
    program: Program, system: System, variants: tuple[Variant, ...], deadline: float | None
) -> _Part:
    try:
        check_deadline(deadline)
        return _solve_model(program, build_direct(program, system, variants), deadline)
    except DeadlineError as error:
        return _Part(SolveStatus.LIMIT, None, inf, -inf, str(error))
    except NothingAllowed as error:
        return _Part(SolveStatus.INFEASIBLE, None, inf, inf, str(error))


def _solve_model(program: Program, direct: DirectModel, deadline: float | None) -> _Part:
    """Solve, and cut off what the exact expressions value otherwise, until nothing better can be left.

    An answer that the solver took for another root of a state, or for feasible within its tolerance, is
    remembered at its exact cost and excluded.
    """
    best: tuple[float, Assignment | None] = (inf, None)
    outcome = direct.solver.solve(remaining_seconds(deadline))
    for _ in range(MOST_CUTS):
        if outcome.status not in (SolveStatus.OPTIMAL, SolveStatus.FEASIBLE):
            break
        assignment = direct.assignment()
        cost = _exact_cost(program, assignment)
        best = min(best, (cost, assignment), key=lambda pair: pair[0])
        bound = outcome.bound / direct.scale
        if best[0] <= bound + AGREEMENT * abs(bound) or outcome.status is SolveStatus.FEASIBLE:
            break
        direct.cut(assignment)
        outcome = direct.solver.solve(remaining_seconds(deadline))
    return _part(outcome, best, direct.scale)


def _part(outcome: Outcome, best: tuple[float, Assignment | None], scale: float) -> _Part:
    """What the last outcome and the best assignment found say together."""
    cost, assignment = best
    if outcome.status is SolveStatus.INFEASIBLE:
        status = SolveStatus.INFEASIBLE if assignment is None else SolveStatus.OPTIMAL
        return _Part(status, assignment, cost, cost, outcome.message)
    bound = min(outcome.bound / scale, cost)
    closed = outcome.status is SolveStatus.OPTIMAL and cost <= bound + AGREEMENT * abs(bound)
    if assignment is None:
        status = SolveStatus.ERROR if outcome.status is SolveStatus.ERROR else SolveStatus.LIMIT
    else:
        status = SolveStatus.OPTIMAL if closed else SolveStatus.FEASIBLE
    return _Part(status, assignment, cost, bound, outcome.message)


def _exact_cost(program: Program, assignment: Assignment) -> float:
    """The signed cost at 30 digits; infinite when the assignment is infeasible or excluded."""
    try:
        evaluation = evaluate(program, assignment)
    except EvaluationError:
        return inf
    holds = all(margin <= TOLERANCE for margin in evaluation.margins.values())
    if not holds or assignment in program.excluded:
        return inf
    return program.objectives[0].sign * float(evaluation.metrics[program.objectives[0].metric])


def _merged(program: Program, parts: list[_Part], start: float) -> SolveResult:
    """The best of the models' answers; its bound is the lowest of theirs."""
    sign = program.objectives[0].sign
    statuses = {part.status for part in parts}
    found = [part for part in parts if part.cost < inf]
    seconds = time.monotonic() - start
    message = "; ".join(sorted({part.message for part in parts if part.message}))
    if not found:
        order = (SolveStatus.ERROR, SolveStatus.LIMIT, SolveStatus.INFEASIBLE)
        status = next(status for status in order if status in statuses)
        bound = min(part.bound for part in parts) if status is SolveStatus.LIMIT else -inf
        return SolveResult(status, None, nan, bound * sign, seconds, DIRECT, message=message)
    best = min(found, key=lambda part: part.cost)
    bound = min(part.bound for part in parts)
    closed = statuses <= {SolveStatus.OPTIMAL, SolveStatus.INFEASIBLE}
    status = SolveStatus.OPTIMAL if closed else SolveStatus.FEASIBLE
    bound = best.cost if closed else min(bound, best.cost)
    return SolveResult(
        status, best.assignment, sign * best.cost, sign * bound, seconds, DIRECT, message=message
    )


def _checked(
    program: Program, compiled: CompiledProgram | None, result: SolveResult, deadline: float | None
) -> SolveResult:
    """Certified by the columns where they are small enough, else not called optimal."""
    sizes = [pool.size for system in program.systems for pool in system.pools]
    unchecked = "optimality is the solver's word only: the pools are too large to tabulate in the time"
    if max(sizes) <= TABULATED_ROWS:
        try:
            tabulated = tabulate_program(
                compiled or compile_program(program), program.parameters, deadline=deadline
            )
            return certified(program, tabulated, result, deadline)
        except DeadlineError:
            pass
    if result.status is not SolveStatus.OPTIMAL:
        return result
    return replace(result, status=SolveStatus.FEASIBLE, message=unchecked)
