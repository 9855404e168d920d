"""The loop: propose, simulate, re-measure, until nothing untried is predicted to be better.

Each round solves the program without the deployments tried so far, for the complete front of what the
expressions believe of the rest. Proposals that no verified deployment matches within `AGREEMENT` are
simulated, and the frozen parameters are re-measured at everything simulated. The loop ends when no such
proposal is left: then the bound of all untried deployments is within `AGREEMENT` of the verified front, as
far as the expressions go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llmopt_optimizer.core.pareto import Front, FrontPoint
from llmopt_optimizer.core.program import Assignment, Objective
from llmopt_optimizer.core.solvers.outcome import SolveStatus
from llmopt_optimizer.frozen import Frozen
from llmopt_optimizer.loop.refit import remeasured
from llmopt_optimizer.loop.siblings import refused_siblings, settled_siblings
from llmopt_optimizer.loop.study import Study, pilots
from llmopt_optimizer.loop.trials import Trial, covers, judged, verified
from llmopt_optimizer.result import Progress, Round, Verdict

AGREEMENT = 0.01
"""Relative improvement below which a prediction is not worth a simulation: the noise of both."""
MOST_PER_ROUND = 16
"""Proposals simulated in one round; a larger front is sampled evenly."""

Tell = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the rounds so far have found."""

    frozen: Frozen
    trials: tuple[Trial, ...]
    rounds: tuple[Round, ...]
    front: Front | None
    """The last front of untried deployments."""
    open_points: tuple[FrontPoint, ...]
    """Untried proposals of that front that no verified deployment matches."""
    implied: frozenset[Assignment] = frozenset()
    """Siblings of refused deployments that are refused with them."""
    timed_out: bool = False

    @property
    def finished(self) -> bool:
        """Whether the last front was complete and holds nothing worth trying."""
        return self.front is not None and self.front.complete and not self.open_points


def run_rounds(study: Study, frozen: Frozen, deadline: float, tell: Tell) -> Ledger:
    """Turn the loop until it ends by itself, by the round limit or at `deadline` (monotonic seconds)."""
    tell(Progress("measuring pilots", 0.05))
    ledger = Ledger(frozen, (), (), None, ())
    tried = pilots(study, frozen, _left(deadline))
    ledger = _simulated(study, ledger, tried, lambda done, total: _tell_share(tell, 0, done, total))
    for number in range(1, study.scenario.problem.verification.max_rounds + 1):
        if time.monotonic() >= deadline:
            return replace(ledger, timed_out=True)
        tell(Progress(f"round {number}: solving", _fraction(number, 0.0)))
        ledger = _turn(study, ledger, number, deadline, tell)
        if not ledger.open_points:
            return replace(ledger, timed_out=not ledger.finished and time.monotonic() >= deadline)
    return _reopened(study, ledger, deadline)


def _turn(study: Study, ledger: Ledger, number: int, deadline: float, tell: Tell) -> Ledger:
    """One round: solve, and simulate what is worth it."""
    started = time.monotonic()
    ledger = _proposed(study, ledger, deadline)
    solved = time.monotonic()
    chosen = _spread_out([point.assignment for point in ledger.open_points])
    known = len(ledger.trials)
    ledger = _simulated(
        study, ledger, chosen, lambda done, total: _tell_share(tell, number, done, total), deadline
    )
    new = ledger.trials[known:]
    record = Round(
        number=number,
        proposed=len(ledger.front.points) if ledger.front else 0,
        simulated=len(new),
        verified=len(verified(new)),
        largest_error=_largest_error(study, ledger, new),
        solve_seconds=solved - started,
        simulate_seconds=time.monotonic() - solved,
    )
    return replace(ledger, rounds=(*ledger.rounds, record))


def _proposed(study: Study, ledger: Ledger, deadline: float) -> Ledger:
    """The front of what is not settled, and the part of it that is worth simulating.

    Points that their simulated siblings show to be no better than a verified deployment are settled without a
    simulation, and the front is found again without them.
    """
    while True:
        settled = ledger.implied | {trial.assignment for trial in ledger.trials}
        front = study.front(ledger.frozen, settled, _left(deadline))
        hopeful = promising(front, ledger.trials, study.program.objectives)
        hopeless = frozenset[Assignment]().union(*(_settled_by_siblings(study, ledger, p) for p in hopeful))
        worth = tuple(point for point in hopeful if point.assignment not in hopeless)
        ledger = replace(ledger, front=front, open_points=worth, implied=ledger.implied | hopeless)
        if worth or not hopeless or time.monotonic() >= deadline:
            return ledger


def _settled_by_siblings(study: Study, ledger: Ledger, point: FrontPoint) -> frozenset[Assignment]:
    reached = [trial.costs(study.program.objectives) for trial in verified(ledger.trials)]

    def settled(costs: tuple[float, ...]) -> bool:
        return any(covers(found, costs, AGREEMENT) for found in reached)

    parameters = ledger.frozen.parameters()
    return settled_siblings(study, parameters, ledger.trials, point.assignment, settled)


def _reopened(study: Study, ledger: Ledger, deadline: float) -> Ledger:
    """After the last round: what would be proposed next, so that the gap is about the present numbers."""
    return _proposed(study, ledger, max(deadline, time.monotonic() + 1.0))


def promising(
    front: Front, trials: Sequence[Trial], objectives: Sequence[Objective]
) -> tuple[FrontPoint, ...]:
    """Points of the front that no verified trial matches within `AGREEMENT`."""
    reached = [trial.costs(objectives) for trial in verified(trials)]

    def costs(point: FrontPoint) -> tuple[float, ...]:
        return tuple(o.sign * value for o, value in zip(objectives, point.objectives, strict=True))

    return tuple(
        point
        for point in front.points
        if not any(covers(found, costs(point), AGREEMENT) for found in reached)
    )


def _simulated(
    study: Study,
    ledger: Ledger,
    assignments: Sequence[Assignment],
    tell: Callable[[int, int], None],
    deadline: float | None = None,
) -> Ledger:
    observed = study.simulations.observe([study.deployment(a) for a in assignments], tell, deadline)
    problem = study.scenario.problem
    new = tuple(
        judged(problem, assignment, observation)
        for assignment, observation in zip(assignments, observed, strict=True)
        if observation is not None
    )
    trials = (*ledger.trials, *new)
    frozen = remeasured(study.scenario, ledger.frozen, study.predictor, trials)
    parameters = frozen.parameters()
    implied = ledger.implied.union(*(refused_siblings(study, parameters, trial) for trial in new))
    return replace(ledger, trials=trials, frozen=frozen, implied=implied)


def _spread_out(assignments: Sequence[Assignment]) -> list[Assignment]:
    """At most `MOST_PER_ROUND` of them, evenly spaced, both ends included."""
    if len(assignments) <= MOST_PER_ROUND:
        return list(assignments)
    step = (len(assignments) - 1) / (MOST_PER_ROUND - 1)
    return [assignments[round(index * step)] for index in range(MOST_PER_ROUND)]


def _largest_error(study: Study, ledger: Ledger, trials: Sequence[Trial]) -> float:
    """Largest relative difference of prediction and simulation in what objectives and limits read."""
    keys = {o.metric for o in study.program.objectives} | {limit.metric for limit in study.program.limits}
    errors = [0.0]
    for trial in trials:
        if trial.verdict is Verdict.VIOLATED and trial.observation.saturated:
            continue
        predicted = study.predictor.at(trial.assignment, ledger.frozen.parameters())
        for key in keys & predicted.keys():
            simulated = trial.observation.metrics[key].value
            errors.append(abs(predicted[key] - simulated) / max(abs(simulated), 1e-300))
    return max(errors)


def failed_front(ledger: Ledger) -> bool:
    """Whether the last front ended in an error of the solver."""
    return ledger.front is not None and ledger.front.status is SolveStatus.ERROR


def _left(deadline: float) -> float:
    return max(0.1, deadline - time.monotonic())


def _fraction(number: int, share: float) -> float:
    """Estimated progress: every round does 40% of what is left."""
    return float(1 - 0.9 * 0.6 ** (number + 0.5 * share))


def _tell_share(tell: Tell, number: int, done: int, total: int) -> None:
    name = f"round {number}" if number else "pilots"
    tell(Progress(f"{name}: simulated {done} of {total}", _fraction(number, done / total)))
