"""The ledger: what the loop has found so far, and what is left to find.

A ledger is a value: each step of the loop takes one and gives the next, so that whoever stops the loop, at
any time, holds a consistent one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llmopt_optimizer.bounds.openings import Openings, potentials
from llmopt_optimizer.bounds.optimism import Optimism
from llmopt_optimizer.bounds.roles import Floats
from llmopt_optimizer.core.dominance import nondominated as nondominated_rows
from llmopt_optimizer.core.findings import Check
from llmopt_optimizer.core.hypervolume import hypervolume
from llmopt_optimizer.core.pareto import Front, FrontPoint
from llmopt_optimizer.core.program import Objective
from llmopt_optimizer.frozen import Frozen
from llmopt_optimizer.loop.trials import Trial, nondominated, verified
from llmopt_optimizer.result import Progress, Round

Tell = Callable[[Progress], None]
MOST_POINTS = 400
"""Points of three objectives and more up to which a hypervolume is worked out."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the rounds so far have found."""

    frozen: Frozen
    trials: tuple[Trial, ...] = ()
    rounds: tuple[Round, ...] = ()
    front: Front | None = None
    """The last front of untried deployments."""
    open_points: tuple[FrontPoint, ...] = ()
    """Untried proposals of that front that no verified deployment matches."""
    openings: Openings | None = None
    """Deployments that were not simulated and may be better than the verified front; None: not known yet."""
    audited: int = 0
    """Deployments simulated because their bounds left them open."""
    timed_out: bool = False
    opinions: tuple[Check, ...] = ()
    """What other solvers say of the master's answers."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left that could be better by more than the tolerance."""
        return self.openings is not None and not len(self.openings) and not self.openings.uncounted


def front_costs(trials: Sequence[Trial], objectives: Sequence[Objective]) -> Floats:
    """Signed costs of the verified front, shape (f, objectives)."""
    best = nondominated(verified(trials), objectives)
    costs = [trial.costs(objectives) for trial in best]
    return np.array(costs, dtype=np.float64).reshape(len(costs), len(objectives))


def opened(optimism: Optimism, ledger: Ledger, tolerance: float) -> Ledger:
    """The ledger with everything that may be better than what is verified."""
    objectives = optimism.program.objectives
    found = optimism.openings(front_costs(ledger.trials, objectives), tolerance)
    return narrowed(replace(ledger, openings=found), objectives, tolerance)


def narrowed(ledger: Ledger, objectives: Sequence[Objective], tolerance: float) -> Ledger:
    """The ledger without the openings that were simulated or that the verified front leaves no room for."""
    left = ledger.openings
    if left is None or not len(left):
        return ledger
    keep = potentials(left.costs, front_costs(ledger.trials, objectives)) > tolerance
    keep[left.positions([trial.assignment for trial in ledger.trials])] = False
    return replace(ledger, openings=left.take(keep))


def gap_of(ledger: Ledger, objectives: Sequence[Objective]) -> float:
    """Largest relative improvement that something not simulated may be; nan when nothing is known."""
    left = ledger.openings
    best = front_costs(ledger.trials, objectives)
    if left is None or not len(best):
        return float("nan")
    return float(max([left.uncounted, *potentials(left.costs, best)]))


def missing_of(ledger: Ledger, objectives: Sequence[Objective]) -> float:
    """At most this share of the hypervolume is missing from the verified front; 0 when nothing is left open.

    What is left open is taken at its bounds. Volumes reach to a tenth beyond the worst costs of both; nan
    when nothing is known, nothing is verified, or there are too many points for three objectives and more.
    """
    left, front = ledger.openings, front_costs(ledger.trials, objectives)
    if left is None or left.uncounted or not len(front):
        return float("nan")
    best = left.costs[nondominated_rows(left.costs)]
    both = np.concatenate([front, best])
    if both.shape[1] > 2 and len(both) > MOST_POINTS:
        return float("nan")
    reference = both.max(axis=0) + 0.1 * np.maximum(np.ptp(both, axis=0), 1e-9 * np.abs(both).max(axis=0))
    whole = hypervolume(both, reference)
    return 1.0 - hypervolume(front, reference) / whole if whole > 0 else 0.0
