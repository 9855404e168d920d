"""A second route's opinion of an answer: the direct route with SCIP beside the columns with HiGHS.

The routes share the program and nothing of how they translate it. Only a witness counts against an answer:
an assignment that SCIP found, that is feasible and better at 30 digits. Where SCIP claims an optimum or
infeasibility that the answer's own assignment refutes, the error is SCIP's, and there is no opinion; nor is
there one where SCIP cannot translate the program or does not finish.
"""

from __future__ import annotations

from math import inf, isfinite

from .certify import points_checks
from .direct import AGREEMENT, solve_direct
from .findings import Check
from .program import Program
from .solution import SolveResult
from .solvers.outcome import SolveStatus
from .translation.scope import NotTranslatable

NAME = "second route (SCIP)"
NO_OPINION = f"{NAME}: no opinion"


def second_opinion(program: Program, result: SolveResult, seconds: float) -> Check:
    """Whether SCIP confirms an answer for the program's first objective within so many seconds.

    The check fails only on a verified better assignment (or any, where the answer is that there is none);
    it is called "no opinion", with the reason, where SCIP neither confirms nor refutes.
    """
    if result.status not in (SolveStatus.OPTIMAL, SolveStatus.INFEASIBLE):
        return _none(f"the first route's answer is {result.status}: nothing is claimed to be best")
    try:
        other = solve_direct(program, None, seconds, check=False)
    except NotTranslatable as error:
        return _none(str(error))
    return _compared(program, result, other)


def _compared(program: Program, result: SolveResult, other: SolveResult) -> Check:
    sign = program.objectives[0].sign
    mine = sign * result.objective if result.assignment is not None else inf
    theirs = sign * other.objective if other.assignment is not None else inf
    numbers = f"{result.route} {_number(mine * sign)}, SCIP {_number(theirs * sign)}"
    if theirs < mine and not _close(theirs, mine) and _feasible(program, other):
        return Check(NAME, False, f"SCIP found a better assignment: {numbers}")
    if other.status not in (SolveStatus.OPTIMAL, SolveStatus.INFEASIBLE):
        left = f", bound {_number(other.bound)}" if abs(other.bound) < inf else ""
        reason = f" ({other.message})" if other.message else ""
        return _none(f"SCIP did not finish in {other.seconds:.0f} s{reason}: {numbers}{left}")
    if not _close(theirs, mine):
        return _none(f"SCIP overlooked the first route's assignment, which is feasible and better: {numbers}")
    return Check(NAME, True, f"{numbers}, in {other.seconds:.1f} s")


def _none(why: str) -> Check:
    return Check(NO_OPINION, True, why)


def _feasible(program: Program, other: SolveResult) -> bool:
    return other.assignment is not None and all(
        check.passed for check in points_checks(program, (other.assignment,))[0]
    )


def _close(a: float, b: float) -> bool:
    return a == b or (isfinite(a) and isfinite(b) and abs(a - b) <= AGREEMENT * max(abs(a), abs(b)))


def _number(value: float) -> str:
    return "none" if abs(value) == inf else f"{value:.9g}"
