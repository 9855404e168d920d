"""What a solver may say, in one vocabulary.

A back end solves a Pyomo model that minimises, loads the best point that it found into the model's
variables, and answers with an `Outcome`. Nothing it says is proof yet: bounds are passed on only where they
mean something.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite
from typing import Any, Protocol

from pyomo.contrib.solver.common.results import Results, SolutionStatus, TerminationCondition


class SolveStatus(StrEnum):
    """How far a solve came; each member carries its sentence for the user."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"
    LIMIT = "limit"
    ERROR = "error"

    @property
    def sentence(self) -> str:
        """What the status means, for a person."""
        return {
            SolveStatus.OPTIMAL: "the best assignment was found and shown to be best",
            SolveStatus.FEASIBLE: "an assignment was found; a better one is not ruled out",
            SolveStatus.INFEASIBLE: "no assignment meets every constraint and limit",
            SolveStatus.LIMIT: "the time limit came before any assignment was found",
            SolveStatus.ERROR: "the solver failed",
        }[self]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A solver's answer for a model that minimises."""

    status: SolveStatus
    objective: float
    """Of the loaded point; nan without one."""
    bound: float
    """Lower bound that the solver claims; -inf without one."""
    seconds: float
    message: str = ""


class BackEnd(Protocol):
    """A solver that keeps one model, so that solving again after a small change is cheap."""

    name: str
    linear_only: bool

    def solve(self, seconds: float | None) -> Outcome:
        """Solve the model as it now is, within so many seconds; loads the best point into its variables."""

    def update_bounds(self, variables: list[Any]) -> None:
        """Tell the solver that the bounds of these variables have changed."""

    def add(self, constraint: Any) -> None:
        """Tell the solver of a constraint that was added to the model."""

    def remove(self, constraint: Any) -> None:
        """Tell the solver that a constraint goes; call before deleting it from the model."""


_STATUS: dict[TerminationCondition, SolveStatus] = {
    TerminationCondition.convergenceCriteriaSatisfied: SolveStatus.OPTIMAL,
    TerminationCondition.maxTimeLimit: SolveStatus.LIMIT,
    TerminationCondition.iterationLimit: SolveStatus.LIMIT,
    TerminationCondition.objectiveLimit: SolveStatus.LIMIT,
    TerminationCondition.minStepLength: SolveStatus.ERROR,
    TerminationCondition.unbounded: SolveStatus.ERROR,
    TerminationCondition.provenInfeasible: SolveStatus.INFEASIBLE,
    TerminationCondition.locallyInfeasible: SolveStatus.ERROR,
    TerminationCondition.infeasibleOrUnbounded: SolveStatus.INFEASIBLE,
    TerminationCondition.error: SolveStatus.ERROR,
    TerminationCondition.interrupted: SolveStatus.LIMIT,
    TerminationCondition.licensingProblems: SolveStatus.ERROR,
    TerminationCondition.emptyModel: SolveStatus.ERROR,
    TerminationCondition.unknown: SolveStatus.ERROR,
}
"""Every model here has bounded objectives, so "infeasible or unbounded" is infeasible."""


def outcome_of(results: Results, seconds: float) -> Outcome:
    """Translate Pyomo's result and load its point; a limit with a point is `FEASIBLE`."""
    status = _STATUS[results.termination_condition]
    found = results.solution_status in (SolutionStatus.feasible, SolutionStatus.optimal)
    if status in (SolveStatus.LIMIT, SolveStatus.OPTIMAL) and found:
        results.solution_loader.load_vars()
        reached = SolveStatus.OPTIMAL if status is SolveStatus.OPTIMAL else SolveStatus.FEASIBLE
        return Outcome(reached, float(results.incumbent_objective), _bound(results), seconds)
    if status is SolveStatus.OPTIMAL:
        return Outcome(SolveStatus.ERROR, float("nan"), -inf, seconds, "optimal without a point")
    bound = _bound(results) if status is SolveStatus.LIMIT else -inf
    message = f"{results.solver_name}: {results.termination_condition.name}"
    return Outcome(status, float("nan"), bound, seconds, message)


def _bound(results: Results) -> float:
    bound = results.objective_bound
    return float(bound) if bound is not None and isfinite(bound) else -inf
