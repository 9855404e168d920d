"""From the loop's ledger to a result: the verified front, its gap, what was cut, and what was checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from llmopt_optimizer.core.findings import Check
from llmopt_optimizer.core.hypervolume import hypervolume, representatives
from llmopt_optimizer.core.pareto import FrontPoint
from llmopt_optimizer.core.program import Objective
from llmopt_optimizer.formulation.levels import level_text
from llmopt_optimizer.loop.refusal import refused
from llmopt_optimizer.loop.rounds import AGREEMENT, Ledger
from llmopt_optimizer.loop.study import Study
from llmopt_optimizer.loop.trials import Trial, nondominated, verified
from llmopt_optimizer.result import Point, Result, Status, Verdict
from llmopt_problems.schema.service import ServiceLevel

BINDING = 0.02
"""A service level is called binding when simulation comes this close to its bound."""


def concluded(study: Study, ledger: Ledger, seconds: float) -> Result:
    """The result of a ledger; `seconds` is the wall-clock time of the whole solve."""
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
        cut=tuple(
            _point(study, ledger, trial) for trial in ledger.trials if trial.verdict is not Verdict.VERIFIED
        ),
        rounds=ledger.rounds,
        checks=(*_checks(ledger, whole), *chosen),
        frozen=tuple(ledger.frozen.records.values()),
        provenance=_provenance(study),
        space_size=study.program.size,
        seconds=seconds,
        gap=_whole_gap(ledger, front, best, objectives),
    )
    return _answered(ledger, bare) if front else refused(study, ledger, bare)


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


def _answered(ledger: Ledger, bare: Result) -> Result:
    sound = all(check.passed for check in bare.checks)
    if ledger.finished and sound:
        message = (
            f"No untried deployment is predicted to be more than {AGREEMENT:.0%} better in any objective "
            "than a verified one."
        )
        return replace(bare, status=Status.PROVEN, message=message)
    if ledger.timed_out:
        reason = "The time limit ended the search."
    elif not sound:
        reason = "A check of the solver's claim failed."
    else:
        reason = "The round limit ended the search: raise verification.max_rounds to go on."
    return replace(bare, status=Status.FEASIBLE, message=reason)


def _verified_point(study: Study, ledger: Ledger, trial: Trial) -> Point:
    bound = _bound(trial, ledger, study.program.objectives)
    own = trial.costs(study.program.objectives)[0]
    gap = abs(own - bound) / abs(own) if own else 0.0
    sign = study.program.objectives[0].sign
    return replace(_point(study, ledger, trial), bound=sign * bound, gap=gap)


def _bound(trial: Trial, ledger: Ledger, objectives: Sequence[Objective]) -> float:
    """Bound of the first signed objective among deployments as good as `trial` in the others.

    The trial itself, or an untried point of the last complete front; without a complete front, unknown.
    """
    own = trial.costs(objectives)
    if ledger.front is None or not ledger.front.complete:
        return math.nan
    rivals = [_costs(point, objectives) for point in ledger.front.points]
    firsts = [c[0] for c in rivals if all(a <= b for a, b in zip(c[1:], own[1:], strict=True))]
    return min([own[0], *firsts])


def _whole_gap(
    ledger: Ledger, front: Sequence[Point], best: Sequence[Trial], objectives: Sequence[Objective]
) -> float:
    """Largest gap of the points, and of the best first objective against untried points worth trying."""
    if not front:
        return math.nan
    own = best[0].costs(objectives)[0]
    ahead = [own - _costs(point, objectives)[0] for point in ledger.open_points]
    return max([point.gap for point in front] + [max(0.0, ahead_of) / abs(own) for ahead_of in ahead])


def _costs(point: FrontPoint, objectives: Sequence[Objective]) -> tuple[float, ...]:
    return tuple(o.sign * value for o, value in zip(objectives, point.objectives, strict=True))


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


def _checks(ledger: Ledger, best: Sequence[Trial]) -> tuple[Check, ...]:
    solver = ledger.front.checks if ledger.front else ()
    runs = sum(trial.observation.replications for trial in ledger.trials)
    simulation = Check(
        "front verified by simulation",
        all(trial.verdict is Verdict.VERIFIED for trial in best),
        f"{len(best)} deployments keep every service level; {len(ledger.trials)} simulated in {runs} runs",
    )
    return (*solver, _completeness(ledger), simulation)


def _completeness(ledger: Ledger) -> Check:
    name, front = "last front complete", ledger.front
    if front is None:
        return Check(name, False, "the search was stopped before a first front was solved")
    if front.complete:
        return Check(name, True, f"{front.solves} solves, no open box")
    return Check(
        name, False, f"{len(front.open_boxes)} boxes are open: {front.message or front.status.sentence}"
    )


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
