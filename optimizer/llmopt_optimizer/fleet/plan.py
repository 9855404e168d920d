"""A plan: which groups run where and when, what each serves, what that costs, and how far the proof reaches.

One result type answers every kind of problem that asks for more than one deployment. A cluster's plan has one
row a group; a fleet's has one row a group and time slot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmopt_optimizer.core.findings import Check
from llmopt_optimizer.result import Estimate, Status
from llmopt_problems.deployment import Deployment


@dataclass(frozen=True, slots=True)
class PlanRow:
    """Equal groups that run together."""

    group: str
    """Name of the deployment within the plan."""
    deployment: Deployment
    groups: int
    """How many of them run."""
    carried_per_s: Mapping[str, float]
    """Requests a second that one group carries when it serves one class alone, by class."""
    served_per_s: Mapping[str, float]
    """Requests a second that the plan gives to one group, by class."""
    usd_per_hour: float
    """Of all groups of the row, at the prices they have."""
    simulated: Mapping[str, Estimate]
    """What simulation says of one group under what it serves, by metric."""
    verified: bool
    """Whether every service level holds there with the asked confidence."""
    slot: str = ""
    region: str = ""
    tariff: str = ""

    @property
    def gpus(self) -> int:
        """Accelerators of all groups of the row."""
        return self.groups * self.deployment.gpus


@dataclass(frozen=True, slots=True)
class PlanResult:
    """The answer to a problem of many groups."""

    problem_name: str
    kind: str
    status: Status
    message: str
    objective: str
    """What was optimized: `requests_per_s`, `gpus`, `usd_per_hour` or `usd_per_day`."""
    sense: str
    """`minimize` or `maximize`."""
    value: float = float("nan")
    bound: float = float("nan")
    """No plan is better."""
    gap: float = float("nan")
    rows: tuple[PlanRow, ...] = ()
    conflicts: tuple[str, ...] = ()
    """Infeasible problems: demands and stocks that cannot hold together."""
    checks: tuple[Check, ...] = ()
    replicated: float = float("nan")
    """What the objective would be with groups of one shape only, on every accelerator type; nan where that
    was not looked at."""
    measured_groups: int = 0
    """Groups whose capacity simulation measured."""
    simulated: int = 0
    """Further deployments simulated to rule them out."""
    seconds: float = 0.0
    facts: Mapping[str, float] = field(default_factory=dict)
    """Totals of the plan, by name with unit."""
