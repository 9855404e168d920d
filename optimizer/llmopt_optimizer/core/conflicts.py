"""Why a program is infeasible: limits and constraint groups that cannot hold together, and what would help.

A **group** is a limit, or all labelled constraints with the same label. A deletion filter leaves groups out
one at a time and keeps those without which an assignment exists: what is left is irreducible, every proper
subset of it can be satisfied. For every limit the smallest relaxation is found by optimising its metric
with all the other limits kept. Constraints without a label are rules of validity and take no part.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from .deadline import DeadlineError
from .findings import Relaxation
from .preparation import CompiledProgram, compile_program
from .program import Limit, Objective, Program, Sense
from .solvers.outcome import SolveStatus
from .solving import open_space, solve_space


@dataclass(frozen=True, slots=True)
class Conflict:
    """What an infeasible program's limits say to each other."""

    groups: tuple[str, ...]
    """Names of groups that cannot hold together; empty when the rules of validity alone are infeasible."""
    irreducible: bool
    """Whether every proper subset was shown to be satisfiable: false when the time ended first."""
    relaxations: tuple[Relaxation, ...]


def explain_infeasible(
    program: Program, compiled: CompiledProgram | None = None, seconds: float | None = None
) -> Conflict:
    """An irreducible conflict of an infeasible program, and the smallest relaxation of each limit alone."""
    deadline = None if seconds is None else time.monotonic() + seconds
    compiled = compiled or compile_program(program)
    groups, irreducible = _filtered(program, compiled, deadline)
    relaxations = []
    for limit in program.limits:
        try:
            needed = _needed(program, compiled, limit, deadline)
        except DeadlineError:
            break
        relaxations.append(Relaxation(limit.name, limit.value, needed, ""))
    return Conflict(groups, irreducible, tuple(relaxations))


def _filtered(
    program: Program, compiled: CompiledProgram, deadline: float | None
) -> tuple[tuple[str, ...], bool]:
    """Deletion filter: leave out each group in turn; it stays out if the rest is still infeasible."""
    kept = list(_group_names(program))
    certain = True
    for name in tuple(kept):
        rest = [other for other in kept if other != name]
        status = _status(program, compiled, frozenset(rest), deadline)
        if status is SolveStatus.INFEASIBLE:
            kept = rest
        certain = certain and status in (SolveStatus.INFEASIBLE, SolveStatus.OPTIMAL, SolveStatus.FEASIBLE)
    return tuple(kept), certain


def _group_names(program: Program) -> dict[str, None]:
    constraints = [c for system in program.systems for c in system.constraints]
    constraints += [c for s in program.systems for p in s.pools for v in p.variants for c in v.constraints]
    names = [limit.name for limit in program.limits] + [c.label for c in constraints if c.label]
    return dict.fromkeys(names)


def _status(
    program: Program, compiled: CompiledProgram, groups: frozenset[str], deadline: float | None
) -> SolveStatus:
    """Whether an assignment meets the validity rules and these groups."""
    limits = tuple(limit for limit in program.limits if limit.name in groups)
    ignore = frozenset(_group_names(program)) - groups
    reduced = replace(program, limits=limits, objectives=program.objectives[:1])
    try:
        space = open_space(reduced, compiled, ignore, deadline)
        return solve_space(space, time.monotonic(), deadline).status
    except DeadlineError:
        return SolveStatus.LIMIT


def _needed(
    program: Program, compiled: CompiledProgram, limit: Limit, deadline: float | None
) -> float | None:
    """The value of the limit at which an assignment exists, all else kept; None when there is none."""
    others = tuple(other for other in program.limits if other is not limit)
    sense: Sense = "minimize" if limit.direction == "at_most" else "maximize"
    best = replace(program, limits=others, objectives=(Objective(limit.metric, sense),))
    result = solve_space(open_space(best, compiled, deadline=deadline), time.monotonic(), deadline)
    return result.objective if result.status is SolveStatus.OPTIMAL else None
