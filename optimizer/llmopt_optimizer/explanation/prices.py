"""What each service level costs: the program solved again with the level moved, and without it.

A shadow price from a linear relaxation says nothing of a choice among whole deployments; solving again does.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from llmopt_optimizer.core.preparation import CompiledProgram
from llmopt_optimizer.core.program import Limit, Program
from llmopt_optimizer.core.solvers.outcome import SolveStatus
from llmopt_optimizer.core.solving import solve
from llmopt_optimizer.explanation.findings import Price
from llmopt_optimizer.formulation.levels import level_text
from llmopt_optimizer.result import Point
from llmopt_problems.schema.service import ServiceLevel

MOVED = 0.1
"""Relative move of a level."""
BINDING = 0.02
"""A level is called binding when simulation comes this close to it, relative."""


def prices(
    program: Program,
    compiled: CompiledProgram,
    levels: Sequence[ServiceLevel],
    best: Point,
    deadline: float,
) -> tuple[Price, ...]:
    """The price of every level for which there is time, in the order of the problem."""
    now = optimum(program, compiled, deadline)
    found = []
    for index, level in enumerate(levels):
        if time.monotonic() >= deadline:
            break
        limit = program.limits[index]
        easier = limit.value * (1 + limit.sign * MOVED)
        harder = limit.value * (1 - limit.sign * MOVED)
        reached = best.simulated[level.key].value
        found.append(
            Price(
                level=level_text(level),
                asked=level.value,
                unit=level.unit_text,
                reached=reached,
                binding=abs(reached - level.value) <= BINDING * abs(level.value),
                now=now,
                tighter=optimum(with_limit(program, index, harder), compiled, deadline),
                looser=optimum(with_limit(program, index, easier), compiled, deadline),
                without=optimum(with_limit(program, index, None), compiled, deadline),
                moved=MOVED,
            )
        )
    return tuple(found)


def with_limit(program: Program, index: int, value: float | None) -> Program:
    """The program with one limit at another value, or without it."""
    limits: list[Limit] = list(program.limits)
    if value is None:
        del limits[index]
    else:
        limits[index] = replace(limits[index], value=value)
    return replace(program, limits=tuple(limits))


def optimum(program: Program, compiled: CompiledProgram, deadline: float) -> float | None:
    """The best first objective; None where nothing is feasible or no time is left."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        return None
    result = solve(program, compiled, seconds, check=False)
    return result.objective if result.status is SolveStatus.OPTIMAL else None
