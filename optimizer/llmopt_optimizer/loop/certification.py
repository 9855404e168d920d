"""Checks of the master: that what its solver says of the expressions is true, as far as that can be seen.

The proof of an answer rests on bounds and simulations. These checks are about the proposals: points of the
last front are evaluated again from the original expressions at 30 digits, and where the space is too large
to enumerate, another solver is asked for its opinion on the best one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from llmopt_optimizer.core.certify import points_checks
from llmopt_optimizer.core.findings import Check
from llmopt_optimizer.core.program import Assignment, Program
from llmopt_optimizer.core.second_opinion import second_opinion
from llmopt_optimizer.core.solving import solve
from llmopt_optimizer.loop.ledger import Ledger
from llmopt_optimizer.loop.study import Study

POINTS = 3
"""Points of the last front that are evaluated again."""
ENUMERABLE = 1_000_000
OPINION_SHARE = 0.05
"""Part of the time limit that another solver gets, at most `OPINION_S`."""
OPINION_S = 10.0


def _reevaluated(program: Program, points: Sequence[Assignment]) -> list[Check]:
    """Checks of the points, one for each check's name, with what failed."""
    listed = [check for checks in points_checks(program, points) for check in checks]
    summed = []
    for name in dict.fromkeys(check.name for check in listed):
        failed = [check.detail for check in listed if check.name == name and not check.passed]
        summed.append(Check(name, not failed, "; ".join(failed) or f"holds at {len(points)} proposals"))
    return summed


def certified(study: Study, ledger: Ledger, deadline: float) -> Ledger:
    """The ledger with what re-evaluation and another solver say of the master's last answer."""
    if ledger.front is None or time.monotonic() >= deadline:
        return ledger
    points = [point.assignment for point in ledger.front.points[:POINTS]]
    tried = frozenset(trial.assignment for trial in ledger.trials if trial.assignment not in points)
    master = study.master(ledger.frozen, tried)
    checks = _reevaluated(master, points)
    limit_s = study.scenario.problem.limits.time_s
    seconds = min(OPINION_S, OPINION_SHARE * limit_s, deadline - time.monotonic())
    if study.program.size > ENUMERABLE and seconds > 0:
        first = solve(master, study.compiled, seconds, check=False)
        checks.append(second_opinion(master, first, seconds))
    return replace(ledger, opinions=tuple(checks))
