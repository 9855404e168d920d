"""How metrics answer to decisions and to frozen parameters, around one deployment.

Decisions are whole numbers, so each is moved to its neighbours in its domain, all else kept. Parameters are
moved by a thousandth to both sides: the central difference of the logarithms is the elasticity, implicit
states solved anew on both sides. Beside the steps stand the exact derivatives of the expressions (`slopes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite, log

from sympy import Symbol

from llmopt_optimizer.core.program import Assignment, Choice, Number, Program
from llmopt_optimizer.explanation.findings import Sensitivity, Step
from llmopt_optimizer.explanation.slopes import slopes
from llmopt_optimizer.frozen import Frozen
from llmopt_optimizer.loop.prediction import Predictor

NUDGE = 1e-3
NEGLIGIBLE = 1e-6
"""Elasticities below it are rounding."""


def sensitivities(
    predictor: Predictor, assignment: Assignment, frozen: Frozen, metrics: Sequence[str]
) -> tuple[Sensitivity, ...]:
    """Every sensitivity of these metrics that is not nothing; decisions first."""
    parameters = frozen.parameters()
    base = predictor.at(assignment, parameters)
    if not base:
        return ()
    decided = decision_sensitivities(predictor, assignment, parameters, metrics, base)
    numbers = parameter_sensitivities(predictor, assignment, parameters, metrics, base)
    exact = slopes(predictor.program, assignment, frozen, metrics)
    return tuple(replace(each, slope=exact.get((each.metric, each.of))) for each in (*decided, *numbers))


def decision_sensitivities(
    predictor: Predictor,
    assignment: Assignment,
    parameters: Mapping[Symbol, float],
    metrics: Sequence[str],
    base: Mapping[str, float],
) -> Iterator[Sensitivity]:
    """The metrics with each decision at its next lower and next higher value."""
    for place, choice in enumerate(assignment.choices):
        domains = domains_of(predictor.program, assignment.system, choice)
        for name, value in choice.values:
            lower, upper = neighbours(domains[name], value)
            moved = {
                to: predictor.at(moved_to(assignment, place, name, to), parameters)
                for to in (lower, upper)
                if to is not None
            }
            for metric in metrics:
                below, above = (
                    None if to is None else Step(to, moved[to].get(metric)) for to in (lower, upper)
                )
                if any(step is not None and step.metric != base[metric] for step in (below, above)):
                    yield Sensitivity(metric, name, True, value, base[metric], below, above, None, None)


def parameter_sensitivities(
    predictor: Predictor,
    assignment: Assignment,
    parameters: Mapping[Symbol, float],
    metrics: Sequence[str],
    base: Mapping[str, float],
) -> Iterator[Sensitivity]:
    """The elasticity of each metric in each frozen parameter that it depends on."""
    for symbol, value in parameters.items():
        if value <= 0:
            continue
        low, high = (
            predictor.at(assignment, {**parameters, symbol: value * factor})
            for factor in (1 - NUDGE, 1 + NUDGE)
        )
        for metric in metrics:
            slope = elasticity(low.get(metric), high.get(metric))
            if slope is not None and abs(slope) > NEGLIGIBLE:
                below, above = Step(value * (1 - NUDGE), low[metric]), Step(value * (1 + NUDGE), high[metric])
                yield Sensitivity(metric, symbol.name, False, value, base[metric], below, above, slope, None)


def elasticity(low: float | None, high: float | None) -> float | None:
    """D ln metric / d ln parameter from its values at both sides; None where one of them is no number."""
    if low is None or high is None or not (isfinite(low) and isfinite(high) and low > 0 and high > 0):
        return None
    return (log(high) - log(low)) / (log(1 + NUDGE) - log(1 - NUDGE))


def domains_of(program: Program, system: str, choice: Choice) -> dict[str, tuple[Number, ...]]:
    """The values of every decision of a choice, by name."""
    pool = next(pool for pool in program.system(system).pools if pool.name == choice.pool)
    variant = next(variant for variant in pool.variants if variant.name == choice.variant)
    return {decision.symbol.name: decision.values for decision in variant.decisions}


def neighbours(domain: Sequence[Number], value: Number) -> tuple[Number | None, Number | None]:
    """The next values of a domain below and above one of its values."""
    lower = max((other for other in domain if other < value), default=None)
    return lower, min((other for other in domain if other > value), default=None)


def moved_to(assignment: Assignment, place: int, name: str, value: Number) -> Assignment:
    """The assignment with one decision at another value."""
    choice = assignment.choices[place]
    values = tuple((own, value if own == name else old) for own, old in choice.values)
    choices = list(assignment.choices)
    choices[place] = choice._replace(values=values)
    return assignment._replace(choices=tuple(choices))
