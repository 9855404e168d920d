"""The rounds: propose, simulate, re-measure, until the expressions believe in nothing better.

Each round solves the program without the deployments tried so far, for the complete front of what the
expressions believe of the rest. Proposals that no verified deployment matches are simulated, and the frozen
parameters are re-measured at everything simulated. When no such proposal is left, or rounds on end have
found nothing, the audit takes over: it asks the bounds, which do not believe but know.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from llmopt_optimizer.core.pareto import Front, FrontPoint
from llmopt_optimizer.core.program import Assignment, Objective
from llmopt_optimizer.frozen import Frozen
from llmopt_optimizer.loop.audit import audited
from llmopt_optimizer.loop.certification import certified
from llmopt_optimizer.loop.ledger import Ledger, Tell, front_costs, narrowed, opened
from llmopt_optimizer.loop.racing import raced
from llmopt_optimizer.loop.refit import remeasured
from llmopt_optimizer.loop.study import Study, pilots
from llmopt_optimizer.loop.trials import Trial, covers, verified
from llmopt_optimizer.result import Progress, Round, Verdict

MOST_PER_ROUND = 16
"""Proposals simulated in one round; a larger front is sampled evenly."""
FRUITLESS_ROUNDS = 2
"""Rounds on end without a better deployment after which the rest is left to the audit."""

Publish = Callable[[Ledger], None]


def run_rounds(
    study: Study, frozen: Frozen, deadline: float, tell: Tell, publish: Publish = lambda _: None
) -> Ledger:
    """Turn the loop until it ends by itself, by the round limit or at `deadline` (monotonic seconds).

    `publish` hears of every ledger on the way; each one is a consistent answer so far.
    """
    asked = study.scenario.problem.verification
    tell(Progress("measuring pilots", 0.05))
    ledger = _first(study, frozen, deadline, tell)
    publish(ledger)
    fruitless = 0
    for number in range(1, asked.max_rounds + 1):
        if time.monotonic() >= deadline:
            return replace(ledger, timed_out=True)
        tell(Progress(f"round {number}: solving", _fraction(number, 0.0)))
        before = front_costs(ledger.trials, study.program.objectives)
        ledger = _turn(study, ledger, number, deadline, tell)
        publish(ledger)
        after = front_costs(ledger.trials, study.program.objectives)
        fruitless = fruitless + 1 if before.tolist() == after.tolist() else 0
        if not ledger.open_points or fruitless == FRUITLESS_ROUNDS:
            return audited(study, certified(study, ledger, deadline), deadline, tell, publish)
    return certified(study, _reopened(study, ledger, deadline), deadline)


def _first(study: Study, frozen: Frozen, deadline: float, tell: Tell) -> Ledger:
    """The ledger of the pilots, with everything that they leave open."""
    tolerance = study.scenario.problem.verification.tolerance
    ledger = opened(study.optimism, Ledger(frozen), tolerance)
    tried = pilots(study, frozen, _left(deadline))
    return _simulated(study, ledger, tried, lambda done, total: _tell_share(tell, 0, done, total), deadline)


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
    """The front of what was not simulated, and the part of it that is worth simulating."""
    tried = frozenset(trial.assignment for trial in ledger.trials)
    front = study.front(ledger.frozen, tried, _left(deadline))
    tolerance = study.scenario.problem.verification.tolerance
    worth = promising(front, ledger.trials, study.program.objectives, tolerance)
    return replace(ledger, front=front, open_points=worth)


def _reopened(study: Study, ledger: Ledger, deadline: float) -> Ledger:
    """After the last round: what would be proposed next."""
    return _proposed(study, ledger, max(deadline, time.monotonic() + 1.0))


def promising(
    front: Front, trials: Sequence[Trial], objectives: Sequence[Objective], tolerance: float
) -> tuple[FrontPoint, ...]:
    """Points of the front that no verified trial matches within the tolerance."""
    reached = [trial.costs(objectives) for trial in verified(trials)]

    def costs(point: FrontPoint) -> tuple[float, ...]:
        return tuple(o.sign * value for o, value in zip(objectives, point.objectives, strict=True))

    return tuple(
        point
        for point in front.points
        if not any(covers(found, costs(point), tolerance) for found in reached)
    )


def _simulated(
    study: Study,
    ledger: Ledger,
    assignments: Sequence[Assignment],
    tell: Callable[[int, int], None],
    deadline: float,
) -> Ledger:
    trials = (*ledger.trials, *raced(study, assignments, ledger.trials, tell, deadline))
    frozen = remeasured(study.scenario, ledger.frozen, study.predictor, trials)
    grown = replace(ledger, trials=trials, frozen=frozen)
    return narrowed(grown, study.program.objectives, study.scenario.problem.verification.tolerance)


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


def _left(deadline: float) -> float:
    return max(0.1, deadline - time.monotonic())


def _fraction(number: int, share: float) -> float:
    """Estimated progress: every round does 40% of what is left; the audit comes after."""
    return float(0.8 - 0.7 * 0.6 ** (number + 0.5 * share))


def _tell_share(tell: Tell, number: int, done: int, total: int) -> None:
    name = f"round {number}" if number else "pilots"
    tell(Progress(f"{name}: simulated {done} of {total}", _fraction(number, done / max(total, 1))))
