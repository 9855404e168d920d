"""One assignment evaluated from the program's own expressions at 30 digits: the judge of every route.

States are found twice: a sweep `x <- g(x)` in floating point from the lower bound, which shows that no
smaller root lies below its end, and bisection and secant steps at 30 digits, which give the root's digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import mpmath
import numpy as np
from sympy import Add, Expr, Symbol

from .exact import DIGITS, Value, precise_value, precise_values
from .lowering import Function, compile_expressions
from .program import Assignment, Choice, Constraint, Pool, Program, State, System, Variant
from .states import BISECTIONS

SWEEP_STEPS = 20_000
SWEEP_REACH = 1e-6
"""The sweep must come this close to the root, relatively, to show that it is the smallest one."""


class EvaluationError(Exception):
    """The assignment has no value: a choice outside its domain, no root, or an undefined expression."""


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
    system = next((s for s in program.systems if s.name == assignment.system), None)
    if system is None:
        raise EvaluationError(f"no system is called {assignment.system!r}")
    try:
        with mpmath.workdps(DIGITS):
            return _evaluate(program, system, assignment)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise EvaluationError(f"an expression is undefined at the assignment: {error}") from error


def _evaluate(program: Program, system: System, assignment: Assignment) -> Evaluation:
    parameters = {symbol: mpmath.mpf(value) for symbol, value in program.parameters.items()}
    known = dict(parameters)
    margins: dict[str, Value] = {}
    smallest: dict[str, bool] = {}
    for pool, choice in zip(system.pools, assignment.choices, strict=True):
        variant = _variant(pool, choice)
        local = parameters | _decisions(variant, choice)
        for state in variant.states:
            local[state.symbol], smallest[f"{pool.name}.{state.symbol}"] = _solve_state(state, local)
        attributes, own = _pool_values(variant, local)
        margins |= {f"{pool.name}.{name}": margin for name, margin in own.items()}
        known |= attributes
    margins |= {constraint.name: _margin(constraint, known) for constraint in system.constraints}
    used = {o.metric for o in program.objectives} | {limit.metric for limit in program.limits}
    metrics = {name: precise_value(system.metrics[name], known) for name in sorted(used)}
    for limit in program.limits:
        excess = limit.sign * (metrics[limit.metric] - mpmath.mpf(limit.value))
        margins[limit.name] = _relative(excess, abs(mpmath.mpf(limit.value)))
    return Evaluation(metrics, margins, smallest)


def _pool_values(
    variant: Variant, local: Mapping[Symbol, Value]
) -> tuple[dict[Symbol, Value], dict[str, Value]]:
    """Attributes, and margins of constraints, their shared parts computed once."""
    terms = [Add.make_args(constraint.expression) for constraint in variant.constraints]
    values = precise_values([*variant.attributes.values(), *(term for each in terms for term in each)], local)
    attributes = dict(zip(variant.attributes, values, strict=False))
    rest = iter(values[len(attributes) :])
    margins = {
        constraint.name: _terms_margin([next(rest) for _ in each])
        for constraint, each in zip(variant.constraints, terms, strict=True)
    }
    return attributes, margins


def _variant(pool: Pool, choice: Choice) -> Variant:
    found = next((v for v in pool.variants if v.name == choice.variant), None)
    if found is None or choice.pool != pool.name:
        raise EvaluationError(f"pool {pool.name!r} has no variant {choice.variant!r}")
    return found


def _decisions(variant: Variant, choice: Choice) -> dict[Symbol, Value]:
    chosen = dict(choice.values)
    for decision in variant.decisions:
        if chosen.get(decision.symbol.name) not in decision.values:
            raise EvaluationError(
                f"{decision.symbol} = {chosen.get(decision.symbol.name)} is not in its domain"
            )
    return {decision.symbol: mpmath.mpf(chosen[decision.symbol.name]) for decision in variant.decisions}


def _margin(constraint: Constraint, known: Mapping[Symbol, Value]) -> Value:
    return _terms_margin(precise_values(Add.make_args(constraint.expression), known))


def _terms_margin(terms: list[Value]) -> Value:
    return _relative(mpmath.fsum(terms), mpmath.fsum(terms, absolute=True))


def _relative(excess: Value, scale: Value) -> Value:
    """Violation over scale; a violation of a comparison without scale counts in full."""
    if excess <= 0:
        return mpmath.mpf(0)
    return excess / scale if scale > 0 else mpmath.inf


def _solve_state(state: State, known: Mapping[Symbol, Value]) -> tuple[Value, bool]:
    lower, upper = precise_value(state.lower, known), precise_value(state.upper, known)
    search = _sweep if state.increasing else _bisected
    reached = search(state, known, float(lower), float(upper))

    def residual(x: Value) -> Value:
        return precise_value(state.equation, {**known, state.symbol: x}) - x

    root = _polished(residual, mpmath.mpf(reached))
    if root > upper * (1 + mpmath.mpf(10) ** -9):
        raise EvaluationError(f"state {state.symbol} has no root up to its upper bound {float(upper):g}")
    return root, abs(root - reached) <= SWEEP_REACH * abs(root)


@lru_cache(maxsize=256)
def _compiled(equation: Expr) -> Function:
    """Compiling takes longer than all that is done with it: the points of a front share it."""
    return compile_expressions((equation,))


def _sweep(state: State, known: Mapping[Symbol, Value], lower: float, upper: float) -> float:
    """The end of `x <- g(x)` from below; every root is at or above it."""
    function = _compiled(state.equation)
    values = {symbol: np.asarray(float(value)) for symbol, value in known.items()}
    x = lower
    for _ in range(SWEEP_STEPS):
        image = float(function({**values, state.symbol: np.asarray(x)}, ())[0])
        if not image <= upper * (1 + 1e-9):
            raise EvaluationError(f"state {state.symbol} has no root up to its upper bound {upper:g}")
        if image - x <= 1e-15 * abs(x):
            break
        x = image
    return x


def _bisected(state: State, known: Mapping[Symbol, Value], lower: float, upper: float) -> float:
    """A point next to the only root of an equation that does not increase."""
    function = _compiled(state.equation)
    values = {symbol: np.asarray(float(value)) for symbol, value in known.items()}
    for _ in range(BISECTIONS):
        middle = (lower + upper) / 2
        if float(function({**values, state.symbol: np.asarray(middle)}, ())[0]) >= middle:
            lower = middle
        else:
            upper = middle
    return lower


def _polished(residual: Callable[[Value], Value], start: Value) -> Value:
    """Root of a residual next to `start`, which is at most the root, to about 25 digits."""
    previous, x = start, start + residual(start)
    before, after = residual(previous), residual(x)
    for _ in range(100):
        if after == before or abs(after) <= abs(x) * mpmath.mpf(10) ** (3 - DIGITS):
            break
        previous, x, before = x, x - after * (x - previous) / (after - before), after
        after = residual(x)
    if abs(after) > abs(x) * mpmath.mpf(10) ** -15:
        raise EvaluationError(f"no root next to {float(start):g} at {DIGITS} digits")
    return x
