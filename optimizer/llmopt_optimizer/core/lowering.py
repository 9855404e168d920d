"""Expressions become vectorised numpy functions.

A `Function` is a tape: the distinct nodes of several expressions, each after those that it reads and
with the numpy operation that it stands for. Making one is a walk; nothing is printed, parsed or simplified
again. Numbers beside arrays broadcast. `ceiling` and `floor` snap: a value within `SNAP` of an integer,
relatively, is that integer, so that `ceiling(2/3 * 6/4)` does not depend on the order of multiplication.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sympy import (
    Abs,
    Add,
    And,
    Basic,
    Expr,
    Heaviside,
    Max,
    Min,
    Mod,
    Mul,
    Not,
    Or,
    Piecewise,
    Pow,
    Sum,
    Symbol,
    ceiling,
    exp,
    floor,
    log,
    sign,
)
from sympy.core.relational import Eq, Ge, Gt, Le, Lt, Ne

from .algebra import symbols_of
from .program import ProgramError

Floats: TypeAlias = NDArray[np.float64]
Operation: TypeAlias = Callable[..., Any]
SNAP = 1e-12
"""Relative distance to an integer below which ceiling and floor take the integer."""
MOST_FACTORS = 16
"""Whole powers up to this are multiplied out by squaring."""


def snapped_ceil(value: Floats) -> Floats:
    """Ceiling that takes the integer within `SNAP` of the value."""
    return np.ceil(value - SNAP * np.abs(value))


def snapped_floor(value: Floats) -> Floats:
    """Floor that takes the integer within `SNAP` of the value."""
    return np.floor(value + SNAP * np.abs(value))


def _folded(operation: Operation) -> Operation:
    def folded(first: Any, *rest: Any) -> Any:
        return operation(first, rest[0]) if len(rest) == 1 else reduce(operation, rest, first)

    return folded


def _pieces(*parts: Any) -> Any:
    """Values and conditions in turn: the value of the first condition that holds."""
    result: Any = np.float64(np.nan)
    for value, condition in zip(parts[-2::-2], parts[::-2], strict=True):
        result = np.where(condition, value, result)
    return result


_OPERATIONS: dict[Any, Operation] = {
    Add: _folded(np.add),
    Mul: _folded(np.multiply),
    Pow: np.power,
    Max: _folded(np.maximum),
    Min: _folded(np.minimum),
    Abs: np.abs,
    Mod: np.mod,
    exp: np.exp,
    log: np.log,
    ceiling: snapped_ceil,
    floor: snapped_floor,
    Le: np.less_equal,
    Lt: np.less,
    Ge: np.greater_equal,
    Gt: np.greater,
    Eq: np.equal,
    Ne: np.not_equal,
    And: _folded(np.logical_and),
    Or: _folded(np.logical_or),
    Not: np.logical_not,
    Piecewise: _pieces,
    Heaviside: lambda value, at_zero=0.5: np.heaviside(value, at_zero),  # the slope of a Max
    sign: np.sign,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of a tape: registers in, register out, and the registers that nothing reads after it."""

    operation: Operation
    inputs: tuple[int, ...]
    output: int
    last: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Function:
    """Several expressions compiled together, common subexpressions shared."""

    symbols: tuple[Symbol, ...]
    constants: tuple[tuple[int, Any], ...]
    steps: tuple[Step, ...]
    results: tuple[int, ...]
    registers: int

    def __call__(self, values: Mapping[Symbol, Floats], shape: tuple[int, ...]) -> list[Floats]:
        """The values of the expressions, each broadcast to `shape`; symbols are looked up in `values`.

        Outside an expression's domain (a pole, a root of a negative number) the value is nan or inf: callers
        treat those rows as infeasible, hence the silenced floating-point warnings.
        """
        register: list[Any] = [None] * self.registers
        for place, symbol in enumerate(self.symbols):
            register[place] = values[symbol]
        for place, number in self.constants:
            register[place] = number
        with np.errstate(all="ignore"):
            for step in self.steps:
                register[step.output] = step.operation(*[register[place] for place in step.inputs])
                for place in step.last:
                    register[place] = None
        results = (np.asarray(register[place], dtype=np.float64) for place in self.results)
        return [np.broadcast_to(result, shape) for result in results]


def compile_expressions(expressions: Iterable[Expr]) -> Function:
    """One numpy function for several expressions over the symbols that they read.

    Raises `ProgramError` for a node that has no numeric form.
    """
    return compile_steps((), [each.doit() if each.has(Sum) else each for each in expressions])


def compile_steps(steps: Sequence[tuple[Symbol, Expr]], expressions: Sequence[Expr]) -> Function:
    """One numpy function for expressions over symbols of which `steps` define some, in order."""
    read = symbols_of(*(part for _, part in steps), *expressions) - {symbol for symbol, _ in steps}
    symbols = tuple(sorted(read, key=lambda s: (s.name, s.sort_key())))
    tape = _Tape({symbol: place for place, symbol in enumerate(symbols)})
    for symbol, part in steps:
        tape.places[symbol] = tape.place(part)
    results = tuple(tape.place(expression) for expression in expressions)
    done = _with_last_uses(tape.steps, {*range(len(symbols)), *results})
    return Function(symbols, tuple(tape.constants), done, results, tape.size)


@dataclass(slots=True)
class _Tape:
    """The registers of nodes so far, and the steps that fill them."""

    places: dict[Basic, int]
    constants: list[tuple[int, Any]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = len(self.places)

    def place(self, node: Basic) -> int:
        """The register of a node's value; each distinct node is computed once."""
        if node not in self.places:
            self.places[node] = self._number(node) if self._is_number(node) else self._computed(node)
        return self.places[node]

    def _is_number(self, node: Basic) -> bool:
        return not node.args or (isinstance(node, Expr) and not symbols_of(node))

    def _number(self, node: Basic) -> int:
        value = np.float64(node) if isinstance(node, Expr) else np.bool_(node)
        self.constants.append((self._new(), value))
        return self.size - 1

    def _computed(self, node: Basic) -> int:
        if isinstance(node, Pow):
            return self._power(node.base, node.exp)
        if isinstance(node, Mul):
            return self._product(node)
        if isinstance(node, Piecewise):
            parts = [part for pair in node.args for part in pair.args]
            return self._step(_pieces, [self.place(part) for part in parts])
        if node.func not in _OPERATIONS:
            raise ProgramError(f"{node.func.__name__} has no numeric form: write it with other functions")
        return self._step(_OPERATIONS[node.func], [self.place(argument) for argument in node.args])

    def _product(self, node: Mul) -> int:
        """Factors over divisors: a division costs less than a reciprocal and a product."""
        under = [arg for arg in node.args if isinstance(arg, Pow) and arg.exp == -1]
        over = [arg for arg in node.args if arg not in under]
        above = self._fold(np.multiply, [self.place(factor) for factor in over])
        below = self._fold(np.multiply, [self.place(divisor.base) for divisor in under])
        if below is None:
            assert above is not None
            return above
        return self._step(np.reciprocal, [below]) if above is None else self._step(np.divide, [above, below])

    def _fold(self, operation: Operation, places: list[int]) -> int | None:
        if not places:
            return None
        return places[0] if len(places) == 1 else self._step(_folded(operation), places)

    def _power(self, base: Basic, exponent: Basic) -> int:
        place = self.place(base)
        number = float(exponent) if exponent.is_number else None
        if number is None:
            return self._step(np.power, [place, self.place(exponent)])
        if number == 0.5:
            return self._step(np.sqrt, [place])
        if number.is_integer() and 1 <= abs(number) <= MOST_FACTORS:
            raised = self._squared(place, int(abs(number)))
            return raised if number > 0 else self._step(np.reciprocal, [raised])
        return self._step(np.power, [place, self.place(exponent)])

    def _squared(self, place: int, power: int) -> int:
        """x**n by squaring."""
        if power == 1:
            return place
        half = self._squared(place, power // 2)
        square = self._step(np.multiply, [half, half])
        return self._step(np.multiply, [square, place]) if power % 2 else square

    def _step(self, operation: Operation, inputs: list[int]) -> int:
        self.steps.append(Step(operation, tuple(inputs), self._new()))
        return self.size - 1

    def _new(self) -> int:
        self.size += 1
        return self.size - 1


def _with_last_uses(steps: list[Step], kept: set[int]) -> tuple[Step, ...]:
    """The steps, each with the registers that it may empty."""
    seen, marked = set(kept), []
    for step in reversed(steps):
        last = tuple(place for place in dict.fromkeys(step.inputs) if place not in seen)
        seen.update(last)
        marked.append(Step(step.operation, step.inputs, step.output, last))
    return tuple(reversed(marked))


def terms_magnitude(expression: Expr) -> Expr:
    """Sum of the magnitudes of an expression's additive terms: the scale of its comparison with zero."""
    return Add(*(Abs(term, evaluate=False) for term in Add.make_args(expression)), evaluate=False)
