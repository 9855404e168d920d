"""What a refused deployment says of its siblings: those that differ only in chunk size and batch cap.

Siblings run the same accelerators in the same layout and number, so their formulas err alike. When
simulation refuses a deployment for a metric, a sibling that the formulas find no better in that metric is
refused with it, without a simulation of its own. Deployments of another layout or size are never judged
this way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from sympy import Symbol

from llmopt_optimizer.loop.study import Study
from llmopt_optimizer.loop.trials import Trial
from llmopt_optimizer.program import Assignment, Choice, Number, Program

SAME = 1e-9
"""Relative difference below which two predictions are one."""
CAPS = ("chunk_tokens", "batch_cap")


def refused_siblings(study: Study, parameters: Mapping[Symbol, float], trial: Trial) -> frozenset[Assignment]:
    """The siblings of a refused trial that are refused with it; empty for a verified trial."""
    signs = {limit.metric: limit.sign for limit in study.program.limits}
    missed = [key for key in trial.violated if key in signs]
    if not missed:
        return frozenset()
    own = study.predictor.at(trial.assignment, parameters)

    def no_better(sibling: Assignment) -> bool:
        predicted = study.predictor.at(sibling, parameters)
        return bool(own and predicted) and any(
            signs[key] * predicted[key] >= signs[key] * own[key] - SAME * abs(own[key]) for key in missed
        )

    return frozenset(s for s in _siblings(study.program, trial.assignment) if no_better(s))


def _siblings(program: Program, assignment: Assignment) -> Iterator[Assignment]:
    """All assignments with the same values of everything but the caps, the assignment itself left out."""
    system = program.system(assignment.system)
    options = []
    for pool, choice in zip(system.pools, assignment.choices, strict=True):
        variant = next(variant for variant in pool.variants if variant.name == choice.variant)
        domains = {decision.symbol.name: decision.values for decision in variant.decisions}
        options.append(list(_choices(choice, domains)))
    for choices in product(*options):
        if choices != assignment.choices:
            yield Assignment(assignment.system, choices)


def _choices(choice: Choice, domains: Mapping[str, tuple[Number, ...]]) -> Iterator[Choice]:
    free = [domains[name] if name.endswith(CAPS) else (value,) for name, value in choice.values]
    names = [name for name, _ in choice.values]
    for values in product(*free):
        yield Choice(choice.pool, choice.variant, tuple(zip(names, values, strict=True)))


def corrected_costs(
    study: Study, parameters: Mapping[Symbol, float], trials: Iterable[Trial], candidate: Assignment
) -> tuple[float, ...] | None:
    """Signed objectives of an untried deployment as its simulated siblings suggest; None without siblings.

    Formulas of siblings err alike, so each predicted objective is scaled by the ratio of simulation to
    formula at the sibling whose prediction is nearest.
    """
    family = _family(candidate)
    siblings = [t for t in trials if _family(t.assignment) == family and not t.observation.saturated]
    own = study.predictor.at(candidate, parameters)
    pairs = [(trial, study.predictor.at(trial.assignment, parameters)) for trial in siblings]
    known = [(trial, predicted) for trial, predicted in pairs if predicted]
    if not known or not own:
        return None

    def corrected(key: str) -> float:
        trial, predicted = min(known, key=lambda pair: abs(pair[1][key] - own[key]))
        simulated = trial.observation.metrics[key].value
        return own[key] * simulated / predicted[key] if predicted[key] else simulated

    return tuple(objective.sign * corrected(objective.metric) for objective in study.program.objectives)


def _family(assignment: Assignment) -> tuple[object, ...]:
    """What siblings have in common: everything but the caps."""
    fixed = (
        (choice.pool, choice.variant, tuple(pair for pair in choice.values if not pair[0].endswith(CAPS)))
        for choice in assignment.choices
    )
    return (assignment.system, *fixed)
