"""Several objectives as one question: a weighted sum, or one after the other.

A weighted sum of metrics is a metric, so it goes through every route as it is. In lexicographic order each
objective is optimized among the assignments that are best in all earlier ones, which become limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sympy import Add, Float

from .preparation import CompiledProgram
from .program import Direction, Limit, Objective, Program, System
from .solution import SolveResult
from .solvers.outcome import SolveStatus
from .solving import solve

WEIGHTED = "weighted sum of the objectives"


def weighted(program: Program, weights: Sequence[float]) -> Program:
    """The program that minimises the weighted sum of the objectives, maximised ones counted negative.

    Weights must be positive, one an objective, in the inverse of its unit: every optimum is nondominated.
    """
    if len(weights) != len(program.objectives) or not all(weight > 0 for weight in weights):
        raise ValueError(f"give {len(program.objectives)} positive weights, one for each objective")
    signed = [objective.sign * weight for objective, weight in zip(program.objectives, weights, strict=True)]

    def summed(system: System) -> System:
        terms = [
            Float(factor) * system.metrics[objective.metric]
            for factor, objective in zip(signed, program.objectives, strict=True)
        ]
        return replace(system, metrics={**system.metrics, WEIGHTED: Add(*terms)})

    return replace(program, systems=tuple(map(summed, program.systems)), objectives=(Objective(WEIGHTED),))


def lexicographic(
    program: Program, compiled: CompiledProgram | None = None, seconds: float | None = None
) -> tuple[SolveResult, ...]:
    """The optimum of each objective in turn, among the best in all earlier ones; the last one is the answer.

    Ends early with the first result that is not optimal. `seconds` are for each objective.
    """
    results: list[SolveResult] = []
    limits = program.limits
    for objective in program.objectives:
        result = solve(replace(program, objectives=(objective,), limits=limits), compiled, seconds)
        results.append(result)
        if result.status is not SolveStatus.OPTIMAL:
            break
        direction: Direction = "at_most" if objective.sense == "minimize" else "at_least"
        label = f"best {objective.metric}"
        limits = (*limits, Limit(objective.metric, direction, result.objective, label))
    return tuple(results)
