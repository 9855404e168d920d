"""Choices of a pool evaluated at 30 digits, many of them together.

States are found twice: a sweep `x <- g(x)` in floating point from the lower bound, for all choices of a
variant at once, which shows that no smaller root lies below its end; and secant steps at 30 digits, which
give the root's digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import mpmath
import numpy as np
from flint import arb, ctx
from numpy.typing import NDArray
from sympy import Add, Expr, Symbol

from .exact import BITS, DIGITS, Ball, ExactFunction, Value, ball, exact_function, finite, number
from .lowering import Floats, Function, compile_expressions
from .program import Choice, Pool, State, Variant
from .states import BISECTIONS

SWEEP_STEPS = 20_000
SWEEP_REACH = 1e-6
"""The sweep must come this close to the root, relatively, to show that it is the smallest one."""
POLISHED = 10.0 ** (3 - DIGITS)
POLISHED_ENOUGH = 1e-15


class EvaluationError(Exception):
    """The assignment has no value: a choice outside its domain, no root, or an undefined expression."""


@dataclass(frozen=True, slots=True)
class ChoiceValues:
    """What a choice gives to its system."""

    attributes: Mapping[Symbol, Ball]
    margins: Mapping[str, Value]
    """Violation of every constraint of the variant relative to its scale."""
    smallest: Mapping[str, bool]
    """Of every state: whether the sweep showed that it is the smallest root."""


@dataclass(slots=True)
class _Draft:
    """A choice on its way: what is known of it, or why it has no value."""

    known: dict[Symbol, Ball]
    smallest: dict[str, bool] = field(default_factory=dict)
    error: EvaluationError | None = None


def choice_values(
    pool: Pool, choices: Sequence[Choice], parameters: Mapping[Symbol, Ball]
) -> dict[Choice, ChoiceValues | EvaluationError]:
    """The values of distinct choices of a pool, or why one has none."""
    found: dict[Choice, ChoiceValues | EvaluationError] = {}
    variants = {variant.name: variant for variant in pool.variants}
    for name in dict.fromkeys(choice.variant for choice in choices):
        listed = [choice for choice in choices if choice.variant == name]
        variant = variants.get(name)
        if variant is None or any(choice.pool != pool.name for choice in listed):
            found |= {c: EvaluationError(f"pool {pool.name!r} has no variant {name!r}") for c in listed}
        else:
            found |= zip(listed, _variant_values(variant, listed, parameters), strict=True)
    return found


def _variant_values(
    variant: Variant, choices: Sequence[Choice], parameters: Mapping[Symbol, Ball]
) -> list[ChoiceValues | EvaluationError]:
    drafts = [_decided(variant, choice, parameters) for choice in choices]
    for state in variant.states:
        _add_state(state, [draft for draft in drafts if draft.error is None])
    terms = [Add.make_args(constraint.expression) for constraint in variant.constraints]
    listed = (*variant.attributes.values(), *(term for each in terms for term in each))
    function = exact_function(listed)
    return [draft.error or _completed(variant, function, draft) for draft in drafts]


def _decided(variant: Variant, choice: Choice, parameters: Mapping[Symbol, Ball]) -> _Draft:
    chosen, known = dict(choice.values), dict(parameters)
    for decision in variant.decisions:
        value = chosen.get(decision.symbol.name)
        if value is None or value not in decision.values:
            return _Draft(known, error=EvaluationError(f"{decision.symbol} = {value} is not in its domain"))
        known[decision.symbol] = ball(value)
    return _Draft(known)


def _completed(variant: Variant, function: ExactFunction, draft: _Draft) -> ChoiceValues | EvaluationError:
    """Attributes, and margins of constraints, from the function of all attributes and terms."""
    try:
        values = iter(finite(function(draft.known)))
    except ArithmeticError as error:
        return EvaluationError(f"an expression is undefined at the assignment: {error}")
    attributes = {symbol: next(values) for symbol in variant.attributes}
    margins = {
        constraint.name: terms_margin([next(values) for _ in Add.make_args(constraint.expression)])
        for constraint in variant.constraints
    }
    return ChoiceValues(attributes, margins, draft.smallest)


def terms_margin(terms: Sequence[Ball]) -> Value:
    """The violation of `sum of terms <= 0` relative to the sum of the terms' magnitudes."""
    with ctx.workprec(BITS):
        return relative(sum(terms, arb(0)), sum(map(abs, terms), arb(0)))


def relative(excess: Ball, scale: Ball) -> Value:
    """Violation over scale; a violation of a comparison without scale counts in full."""
    if excess.mid() <= 0:
        return mpmath.mpf(0)
    return number(excess) / number(scale) if scale.mid() > 0 else mpmath.inf


def _add_state(state: State, drafts: Sequence[_Draft]) -> None:
    """Give every draft the state's root, or the reason why there is none."""
    if not drafts:
        return
    ends = exact_function((state.lower, state.upper))
    spans = np.array([[float(end) for end in ends(draft.known)] for draft in drafts]).reshape(-1, 2)
    equation = _Equation(_compiled(state.equation), state.symbol, _arrays(drafts))
    reached = (_swept if state.increasing else _bisected)(equation, spans[:, 0], spans[:, 1])
    exactly = exact_function((state.equation,))
    for draft, start, upper in zip(drafts, reached.tolist(), spans[:, 1].tolist(), strict=True):
        try:
            root = _root(exactly, state.symbol, draft.known, start, upper)
        except EvaluationError as error:
            draft.error = error
            continue
        draft.smallest[str(state.symbol)] = abs(float(root) - start) <= SWEEP_REACH * abs(start)
        draft.known[state.symbol] = root


@dataclass(frozen=True, slots=True)
class _Equation:
    """g(x) in floating point, for some of the drafts."""

    function: Function
    symbol: Symbol
    values: Mapping[Symbol, Floats]

    def __call__(self, x: Floats, rows: NDArray[np.intp]) -> Floats:
        read = (symbol for symbol in self.function.symbols if symbol != self.symbol)
        known = {symbol: self.values[symbol][rows] for symbol in read}
        return self.function({**known, self.symbol: x}, x.shape)[0]


@lru_cache(maxsize=256)
def _compiled(equation: Expr) -> Function:
    """Compiling takes longer than all that is done with it: the choices of a front share it."""
    return compile_expressions((equation,))


def _arrays(drafts: Sequence[_Draft]) -> dict[Symbol, Floats]:
    return {symbol: np.array([float(draft.known[symbol]) for draft in drafts]) for symbol in drafts[0].known}


def _swept(equation: _Equation, lower: Floats, upper: Floats) -> Floats:
    """The end of `x <- g(x)` from below, nan beyond the upper bound; every root is at or above it."""
    x, rows = lower.copy(), np.arange(len(lower))
    for _ in range(SWEEP_STEPS):
        image = equation(x[rows], rows)
        inside = image <= upper[rows] * (1 + 1e-9)  # false for nan
        moving = inside & (image - x[rows] > 1e-15 * np.abs(x[rows]))
        x[rows[~inside]] = np.nan
        x[rows[moving]] = image[moving]
        rows = rows[moving]
        if not rows.size:
            break
    return x


def _bisected(equation: _Equation, lower: Floats, upper: Floats) -> Floats:
    """A point next to the only root of an equation that does not increase."""
    low, high, rows = lower.copy(), upper.copy(), np.arange(len(lower))
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        above = equation(middle, rows) >= middle
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return low


def _root(
    function: ExactFunction, symbol: Symbol, known: Mapping[Symbol, Ball], start: float, upper: float
) -> Ball:
    """The root of the state's equation next to `start`, which is at most the root, to about 25 digits."""
    if not start <= upper * (1 + 1e-9):
        raise EvaluationError(f"state {symbol} has no root up to its upper bound {upper:g}")
    with ctx.workprec(BITS):
        previous = arb(start)
        before = _residual(function, symbol, known, previous)
        x = (previous + before).mid()
        for _ in range(100):
            after = _residual(function, symbol, known, x)
            if after == before or abs(after) <= abs(x) * POLISHED:
                break
            previous, x, before = x, (x - after * (x - previous) / (after - before)).mid(), after
        if abs(after) > abs(x) * POLISHED_ENOUGH:
            raise EvaluationError(f"no root next to {start:g} at {DIGITS} digits")
    if x > upper * (1 + 1e-9):
        raise EvaluationError(f"state {symbol} has no root up to its upper bound {upper:g}")
    return x


def _residual(function: ExactFunction, symbol: Symbol, known: Mapping[Symbol, Ball], x: Ball) -> Ball:
    """The midpoint of g(x) - x; raises `EvaluationError` where g has no value."""
    value = (function({**known, symbol: x})[0] - x).mid()
    if not value.is_finite():
        raise EvaluationError(f"the equation of {symbol} is undefined at {float(x):g}")
    return value
