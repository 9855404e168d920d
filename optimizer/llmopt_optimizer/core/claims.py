"""What a solver says of its own point, held against exact numbers before anything is built on it.

A point must be integral: rounded, exactly one system is present, and it picks exactly one row of each of its
pools. Its objective must be that of its point, and the bound of an optimum its objective. A claim that fails
is an error of the solver, or leaves the point without a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, isfinite

from .solvers.outcome import Outcome, SolveStatus

INTEGRALITY = 1e-5
"""Largest distance of a binary from the whole number that it is taken for."""
AGREEMENT = 1e-6
"""Largest relative difference of a claimed and an exact objective, and of a bound and its optimum."""


def integral_fault(present: Sequence[float], factors: Sequence[Sequence[Sequence[float]]]) -> str:
    """Why values of the binaries are no choice; empty when they are one.

    `present` has a value for each system, `factors` one for each row of each pool of each system. Sums are
    taken of the rounded numbers, so they are exact.
    """
    every = [*present, *(value for pools in factors for rows in pools for value in rows)]
    if not all(isfinite(value) for value in every):
        return "a binary is no finite number"
    off = max(abs(value - round(value)) for value in every)
    if off > INTEGRALITY:
        return f"a binary is {off:.2g} away from a whole number"
    chosen = [round(value) for value in present]
    if sorted(set(chosen)) not in ([0, 1], [1]) or sum(chosen) != 1:
        return f"{sum(chosen)} systems are present"
    for system, pools in zip(chosen, factors, strict=True):
        if any(sum(map(round, rows)) != system or min(map(round, rows)) < 0 for rows in pools):
            return "a pool has no row, or several"
    return ""


def judged(outcome: Outcome, objective: float, magnitude: float) -> Outcome:
    """The outcome of a point of known exact objective; `magnitude` is that of the costs it sums."""
    slack = AGREEMENT * (magnitude + abs(objective))
    if not abs(outcome.objective - objective) <= slack:
        message = f"the solver claims {outcome.objective:.9g} for a point of {objective:.9g}"
        return replace(outcome, status=SolveStatus.ERROR, bound=-inf, message=message)
    if outcome.bound <= objective + slack and (
        outcome.status is not SolveStatus.OPTIMAL or outcome.bound >= objective - slack
    ):
        return outcome
    message = f"the solver's bound {outcome.bound:.9g} is not that of its objective {objective:.9g}"
    return replace(outcome, status=SolveStatus.FEASIBLE, bound=-inf, message=message)
