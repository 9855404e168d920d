"""What a refused deployment says of its siblings: those that differ only in chunk size and batch cap.

Siblings run the same accelerators in the same layout and number, so their formulas err alike. When simulation
refuses a deployment for a metric, a sibling that the formulas find no better in that metric is refused with it,
without a simulation of its own. Deployments of another layout or size are never judged this way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from sympy import Symbol

from llmopt_optimizer.loop.study import Study
from llmopt_optimizer.loop.trials import Trial
from llmopt_optimizer.program import Assignment, Choice, Number, Program

SAME = 1e-9
"""Relative difference below which two predictions are one."""
CAPS = ("chunk_tokens", "batch_cap")


def refused_siblings(
    study: Study, parameters: Mapping[Symbol, float], trial: Trial
) -> frozenset[Assignment]:
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
