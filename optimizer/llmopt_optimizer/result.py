"""What a solve answers: the verified front, what was cut and why, and how far the proof reaches.

A `Result` is a status, the points that simulation confirmed, the points that it refused, and the record of
every round and every check. It carries no behaviour beyond looking things up: writing and printing it is the
work of `llmopt_optimizer.output`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from llmopt_optimizer.core.findings import Check, Relaxation
from llmopt_problems.deployment import Deployment


class Status(StrEnum):
    """How an answer may be read; each member carries its sentence for the user."""

    PROVEN = "proven"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"
    FAILED = "failed"

    @property
    def sentence(self) -> str:
        """What the status means, for a person."""
        return {
            Status.PROVEN: "The front is complete: nothing that was not simulated can be better.",
            Status.FEASIBLE: "The deployments are verified; a better one is not ruled out within the gap.",
            Status.INFEASIBLE: "No deployment in the search space meets every service level.",
            Status.FAILED: "No answer was reached; nothing is recommended.",
        }[self]


class Verdict(StrEnum):
    """What simulation said of one deployment."""

    VERIFIED = "verified"
    VIOLATED = "violated"
    UNDECIDED = "undecided"
    DOMINATED = "dominated"
    """Simulated once, and found no better than a verified deployment."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A simulated number with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Point:
    """One deployment: what the model predicted, what simulation measured, and the verdict.

    Metric names are `ttft_p95_s`, `tpot_mean_s`, `cost_per_million_output_tokens`, …: statistic and unit in
    the name, SI units, dollars.
    """

    deployment: Deployment
    predicted: Mapping[str, float]
    simulated: Mapping[str, Estimate]
    verdict: Verdict
    violated: tuple[str, ...] = ()
    """Service levels that simulation refuses, in the user's words."""
    binding: tuple[str, ...] = ()
    """Limits within 2% of their bound."""
    bound: float = float("nan")
    """Proven bound of the first objective for the box in which the point is optimal, in the metric's unit."""
    gap: float = float("nan")
    """Relative distance of the point's first objective from `bound`; 0 when proven optimal."""


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of the loop."""

    number: int
    proposed: int
    simulated: int
    verified: int
    largest_error: float
    """Largest relative difference between prediction and simulation among this round's proposals."""
    solve_seconds: float
    simulate_seconds: float


TRAFFIC = "traffic"
"""A number that the problem's traffic gives by itself."""
ASSUMED = "assumed until simulated"
"""A ratio that is taken to be one before the first simulation."""
SIMULATED = "simulated"
"""What simulation measured around the last proposals."""


@dataclass(frozen=True, slots=True)
class FrozenParameter:
    """A number that the expressions read and that only traffic or simulation can give."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    """SI unit of the number; `1` for a ratio."""
    meaning: str
    source: str
    """Where the number comes from: `TRAFFIC`, `ASSUMED` or `SIMULATED`."""


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to one problem."""

    problem_name: str
    status: Status
    message: str
    objectives: tuple[str, ...]
    """Metric names, the first one first."""
    senses: tuple[str, ...]
    """`minimize` or `maximize`, one an objective."""
    front: tuple[Point, ...] = ()
    """Verified, mutually nondominated points, sorted by the first objective."""
    cut: tuple[Point, ...] = ()
    """Simulated proposals that were refused."""
    rounds: tuple[Round, ...] = ()
    checks: tuple[Check, ...] = ()
    conflicts: tuple[str, ...] = ()
    """Infeasible problems: a set of limits that cannot hold together."""
    relaxations: tuple[Relaxation, ...] = ()
    frozen: tuple[FrozenParameter, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Accelerator / operator family to `measured`, `transferred` or `default`, with the source."""
    space_size: int = 0
    """Assignments of the whole search space."""
    seconds: float = 0.0
    gap: float = float("nan")
    """Largest gap over the front's points."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Declared units of the problem's own metrics, by name; the others have theirs in their names."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a solve is, told while it runs."""

    stage: str
    """What it is doing, in a few words: `round 2: simulating 3 of 7`."""
    fraction: float
    """Estimated part of the work that is done, 0 to 1; never goes back."""
