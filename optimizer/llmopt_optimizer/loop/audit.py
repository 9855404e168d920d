"""The audit: simulate what the bounds leave open, the most promising first, until the gap is closed.

The expected reading of the model has proposed what it believes in. What it is wrong about shows here: every
deployment whose optimistic metrics keep the levels and beat the verified front by more than the tolerance
is simulated, in batches, and the front that grows meanwhile closes others. The audit ends when nothing is
left, at its limit, or when time is over; what is left then is the gap.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from llmopt_optimizer.bounds.openings import Openings, potentials
from llmopt_optimizer.core.program import Assignment
from llmopt_optimizer.loop.ledger import Ledger, Tell, front_costs, narrowed
from llmopt_optimizer.loop.racing import raced
from llmopt_optimizer.loop.study import Study
from llmopt_optimizer.loop.trials import verified
from llmopt_optimizer.result import Progress, Round

BATCH = 48
"""Deployments simulated before the openings are looked at again."""


def audited(
    study: Study, ledger: Ledger, deadline: float, tell: Tell, publish: Callable[[Ledger], None]
) -> Ledger:
    """The ledger after the audit; `publish` hears of every batch."""
    asked = study.scenario.problem.verification
    before, started, seconds = ledger, time.monotonic(), 0.0
    total = min(asked.audit, len(ledger.openings or ()))
    while ledger.openings is not None and len(ledger.openings) and ledger.audited < asked.audit:
        if time.monotonic() >= deadline:
            return replace(ledger, timed_out=True)
        share = 1 - len(ledger.openings) / max(total, len(ledger.openings), 1)
        tell(Progress(f"auditing: {len(ledger.openings)} deployments left", 0.8 + 0.19 * max(share, 0.0)))
        ledger = _batch(study, ledger, min(BATCH, asked.audit - ledger.audited), deadline)
        seconds = time.monotonic() - started
        ledger = replace(ledger, rounds=(*before.rounds, _round(before, ledger, seconds)))
        publish(ledger)
    return ledger


def _batch(study: Study, ledger: Ledger, size: int, deadline: float) -> Ledger:
    assert ledger.openings is not None  # the caller looks
    objectives = study.program.objectives
    chosen = promising(ledger.openings, front_costs(ledger.trials, objectives), size)
    new = raced(study, chosen, ledger.trials, deadline=deadline)
    grown = replace(ledger, trials=(*ledger.trials, *new), audited=ledger.audited + len(new))
    return narrowed(grown, objectives, study.scenario.problem.verification.tolerance)


def promising(left: Openings, front: np.ndarray, size: int) -> list[Assignment]:
    """The openings with the largest potential; of equal ones the smallest costs, objective by objective."""
    keys = [*(left.costs[:, column] for column in reversed(range(left.costs.shape[1])))]
    order = np.lexsort((*keys, -potentials(left.costs, front)))
    return [left.assignment(int(index)) for index in order[:size]]


def _round(before: Ledger, after: Ledger, seconds: float) -> Round:
    """The audit as one round of the record."""
    new = after.trials[len(before.trials) :]
    return Round(
        number=len(before.rounds) + 1,
        proposed=len(before.openings or ()),
        simulated=len(new),
        verified=len(verified(new)),
        largest_error=0.0,
        solve_seconds=0.0,
        simulate_seconds=seconds,
    )
