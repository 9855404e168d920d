"""What a refused deployment says of its siblings: those that differ only in chunk size and batch cap.

Siblings run the same accelerators in the same layout and number, so their formulas err alike. When
simulation refuses a deployment for a metric, a sibling that the formulas find no better in that metric is
refused with it, without a simulation of its own. Deployments of another layout or size are never judged
this way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

from sympy import Symbol

from llmopt_optimizer.core.program import Assignment, Choice, Number, Objective, Program
from llmopt_optimizer.loop.study import Study
from llmopt_optimizer.loop.trials import Trial

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


def settled_siblings(
    study: Study,
    parameters: Mapping[Symbol, float],
    trials: Sequence[Trial],
    candidate: Assignment,
    settled: Callable[[tuple[float, ...]], bool],
) -> frozenset[Assignment]:
    """The candidate and its siblings whose corrected objectives `settled` calls no better than what is
    verified.

    Formulas of siblings err alike, so each predicted objective is scaled by the ratio of simulation to
    formula at the simulated sibling whose prediction is nearest. Empty unless the candidate has simulated
    siblings and is settled itself.
    """
    family = _family(candidate)
    tried = [trial for trial in trials if _family(trial.assignment) == family]
    pairs = [(t, study.predictor.at(t.assignment, parameters)) for t in tried if not t.observation.saturated]
    known = [(trial, predicted) for trial, predicted in pairs if predicted]

    def hopeless(sibling: Assignment) -> bool:
        own = study.predictor.at(sibling, parameters)
        return bool(own) and settled(_corrected(study.program.objectives, known, own))

    if not known or not hopeless(candidate):
        return frozenset()
    return frozenset({candidate} | {s for s in _siblings(study.program, candidate) if hopeless(s)})


def _corrected(
    objectives: Sequence[Objective],
    known: Sequence[tuple[Trial, Mapping[str, float]]],
    own: Mapping[str, float],
) -> tuple[float, ...]:
    """Signed objectives, each scaled by what simulation said at the nearest known prediction."""

    def corrected(key: str) -> float:
        trial, predicted = min(known, key=lambda pair: abs(pair[1][key] - own[key]))
        simulated = trial.observation.metrics[key].value
        return own[key] * simulated / predicted[key] if predicted[key] else simulated

    return tuple(objective.sign * corrected(objective.metric) for objective in objectives)


def _family(assignment: Assignment) -> tuple[object, ...]:
    """What siblings have in common: everything but the caps."""
    fixed = (
        (choice.pool, choice.variant, tuple(pair for pair in choice.values if not pair[0].endswith(CAPS)))
        for choice in assignment.choices
    )
    return (assignment.system, *fixed)
