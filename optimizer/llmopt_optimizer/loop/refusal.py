"""What to say when nothing can be recommended: which demands conflict, and what would be possible instead.

Two cases are kept apart. Either the expressions themselves find no deployment; then a minimal set of
conflicting demands and the smallest relaxation of each are found by solving again. Or they find some and
simulation refuses them all; then the simulated deployments show how far each demand was missed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from llmopt_optimizer.core.conflicts import explain_infeasible
from llmopt_optimizer.core.findings import Relaxation
from llmopt_optimizer.core.solvers.outcome import SolveStatus
from llmopt_optimizer.core.solving import solve
from llmopt_optimizer.formulation.levels import level_text
from llmopt_optimizer.frozen import Frozen
from llmopt_optimizer.loop.ledger import Ledger
from llmopt_optimizer.loop.study import Study
from llmopt_optimizer.loop.trials import Trial, judged
from llmopt_optimizer.result import Result, Status
from llmopt_optimizer.symbols import frozen_symbols
from llmopt_problems.schema.service import ServiceLevel

RATE_ACCURACY = 0.01
OVERLOAD = "the offered traffic and the capacity of every deployment on this hardware"
"""What conflicts when not even the rules of validity leave a deployment: every one is overloaded."""
SMALLEST_RATE_SHARE = 1e-4
NEAREST_MISSES = 3
"""Deployments turned down for a level by one replication, simulated in full before the level is relaxed."""


def refused(study: Study, ledger: Ledger, bare: Result, seconds: float) -> Result:
    """The result of a ledger without verified deployments, explained in about so many seconds."""
    if ledger.timed_out:
        tried = len(ledger.trials)
        message = (
            f"The time limit came before any deployment was verified ({tried} simulated): raise limits.time."
        )
        return replace(bare, status=Status.FAILED, message=message)
    if not ledger.finished:
        left = len(ledger.openings) if ledger.openings is not None else study.program.size
        message = (
            f"No deployment was verified, and {left} that were not simulated may be: raise "
            "verification.max_rounds or verification.audit."
        )
        return replace(bare, status=Status.FAILED, message=message)
    if seconds <= 0:
        message = "Every deployment was refused or excluded; there was no time left to explain why."
        return replace(bare, status=Status.INFEASIBLE, message=message)
    ledger = replace(ledger, trials=_measured(study, ledger.trials, time.monotonic() + seconds))
    first = solve(study.master(ledger.frozen), study.compiled, seconds, check=False)
    if first.status is SolveStatus.INFEASIBLE or not ledger.trials:
        return _impossible(study, ledger, bare, seconds)
    return _all_refused(study, ledger, bare)


def _measured(study: Study, trials: Sequence[Trial], deadline: float) -> tuple[Trial, ...]:
    """The trials, with intervals for the nearest that one replication turned down for one level alone."""
    near = [trial for level in study.scenario.problem.slo for trial in _nearest(trials, level)]
    deployments = [study.deployment(trial.assignment) for trial in near]
    found = study.simulations.observe(deployments, deadline=deadline)
    again = {
        trial.assignment: judged(study.scenario.problem, trial.assignment, observation, trial.glimpse)
        for trial, observation in zip(near, found, strict=True)
        if observation is not None
    }
    return tuple(again.get(trial.assignment, trial) for trial in trials)


def _nearest(trials: Sequence[Trial], level: ServiceLevel) -> list[Trial]:
    """Of the trials with one replication that miss this level alone, those that miss it least."""

    def excess(trial: Trial) -> float:
        value = trial.observation.metrics[level.key].value
        return value if level.bound == "at_most" else -value

    alone = [trial for trial in trials if trial.glimpsed_only and trial.violated == (level.key,)]
    return sorted(alone, key=excess)[:NEAREST_MISSES]


def _served(rate_per_s: float) -> str:
    """A sentence on the load that the levels allow."""
    if rate_per_s == 0:
        return " Not even a trickle of requests can be served within all levels: they ask for too much."
    return f" The largest rate that can be served within all levels is about {rate_per_s:.3g} requests/s."


def _impossible(study: Study, ledger: Ledger, bare: Result, seconds: float) -> Result:
    """The expressions find nothing."""
    deadline = time.monotonic() + seconds
    conflict = explain_infeasible(study.master(ledger.frozen), study.compiled, seconds)
    groups = conflict.groups or (OVERLOAD,)
    message = "No deployment in the search space can keep together: " + "; ".join(groups) + "."
    rate = largest_rate(study, ledger.frozen, deadline)
    if rate is not None:
        message += _served(rate)
    return replace(
        bare,
        status=Status.INFEASIBLE,
        message=message,
        conflicts=groups,
        relaxations=tuple(_confirmed(study, ledger.trials, r) for r in conflict.relaxations)
        if conflict.groups
        else (),
    )


def _confirmed(study: Study, trials: Sequence[Trial], relaxation: Relaxation) -> Relaxation:
    """A relaxation as simulation knows it: what the expressions guess may be too hopeful to keep."""
    levels = (level for level in study.scenario.problem.slo if level_text(level) == relaxation.limit)
    simulated = next((_relaxation(level, trials) for level in levels), relaxation)
    return simulated if simulated.needed is not None else replace(relaxation, unit=simulated.unit)


def largest_rate(study: Study, frozen: Frozen, deadline: float) -> float | None:
    """Largest request rate with a feasible deployment, within `RATE_ACCURACY`, by bisection.

    None in a closed loop, and 0 when even a trickle cannot be served.
    """
    offered = study.scenario.traffic.request_rate_per_s
    if offered is None:
        return None
    symbol = frozen_symbols().request_rate_per_s

    def feasible(rate: float) -> bool:
        master = study.master(frozen)
        trial = replace(master, parameters={**master.parameters, symbol: rate})
        seconds = max(0.1, deadline - time.monotonic())
        return solve(trial, study.compiled, seconds, check=False).assignment is not None

    low, high = offered * SMALLEST_RATE_SHARE, offered
    if not feasible(low):
        return 0.0
    while high / low > 1 + RATE_ACCURACY and time.monotonic() < deadline:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if feasible(middle) else (low, middle)
    return low


def _all_refused(study: Study, ledger: Ledger, bare: Result) -> Result:
    """The expressions found deployments, simulation refused every one."""
    levels = study.scenario.problem.slo
    missed = {key for trial in ledger.trials for key in trial.violated}
    message = (
        f"All {len(ledger.trials)} deployments that might have kept the service levels were refused by "
        "simulation; `cut` lists them with what they miss."
    )
    relaxations = tuple(_relaxation(level, ledger.trials) for level in levels if level.key in missed)
    conflicts = tuple(level_text(level) for level in levels if level.key in missed)
    return replace(
        bare, status=Status.INFEASIBLE, message=message, conflicts=conflicts, relaxations=relaxations
    )


def _relaxation(level: ServiceLevel, trials: Sequence[Trial]) -> Relaxation:
    """The nearest value at which a simulated deployment that misses nothing else would have been verified."""
    upper = level.bound == "at_most"
    ends = [
        trial.observation.metrics[level.key].high if upper else trial.observation.metrics[level.key].low
        for trial in trials
        if trial.violated == (level.key,)
    ]
    finite = [end for end in ends if math.isfinite(end)]
    needed = (min(finite) if upper else max(finite)) if finite else None
    return Relaxation(level_text(level), level.value, needed, level.unit_text)
