"""What an explanation holds: numbers and names, no text.

Prices and sensitivities are those of the expressions with the parameters that simulation measured; everything
about today's deployment and about refusals is simulated.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmopt_optimizer.core.findings import Relaxation
from llmopt_optimizer.result import Estimate
from llmopt_problems.deployment import Deployment


@dataclass(frozen=True, slots=True)
class Price:
    """What one service level costs in the first objective, by solving again with the level moved."""

    level: str
    asked: float
    unit: str
    reached: float
    """Simulated at the recommended deployment."""
    binding: bool
    now: float | None
    """The best objective with the level as asked; None where nothing is feasible."""
    tighter: float | None
    """With a level that is harder by `moved`."""
    looser: float | None
    """With a level that is easier by `moved`."""
    without: float | None
    """Without the level."""
    moved: float
    """Relative change of the level."""

    @property
    def shadow_price(self) -> float | None:
        """Objective gained for one unit of the level, between the asked and the easier one."""
        if self.now is None or self.looser is None or not self.asked:
            return None
        return abs(self.looser - self.now) / (self.moved * abs(self.asked))


@dataclass(frozen=True, slots=True)
class Step:
    """A metric after one decision or parameter is moved; None where no such deployment is feasible."""

    to: float
    metric: float | None


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How one metric of the recommended deployment answers to one decision or frozen parameter."""

    metric: str
    of: str
    decision: bool
    value: float
    """Of the decision or parameter."""
    at_value: float
    """The metric there."""
    lower: Step | None
    upper: Step | None
    """Decisions: their next values. Parameters: steps of a thousandth, for the elasticity."""
    elasticity: float | None
    """Relative change of the metric over that of a parameter, from the two steps; None for decisions."""
    slope: float | None
    """The derivative of the metric's expression, a decision taken as continuous; None where it has none."""

    @property
    def exact_elasticity(self) -> float | None:
        """The elasticity by the derivative instead of the steps."""
        if self.slope is None or not self.at_value:
            return None
        return self.slope * self.value / self.at_value


@dataclass(frozen=True, slots=True)
class Rival:
    """A deployment that was not recommended."""

    deployment: Deployment
    objective: float
    """The first objective: simulated where it was simulated, else as the expressions predict it."""
    simulated: bool
    verdict: str
    """`verified`, `violated`, `undecided`, or `not simulated`."""
    lost: tuple[str, ...]
    """The levels that it misses; empty where it only has a worse objective."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of the recommended deployment beside today's, both simulated."""

    metric: str
    best: Estimate
    today: Estimate


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a result is what it is."""

    problem_name: str
    status: str
    objective: str
    best: Deployment | None
    prices: tuple[Price, ...] = ()
    sensitivities: tuple[Sensitivity, ...] = ()
    rivals: tuple[Rival, ...] = ()
    conflicts: tuple[str, ...] = ()
    relaxations: tuple[Relaxation, ...] = ()
    today: Deployment | None = None
    comparison: tuple[Comparison, ...] = ()
    today_misses: tuple[str, ...] = ()
    """Levels that today's deployment does not keep."""
