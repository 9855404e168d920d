"""Expressions evaluated with mpmath at 30 digits, node by node: shares no code with the numpy route."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any, TypeAlias

import mpmath
from sympy import (
    Abs,
    Add,
    And,
    Basic,
    Float,
    Max,
    Min,
    Mod,
    Mul,
    Not,
    Number,
    NumberSymbol,
    Or,
    Piecewise,
    Pow,
    Rational,
    Sum,
    Symbol,
    ceiling,
    exp,
    floor,
    log,
)
from sympy.core.relational import Eq, Ge, Gt, Le, Lt, Ne

from .lowering import SNAP

DIGITS = 30
Value: TypeAlias = Any
"""An mpmath number, or a bool for a condition."""


def precise_value(expression: Basic, known: Mapping[Symbol, Value]) -> Value:
    """The expression at `known`, to about `DIGITS` digits; nan where no branch of a Piecewise applies.

    Raises `ArithmeticError` or `ValueError` outside the expression's domain.
    """
    with mpmath.workdps(DIGITS):
        return _value(expression, known, {})


def precise_values(expressions: Iterable[Basic], known: Mapping[Symbol, Value]) -> list[Value]:
    """Several expressions at `known`, their shared parts computed once; otherwise as `precise_value`."""
    seen: dict[Basic, Value] = {}
    with mpmath.workdps(DIGITS):
        return [_value(expression, known, seen) for expression in expressions]


def _value(expression: Basic, known: Mapping[Symbol, Value], seen: dict[Basic, Value]) -> Value:
    """The expression's value; `seen` holds those of its shared parts, each of which is computed once."""
    if isinstance(expression, Float | Rational):  # as they are: numbers are slow keys
        return _number(expression)
    if expression not in seen:
        seen[expression] = _computed(expression, known, seen)
    return seen[expression]


def _number(number: Float | Rational) -> Value:
    if isinstance(number, Float):
        return mpmath.mpf(number._mpf_)
    return mpmath.mpf(number.p) / number.q


def _computed(expression: Basic, known: Mapping[Symbol, Value], seen: dict[Basic, Value]) -> Value:
    if expression.is_Symbol:
        return mpmath.mpf(known[expression])
    if isinstance(expression, Number | NumberSymbol):
        return mpmath.mpf(expression.evalf(DIGITS)._to_mpmath(mpmath.mp.prec))
    if isinstance(expression, Piecewise):
        holding = (value for value, condition in expression.args if _value(condition, known, seen))
        chosen = next(holding, None)
        return mpmath.nan if chosen is None else _value(chosen, known, seen)
    if isinstance(expression, Sum):
        return _summed(expression, known)
    if not expression.args:
        return bool(expression)
    arguments = (_value(argument, known, seen) for argument in expression.args)
    return _OPERATIONS[expression.func](*arguments)


def _summed(expression: Sum, known: Mapping[Symbol, Value]) -> Value:
    """Term by term, so that no closed form is taken on trust."""
    index, first, last = expression.limits[0]
    ends = [int(mpmath.nint(_value(end, known, {}))) for end in (first, last)]
    terms = range(ends[0], ends[1] + 1)
    inner = Sum(expression.function, *expression.limits[1:]) if expression.limits[1:] else expression.function
    return mpmath.fsum(_value(inner, {**known, index: mpmath.mpf(term)}, {}) for term in terms)


def _ceiling(value: Value) -> Value:
    return mpmath.ceil(value - SNAP * abs(value))


def _floor(value: Value) -> Value:
    return mpmath.floor(value + SNAP * abs(value))


def _folded(function: Callable[[Value, Value], Value]) -> Callable[..., Value]:
    return lambda *values: reduce(function, values)


_OPERATIONS: dict[Any, Callable[..., Value]] = {
    Add: _folded(operator.add),
    Mul: _folded(operator.mul),
    Pow: mpmath.power,
    exp: mpmath.exp,
    log: mpmath.log,
    Max: max,
    Min: min,
    Abs: abs,
    Mod: operator.mod,
    ceiling: _ceiling,
    floor: _floor,
    Le: operator.le,
    Lt: operator.lt,
    Ge: operator.ge,
    Gt: operator.gt,
    Eq: operator.eq,
    Ne: operator.ne,
    And: lambda *values: all(values),
    Or: lambda *values: any(values),
    Not: operator.not_,
}
