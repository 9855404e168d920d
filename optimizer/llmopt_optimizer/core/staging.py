"""Expressions evaluated in two stages, so that what many rows share is computed once.

Rows of a block are products of domains: rows that agree in everything but the innermost decision share every
subexpression that does not read it. The early stage evaluates those, once a group of rows; the late stage
reads them as symbols.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sympy import Add, Basic, Expr, Max, Min, Mul, Symbol
from sympy.core.relational import Relational

from .algebra import symbols_of
from .lowering import Floats, Function, compile_expressions

_ASSOCIATIVE = (Add, Mul, Max, Min)


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows in groups: the first row of each group, and the group of every row."""

    first: NDArray[np.intp]
    of_row: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Staged:
    """Several expressions compiled in two stages."""

    shared: tuple[Symbol, ...]
    early: Function
    """Values of `shared`; reads nothing that differs within a group."""
    late: Function

    def __call__(self, values: Mapping[Symbol, Floats], rows: int, groups: Groups) -> list[Floats]:
        """The values of the expressions in every row."""
        first = {s: values[s][groups.first] if np.ndim(values[s]) else values[s] for s in self.early.symbols}
        found = self.early(first, (len(groups.first),))
        known = {symbol: array[groups.of_row] for symbol, array in zip(self.shared, found, strict=True)}
        return self.late({**values, **known}, (rows,))


def compile_staged(expressions: Iterable[Expr], late: Collection[Symbol]) -> Staged:
    """Split and compile expressions; `late` are the symbols that differ within a group."""
    splitting = _Splitting(frozenset(late))
    reduced = [splitting.late_part(expression) for expression in expressions]
    shared = tuple(splitting.shared.values())
    return Staged(shared, compile_expressions(splitting.shared), compile_expressions(reduced))


@dataclass(slots=True)
class _Splitting:
    """The shared subexpressions found so far, each with its symbol."""

    late: frozenset[Symbol]
    shared: dict[Basic, Symbol] = field(default_factory=dict)
    _reads_late: dict[Basic, bool] = field(default_factory=dict)
    _done: dict[Basic, Basic] = field(default_factory=dict)

    def late_part(self, expression: Basic) -> Basic:
        """The expression with a symbol for every largest part that reads nothing late."""
        if expression not in self._done:
            self._done[expression] = self._split(expression)
        return self._done[expression]

    def _split(self, expression: Basic) -> Basic:
        if not expression.args:
            return expression
        if not isinstance(expression, Expr):  # a condition stays one: only numbers have symbols
            return _unevaluated(expression, [self.late_part(argument) for argument in expression.args])
        if not self._is_late(expression):
            return self._symbol(expression)
        early = [argument for argument in expression.args if not self._is_late(argument)]
        if isinstance(expression, _ASSOCIATIVE) and len(early) > 1:
            joined = self._symbol(_unevaluated(expression, early))
            rest = [self.late_part(each) for each in expression.args if self._is_late(each)]
            return _unevaluated(expression, [joined, *rest])
        return _unevaluated(expression, [self.late_part(argument) for argument in expression.args])

    def _symbol(self, expression: Basic) -> Basic:
        if expression.is_number or not symbols_of(expression):
            return expression
        if expression not in self.shared:
            self.shared[expression] = Symbol(f"shared_{len(self.shared)}", real=True)
        return self.shared[expression]

    def _is_late(self, expression: Basic) -> bool:
        if expression not in self._reads_late:
            own = expression in self.late
            self._reads_late[expression] = own or any(map(self._is_late, expression.args))
        return self._reads_late[expression]


def _unevaluated(expression: Basic, arguments: Sequence[Basic]) -> Basic:
    """The same node on other arguments; there is nothing to simplify, and looking for it takes seconds."""
    if isinstance(expression, Expr | Relational):
        return expression.func(*arguments, evaluate=False)
    return expression.func(*arguments)
