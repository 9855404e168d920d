"""Expressions at 30 digits in ball arithmetic (FLINT): shares no code with the numpy route.

An `ExactFunction` is a tape of several expressions, their shared parts computed once: a walk makes it, and
then a point costs microseconds, so that thousands of points can be judged. Numbers are balls that contain
the true value; comparisons, ceilings and floors read their midpoints, as any arithmetic of 30 digits would.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import mpmath
from flint import arb, ctx
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

from .algebra import symbols_of
from .lowering import SNAP

DIGITS = 30
BITS = 106
"""Bits of 30 digits and a few for what is lost on the way."""
Value: TypeAlias = Any
"""An mpmath number, or a bool for a condition."""
Ball: TypeAlias = Any
"""A FLINT ball, or a bool for a condition."""


_Step: TypeAlias = tuple[Callable[..., Ball], int, int | None, int]
"""An operation, the registers of its one or two operands, and the register of its result."""


@dataclass(frozen=True, slots=True)
class ExactFunction:
    """Several expressions over `symbols`, as steps on numbered registers."""

    symbols: tuple[Symbol, ...]
    registers: tuple[Ball, ...]
    """Numbers, None where a symbol or a step fills in."""
    steps: tuple[_Step, ...]
    results: tuple[int, ...]

    def __call__(self, known: Mapping[Symbol, Ball]) -> list[Ball]:
        """The values at `known` balls; no number (nan) outside an expression's domain."""
        register = [*(known[symbol] for symbol in self.symbols), *self.registers[len(self.symbols) :]]
        with ctx.workprec(BITS):
            for operation, first, second, output in self.steps:
                left = register[first]
                register[output] = operation(left) if second is None else operation(left, register[second])
        return [register[place] for place in self.results]


@lru_cache(maxsize=512)
def exact_function(expressions: tuple[Basic, ...]) -> ExactFunction:
    """The tape of several expressions; asking again for the same ones costs a look-up."""
    symbols = tuple(sorted(symbols_of(*expressions), key=lambda symbol: (symbol.name, symbol.sort_key())))
    tape = _Tape({symbol: place for place, symbol in enumerate(symbols)}, [None] * len(symbols))
    results = tuple(tape.place(expression) for expression in expressions)
    return ExactFunction(symbols, tuple(tape.registers), tuple(tape.steps), results)


def ball(value: Value) -> Ball:
    """A number of Python, numpy or mpmath as a ball without radius."""
    return value if isinstance(value, arb | bool) else arb(mpmath.mpf(value))


def finite(values: Sequence[Ball]) -> Sequence[Ball]:
    """The same values; raises `ArithmeticError` when one of them is no finite number."""
    if all(isinstance(value, bool) or value.is_finite() for value in values):
        return values
    raise ArithmeticError("a pole, or a root or logarithm of a negative number")


def number(value: Ball) -> Value:
    """The midpoint of a ball as an mpmath number."""
    return value if isinstance(value, bool) else mpmath.make_mpf(value.mid()._mpf_)


def precise_value(expression: Basic, known: Mapping[Symbol, Value]) -> Value:
    """The expression at `known`, to about `DIGITS` digits.

    Raises `ArithmeticError` outside the expression's domain, and where no branch of a Piecewise applies.
    """
    return precise_values((expression,), known)[0]


def precise_values(expressions: Iterable[Basic], known: Mapping[Symbol, Value]) -> list[Value]:
    """Several expressions at `known`, their shared parts computed once; otherwise as `precise_value`."""
    function = exact_function(tuple(expressions))
    balls = function({symbol: ball(known[symbol]) for symbol in function.symbols})
    return [number(value) for value in finite(balls)]


@dataclass(slots=True)
class _Tape:
    """The registers of nodes so far, and the steps that fill them."""

    places: dict[Basic, int]
    registers: list[Ball]
    steps: list[_Step] = field(default_factory=list)

    def place(self, node: Basic) -> int:
        """The register of a node's value; each distinct node is computed once."""
        if node not in self.places:
            self.places[node] = self._made(node)
        return self.places[node]

    def _made(self, node: Basic) -> int:
        if isinstance(node, Number | NumberSymbol):
            return self._constant(_number(node))
        if isinstance(node, Piecewise):
            return self._call(_pieces, [self.place(part) for pair in node.args for part in pair.args])
        if isinstance(node, Sum):
            return self._series(node)
        if not node.args:
            return self._constant(bool(node))
        places = [self.place(argument) for argument in node.args]
        if node.func in _FOLDED:
            return self._fold(_FOLDED[node.func], places)
        return self._step(_OPERATIONS[node.func], *places)

    def _series(self, node: Sum) -> int:
        """Term by term, so that no closed form is taken on trust."""
        index, first, last = node.limits[0]
        inner = Sum(node.function, *node.limits[1:]) if node.limits[1:] else node.function
        term = exact_function((inner,))
        read = [symbol for symbol in term.symbols if symbol != index]
        places = [self.place(part) for part in (first, last, *read)]

        def total(start: Ball, end: Ball, *values: Ball) -> Ball:
            known = dict(zip(read, values, strict=True))
            terms = range(round(float(start)), round(float(end)) + 1)
            return sum((term({**known, index: arb(place)})[0] for place in terms), arb(0))

        return self._call(total, places)

    def _constant(self, value: Ball) -> int:
        self.registers.append(value)
        return len(self.registers) - 1

    def _fold(self, operation: Callable[[Ball, Ball], Ball], places: list[int]) -> int:
        joined = places[0]
        for place in places[1:]:
            joined = self._step(operation, joined, place)
        return joined

    def _call(self, operation: Callable[..., Ball], places: list[int]) -> int:
        """An operation of any number of operands: they are packed, two at a time, and handed over."""
        packed = self._fold(lambda pack, operand: (*pack, operand), [self._constant(()), *places])
        return self._step(lambda pack: operation(*pack), packed)

    def _step(self, operation: Callable[..., Ball], first: int, second: int | None = None) -> int:
        self.steps.append((operation, first, second, self._constant(None)))
        return len(self.registers) - 1


def _number(node: Basic) -> Ball:
    with ctx.workprec(BITS), mpmath.workprec(BITS):
        if isinstance(node, Rational):
            return arb(int(node.p)) / arb(int(node.q))
        if isinstance(node, Float):
            return arb(mpmath.make_mpf(node._mpf_))
        return arb(mpmath.mpf(node.evalf(DIGITS)._to_mpmath(BITS)))


def _pieces(*parts: Ball) -> Ball:
    """Values and conditions in turn: the value of the first condition that holds."""
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return next((value for value, holds in pairs if holds), arb.nan())


def _by_midpoints(compare: Callable[[Ball, Ball], bool]) -> Callable[[Ball, Ball], bool]:
    return lambda left, right: compare(left.mid(), right.mid())


def _ceiling(value: Ball) -> Ball:
    return arb((value - SNAP * abs(value)).mid()).ceil()


def _floor(value: Ball) -> Ball:
    return arb((value + SNAP * abs(value)).mid()).floor()


def _modulo(value: Ball, divisor: Ball) -> Ball:
    return value - divisor * arb((value / divisor).mid()).floor()


_FOLDED: Mapping[Any, Callable[[Ball, Ball], Ball]] = {
    Add: operator.add,
    Mul: operator.mul,
    Max: arb.max,
    Min: arb.min,
    And: operator.and_,
    Or: operator.or_,
}
_OPERATIONS: Mapping[Any, Callable[..., Ball]] = {
    Pow: operator.pow,
    exp: arb.exp,
    log: arb.log,
    Abs: abs,
    Mod: _modulo,
    ceiling: _ceiling,
    floor: _floor,
    Le: _by_midpoints(operator.le),
    Lt: _by_midpoints(operator.lt),
    Ge: _by_midpoints(operator.ge),
    Gt: _by_midpoints(operator.gt),
    Eq: _by_midpoints(operator.eq),
    Ne: _by_midpoints(operator.ne),
    Not: operator.not_,
}
