"""The audit: simulate what the bounds leave open, the most promising first, until the gap is closed.

The expected reading of the model has proposed what it believes in. What it is wrong about shows here: every
deployment whose optimistic metrics keep the levels and beat the verified front by more than the tolerance
is simulated, in batches, and the front that grows meanwhile closes others. Most are turned down by the
beginning of a run (`brief`). The audit ends when nothing is left, at its limit, or when time is over; what is
left then is the gap.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from llmopt_optimizer.bounds.openings import Openings, potentials
from llmopt_optimizer.bounds.roles import Ints
from llmopt_optimizer.loop.brief import Briefs, briefs
from llmopt_optimizer.loop.ledger import Ledger, Tell, front_costs
from llmopt_optimizer.loop.racing import hopeless, raced
from llmopt_optimizer.loop.study import Study
from llmopt_optimizer.loop.trials import nondominated, verified
from llmopt_optimizer.result import Progress, Round

BATCH = 48
"""Deployments raced before the openings are looked at again."""
BRIEF_BATCH = 192
"""Deployments simulated briefly before that."""


def audited(
    study: Study, ledger: Ledger, deadline: float, tell: Tell, publish: Callable[[Ledger], None]
) -> Ledger:
    """The ledger after the audit; `publish` hears of every batch."""
    asked = study.scenario.problem.verification
    before, started, beginnings = ledger, time.monotonic(), briefs(study)
    total = min(asked.audit, len(ledger.openings or ()))
    while ledger.openings is not None and len(ledger.openings) and ledger.audited < asked.audit:
        if time.monotonic() >= deadline:
            return replace(ledger, timed_out=True)
        share = 1 - len(ledger.openings) / max(total, len(ledger.openings), 1)
        tell(Progress(f"auditing: {len(ledger.openings)} deployments left", 0.8 + 0.19 * max(share, 0.0)))
        ledger = _batch(study, ledger, beginnings, asked.audit - ledger.audited, deadline)
        seconds = time.monotonic() - started
        ledger = replace(ledger, rounds=(*before.rounds, _round(before, ledger, seconds)))
        publish(ledger)
    return ledger


def _batch(study: Study, ledger: Ledger, beginnings: Briefs, most: int, deadline: float) -> Ledger:
    """The most promising openings: the beginnings of many, and the races of those that are left of them."""
    left, objectives = ledger.openings, study.program.objectives
    assert left is not None  # the caller looks
    chosen = promising(left, front_costs(ledger.trials, objectives), min(BRIEF_BATCH, most))
    assignments = [left.assignment(int(index)) for index in chosen]
    front = nondominated(verified(ledger.trials), objectives)
    pairs = zip(beginnings.floors(assignments, deadline), left.costs[chosen].tolist(), strict=True)
    gone = np.array([hopeless(study, floors, costs, front) for floors, costs in pairs])
    racing = np.flatnonzero(~gone)[:BATCH]
    new = raced(study, [assignments[place] for place in racing], ledger.trials, deadline=deadline)
    settled = {trial.assignment for trial in new}
    done = [place for place, each in enumerate(assignments) if gone[place] or each in settled]
    keep = np.ones(len(left), dtype=np.bool_)
    keep[chosen[done]] = False
    trials = (*ledger.trials, *new)
    tolerance = study.scenario.problem.verification.tolerance
    keep &= potentials(left.costs, front_costs(trials, objectives)) > tolerance
    return replace(ledger, trials=trials, audited=ledger.audited + len(done), openings=left.take(keep))


def promising(left: Openings, front: np.ndarray, size: int) -> Ints:
    """Where the openings with the largest potential are; of equal ones the smallest costs, objective by
    objective.
    """
    keys = [*(left.costs[:, column] for column in reversed(range(left.costs.shape[1])))]
    return np.asarray(np.lexsort((*keys, -potentials(left.costs, front)))[:size], dtype=np.int64)


def _round(before: Ledger, after: Ledger, seconds: float) -> Round:
    """The audit as one round of the record."""
    new = after.trials[len(before.trials) :]
    return Round(
        number=len(before.rounds) + 1,
        proposed=len(before.openings or ()),
        simulated=after.audited - before.audited,
        verified=len(verified(new)),
        largest_error=0.0,
        solve_seconds=0.0,
        simulate_seconds=seconds,
    )
