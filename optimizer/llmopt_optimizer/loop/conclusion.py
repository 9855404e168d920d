"""From the loop's ledger to a result: the verified front, its gap, what was cut, and what was checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from llmopt_optimizer.core.findings import Check
from llmopt_optimizer.core.hypervolume import hypervolume, representatives
from llmopt_optimizer.core.program import Objective
from llmopt_optimizer.formulation.levels import level_text
from llmopt_optimizer.loop.ledger import Ledger, gap_of, missing_of
from llmopt_optimizer.loop.refusal import refused
from llmopt_optimizer.loop.study import Study
from llmopt_optimizer.loop.trials import Trial, nondominated, verified
from llmopt_optimizer.result import Point, Result, Status, Verdict
from llmopt_problems.schema.service import ServiceLevel

MOST_CUT = 100
"""Refused deployments listed in a result."""
ROUNDING = 1e-9

BINDING = 0.02
"""A service level is called binding when simulation comes this close to its bound."""


def concluded(study: Study, ledger: Ledger, seconds: float, explanation_s: float = 60.0) -> Result:
    """The result of a ledger; `seconds` is the wall-clock time of the whole solve, `explanation_s` what
    explaining may take where nothing is feasible.
    """
    objectives = study.program.objectives
    whole = nondominated(verified(ledger.trials), objectives)
    best, chosen = _represented(study, whole)
    front = tuple(_verified_point(study, ledger, trial) for trial in best)
    bare = Result(
        problem_name=study.scenario.problem.name,
        status=Status.FAILED,
        message="",
        objectives=tuple(objective.metric for objective in objectives),
        senses=tuple(objective.sense for objective in objectives),
        front=front,
        cut=tuple(_point(study, ledger, trial) for trial in refusals(ledger.trials)),
        rounds=ledger.rounds,
        checks=(*_checks(study, ledger, whole), *chosen),
        frozen=tuple(ledger.frozen.records.values()),
        provenance=_provenance(study),
        space_size=study.program.size,
        seconds=seconds,
        gap=gap_of(ledger, objectives),
        units={name: own.unit for name, own in study.scenario.problem.metrics.items() if own.unit},
    )
    return _answered(study, ledger, bare) if front else refused(study, ledger, bare, explanation_s)


def _represented(study: Study, whole: Sequence[Trial]) -> tuple[Sequence[Trial], tuple[Check, ...]]:
    """The trials to report: all, or as many as the problem asks for, by exact hypervolume."""
    asked = study.scenario.problem.front.points
    if asked is None or asked >= len(whole):
        return whole, ()
    costs = np.array([trial.costs(study.program.objectives) for trial in whole])
    spread = np.ptp(costs, axis=0)
    reference = costs.max(axis=0) + np.where(spread > 0, 0.1 * spread, 1.0)
    rows, exact = representatives(costs, asked, reference)
    how = "the best subset" if exact else "chosen one by one, within 1 - 1/e of the best subset"
    kept = hypervolume(costs[rows], reference) / hypervolume(costs, reference)
    detail = f"{asked} of {len(whole)} points keep {kept:.1%} of the hypervolume ({how})"
    return [whole[row] for row in rows], (Check("points reported", True, detail),)


def refusals(trials: Sequence[Trial]) -> list[Trial]:
    """Trials to report as cut, at most `MOST_CUT`: those that took most to refuse, in order of trial."""
    found = [t for t in trials if t.verdict not in (Verdict.VERIFIED, Verdict.DOMINATED)]
    kept = sorted(found, key=lambda trial: trial.glimpsed_only)[:MOST_CUT]
    return [trial for trial in found if trial in kept]


def _answered(study: Study, ledger: Ledger, bare: Result) -> Result:
    tolerance = study.scenario.problem.verification.tolerance
    sound = all(check.passed for check in bare.checks)
    if ledger.finished and sound:
        message = (
            f"No other deployment can be more than {tolerance:.1%} better: each was simulated, or is "
            "excluded by a bound that holds for the simulator."
        )
        return replace(bare, status=Status.PROVEN, message=message)
    if not sound:
        return replace(bare, status=Status.FEASIBLE, message="A check of the solver's claim failed.")
    return replace(
        bare, status=Status.FEASIBLE, message=f"{_stopped(study, ledger)} {_left_open(study, ledger)}"
    )


def _stopped(study: Study, ledger: Ledger) -> str:
    """What ended the search, and what to do about it."""
    if ledger.timed_out:
        return "The time limit ended the search: raise limits.time, or go on with --resume."
    if ledger.audited >= study.scenario.problem.verification.audit:
        return "The limit of the audit ended the search: raise verification.audit to go on."
    return "The round limit ended the search: raise verification.max_rounds to go on."


def _left_open(study: Study, ledger: Ledger) -> str:
    if ledger.openings is None:
        return "What else is possible was not looked at."
    left, missing = len(ledger.openings), missing_of(ledger, study.program.objectives)
    told = f"{left} deployments that were not simulated may be better, by no more than the gap"
    if math.isnan(missing):
        return f"{told}."
    return f"{told}; at most {missing:.1%} of the front's hypervolume is missing."


def _verified_point(study: Study, ledger: Ledger, trial: Trial) -> Point:
    objectives = study.program.objectives
    own, bound = trial.costs(objectives)[0], _bound(trial, ledger, objectives)
    gap = abs(own - bound) / abs(own) if own else 0.0
    return replace(_point(study, ledger, trial), bound=objectives[0].sign * bound, gap=gap)


def _bound(trial: Trial, ledger: Ledger, objectives: Sequence[Objective]) -> float:
    """Bound of the first signed objective among deployments as good as `trial` in the others.

    The trial itself, or something that was not simulated; unknown as long as that is.
    """
    own, left = trial.costs(objectives), ledger.openings
    if left is None or left.uncounted:
        return math.nan
    rivals = left.costs[(left.costs[:, 1:] <= own[1:]).all(axis=1), 0]
    return float(min([own[0], *rivals]))


def _point(study: Study, ledger: Ledger, trial: Trial) -> Point:
    levels = {level.key: level for level in study.scenario.problem.slo}
    metrics = trial.observation.metrics
    return Point(
        deployment=trial.observation.deployment,
        predicted=study.predictor.at(trial.assignment, ledger.frozen.parameters()),
        simulated=metrics,
        verdict=trial.verdict,
        violated=tuple(level_text(levels[key]) if key in levels else key for key in trial.violated),
        binding=tuple(
            level_text(level) for key, level in levels.items() if _binds(level, metrics[key].value)
        ),
    )


def _binds(level: ServiceLevel, value: float) -> bool:
    return abs(value - level.value) <= BINDING * abs(level.value)


def _checks(study: Study, ledger: Ledger, best: Sequence[Trial]) -> tuple[Check, ...]:
    solver = ledger.front.checks if ledger.front else ()
    replications = sum(trial.observation.replications for trial in ledger.trials)
    simulation = Check(
        "front verified by simulation",
        all(trial.verdict is Verdict.VERIFIED for trial in best),
        f"{len(best)} deployments keep every service level; {len(ledger.trials)} simulated in "
        f"{replications} runs",
    )
    return (*solver, *ledger.opinions, *_bounds_hold(study, ledger), simulation)


def _bounds_hold(study: Study, ledger: Ledger) -> tuple[Check, ...]:
    """No verified deployment is better than its bounds, beyond its confidence intervals."""
    objectives = study.program.objectives
    wrong, seen = 0, verified(ledger.trials)
    for trial in seen:
        known = study.optimism.interval(trial.assignment, [objective.metric for objective in objectives])
        for key, (low, high) in known.items():
            estimate = trial.observation.metrics[key]
            wrong += not (estimate.high >= low * (1 - ROUNDING) and estimate.low <= high * (1 + ROUNDING))
    if not seen:
        return ()
    detail = f"{wrong} of {len(seen)} verified deployments are better than their bounds"
    return (Check("bounds hold in simulation", not wrong, detail),)


def _provenance(study: Study) -> dict[str, str]:
    """What each operator family's coefficients are worth, by accelerator."""
    found = {}
    for site in study.scenario.sites:
        name = site.accelerator.name
        for family, basis in study.simulations.bench.families[name].items():
            fitted = site.coefficients.family(family)
            error = "" if fitted.held_out_error is None else f", held-out error {fitted.held_out_error:.1%}"
            found[f"{name}/{family}"] = f"{basis}{error}: {fitted.source}"
    return found
