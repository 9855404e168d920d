"""Assignments evaluated from the program's own expressions at 30 digits: the judge of every route.

Many are judged together: choices that recur are evaluated once (`choices`), and metrics and margins follow
for each assignment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flint import arb
from sympy import Add, Basic, Symbol

from .choices import ChoiceValues, EvaluationError, choice_values, relative, terms_margin
from .exact import Ball, Value, ball, exact_function, finite, number
from .program import Assignment, Choice, Program, System

__all__ = ["Evaluation", "EvaluationError", "evaluate", "evaluate_all"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the expressions say of one assignment."""

    metrics: Mapping[str, Value]
    """Metrics that objectives and limits read."""
    margins: Mapping[str, Value]
    """Violation of every constraint and limit relative to its scale: at most `TOLERANCE` when it holds."""
    smallest: Mapping[str, bool]
    """Of every state: whether the sweep showed that it is the smallest root."""


def evaluate(program: Program, assignment: Assignment) -> Evaluation:
    """Evaluate an assignment; raises `EvaluationError` with the reason when it has no value."""
    found = evaluate_all(program, (assignment,))[0]
    if isinstance(found, EvaluationError):
        raise found
    return found


def evaluate_all(program: Program, assignments: Sequence[Assignment]) -> list[Evaluation | EvaluationError]:
    """Each assignment's evaluation, or why it has none."""
    systems = {system.name: system for system in program.systems}
    parameters = {symbol: ball(value) for symbol, value in program.parameters.items()}
    values: dict[tuple[str, Choice], ChoiceValues | EvaluationError] = {}
    for name, system in systems.items():
        rows = [assignment.choices for assignment in assignments if assignment.system == name]
        for pool, choices in zip(system.pools, zip(*rows, strict=True), strict=False):
            found = choice_values(pool, tuple(dict.fromkeys(choices)), parameters)
            values |= {(name, choice): value for choice, value in found.items()}
    return [
        _judged(program, systems.get(assignment.system), assignment, values, parameters)
        for assignment in assignments
    ]


def _judged(
    program: Program,
    system: System | None,
    assignment: Assignment,
    values: Mapping[tuple[str, Choice], ChoiceValues | EvaluationError],
    parameters: Mapping[Symbol, Ball],
) -> Evaluation | EvaluationError:
    if system is None:
        return EvaluationError(f"no system is called {assignment.system!r}")
    parts: list[ChoiceValues] = []
    for choice in assignment.choices:
        value = values[assignment.system, choice]
        if isinstance(value, EvaluationError):
            return value
        parts.append(value)
    try:
        return _joined(program, system, parts, parameters)
    except ArithmeticError as error:
        return EvaluationError(f"an expression is undefined at the assignment: {error}")


def _joined(
    program: Program, system: System, parts: Sequence[ChoiceValues], parameters: Mapping[Symbol, Ball]
) -> Evaluation:
    known = dict(parameters)
    margins: dict[str, Value] = {}
    smallest: dict[str, bool] = {}
    for pool, part in zip(system.pools, parts, strict=True):
        known |= part.attributes
        margins |= {f"{pool.name}.{name}": margin for name, margin in part.margins.items()}
        smallest |= {f"{pool.name}.{name}": shown for name, shown in part.smallest.items()}
    for constraint in system.constraints:
        margins[constraint.name] = terms_margin(_values(Add.make_args(constraint.expression), known))
    used = sorted({o.metric for o in program.objectives} | {limit.metric for limit in program.limits})
    metrics = dict(zip(used, _values(tuple(system.metrics[name] for name in used), known), strict=True))
    for limit in program.limits:
        bound = ball(limit.value)
        margins[limit.name] = relative(limit.sign * (metrics[limit.metric] - bound), abs(bound))
    return Evaluation({name: number(value) for name, value in metrics.items()}, margins, smallest)


def _values(expressions: tuple[Basic, ...], known: Mapping[Symbol, Ball]) -> Sequence[arb]:
    return finite(exact_function(expressions)(known))
