"""What one solve answers: a status, an assignment in the caller's words, a bound, and the checks that ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, nan

from .findings import Check
from .program import Assignment
from .solvers.outcome import SolveStatus


@dataclass(frozen=True, slots=True)
class SolveResult:
    """The answer to a program with one objective, whichever route gave it.

    `objective` and `bound` are in the metric's unit and sense: the bound lies below the objective of a
    minimisation and above that of a maximisation, infinite when nothing is proven.
    """

    status: SolveStatus
    assignment: Assignment | None
    objective: float
    bound: float
    seconds: float
    route: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics of the assignment that the program's objectives and limits read."""
    checks: tuple[Check, ...] = ()
    message: str = ""

    @property
    def gap(self) -> float:
        """Relative distance of objective and bound, zero when proven; nan without both."""
        return relative_gap(self.objective, self.bound)


def relative_gap(objective: float, bound: float) -> float:
    """|objective - bound| over |objective|; nan when either is not finite."""
    if not (isfinite(objective) and isfinite(bound)):
        return nan
    return abs(objective - bound) / max(abs(objective), 1e-300) if objective != bound else 0.0
