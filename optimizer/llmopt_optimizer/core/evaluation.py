"""Assignments evaluated from the program's own expressions at 30 digits: the judge of every route.

Many are judged together: choices that recur are evaluated once (`choices`), and metrics and margins follow
for each assignment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sympy import Add, Symbol

from .choices import ChoiceValues, EvaluationError, choice_values, relative, terms_margin
from .exact import Ball, ExactFunction, Value, ball, exact_function, finite, number
from .program import Assignment, Program, System

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
    parameters = {symbol: ball(value) for symbol, value in program.parameters.items()}
    found: dict[Assignment, Evaluation | EvaluationError] = {}
    for system in program.systems:
        judge = _judge(program, system, parameters)
        listed = [assignment for assignment in assignments if assignment.system == system.name]
        rows = zip(*(assignment.choices for assignment in listed), strict=True)
        pools = zip(system.pools, rows, strict=False)
        values = [choice_values(pool, tuple(dict.fromkeys(chosen)), parameters) for pool, chosen in pools]
        for assignment in listed:
            found[assignment] = judge.evaluated(
                [known[choice] for known, choice in zip(values, assignment.choices, strict=True)]
            )
    unknown = [assignment for assignment in assignments if assignment not in found]
    found |= {a: EvaluationError(f"no system is called {a.system!r}") for a in unknown}
    return [found[assignment] for assignment in assignments]


@dataclass(frozen=True, slots=True)
class _Judge:
    """A system's metrics and constraints as one function of what its choices give."""

    program: Program
    system: System
    parameters: Mapping[Symbol, Ball]
    metrics: tuple[str, ...]
    function: ExactFunction
    """The metrics, then every term of every constraint."""

    def evaluated(self, parts: Sequence[ChoiceValues | EvaluationError]) -> Evaluation | EvaluationError:
        """The evaluation of an assignment with these choices, or why it has none."""
        values = [part for part in parts if isinstance(part, ChoiceValues)]
        if len(values) < len(parts):
            return next(part for part in parts if isinstance(part, EvaluationError))
        try:
            return self._evaluation(values)
        except ArithmeticError as error:
            return EvaluationError(f"an expression is undefined at the assignment: {error}")

    def _evaluation(self, parts: Sequence[ChoiceValues]) -> Evaluation:
        known = dict(self.parameters)
        margins: dict[str, Value] = {}
        smallest: dict[str, bool] = {}
        for pool, part in zip(self.system.pools, parts, strict=True):
            known |= part.attributes
            margins |= {f"{pool.name}.{name}": margin for name, margin in part.margins.items()}
            smallest |= {f"{pool.name}.{name}": shown for name, shown in part.smallest.items()}
        values = iter(finite(self.function(known)))
        metrics = {name: next(values) for name in self.metrics}
        for constraint in self.system.constraints:
            terms = [next(values) for _ in Add.make_args(constraint.expression)]
            margins[constraint.name] = terms_margin(terms)
        for limit in self.program.limits:
            bound = ball(limit.value)
            margins[limit.name] = relative(limit.sign * (metrics[limit.metric] - bound), abs(bound))
        return Evaluation({name: number(value) for name, value in metrics.items()}, margins, smallest)


def _judge(program: Program, system: System, parameters: Mapping[Symbol, Ball]) -> _Judge:
    used = sorted({o.metric for o in program.objectives} | {limit.metric for limit in program.limits})
    terms = (term for c in system.constraints for term in Add.make_args(c.expression))
    function = exact_function((*(system.metrics[name] for name in used), *terms))
    return _Judge(program, system, parameters, tuple(used), function)
