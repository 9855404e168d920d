"""Lowering: SymPy expressions become a tape, and a tape with some inputs known becomes a shorter tape.

Both go through one `_Builder`, which folds constants, drops neutral elements and gives equal
instructions one slot (so common subexpressions are evaluated once).  Ratios stay divisions: `ceil(n/120)`
must not become `ceil(n * 0.00833)`, which is one too large where the product rounds up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Final

import numpy as np
import sympy as sp
from numpy.typing import NDArray
from sympy.core.function import AppliedUndef
from sympy.logic import boolalg

from llmopt_calibration import tape as tp
from llmopt_calibration.grid import Grid
from llmopt_calibration.tape import Tape, TapeArrays

LARGEST_UNROLLED_POWER: Final = 16
"""Integer powers up to this one are products; larger ones use the power instruction."""


class TapeError(ValueError):
    """An expression that a tape cannot hold."""


def lower(
    expressions: Sequence[sp.Expr], symbols: Sequence[sp.Symbol], grids: Mapping[str, Grid] | None = None
) -> Tape:
    """The tape with inputs `symbols` and one output for each expression.

    Where an expression applies an undefined function of two arguments whose name is in `grids`, the tape
    reads that grid: `Function("decode")(b - 1, ceiling(K / b / 64))` is the entry of grid "decode". Raises
    `TapeError` for a symbol that is no input and for a function that tapes do not know.
    """
    builder = _Builder(inputs=len(symbols), grids=_Grids(dict(grids or {})))
    reader = _Reader(builder, {symbol: slot for slot, symbol in enumerate(symbols)})
    outputs = [reader.slot(sp.sympify(expression, strict=True)) for expression in expressions]
    return Tape(tuple(symbols), builder.arrays(outputs))


def bind(tape: Tape, values: Mapping[sp.Symbol, float]) -> Tape:
    """The tape of the remaining inputs once the inputs in `values` are numbers."""
    rest = tuple(symbol for symbol in tape.symbols if symbol not in values)
    arrays = tape.arrays
    builder = _Builder(inputs=len(rest), grids=_Grids({}, [arrays.grids]))
    place = {symbol: slot for slot, symbol in enumerate(rest)}
    slots = [
        place[symbol] if symbol in place else builder.constant(float(values[symbol]))
        for symbol in tape.symbols
    ]
    slots += [builder.constant(value) for value in arrays.constants.tolist()]
    for op, x, y, z in arrays.code.tolist():
        slots.append(builder.emit(op, slots[x], slots[y], slots[z]))
    return Tape(rest, builder.arrays([slots[slot] for slot in arrays.outputs.tolist()]))


@dataclass(slots=True)
class _Grids:
    """Grids that expressions may name, and those that have been named, laid out one behind the other."""

    known: Mapping[str, Grid]
    placed: list[NDArray[np.float64]] = field(default_factory=list)
    _starts: dict[str, int] = field(default_factory=dict)

    def start(self, name: str) -> int:
        """Where the grid begins; it is laid out when it is first asked for."""
        if name not in self._starts:
            self._starts[name] = sum(len(values) for values in self.placed)
            self.placed.append(self.known[name].flat())
        return self._starts[name]

    def array(self) -> NDArray[np.float64]:
        return np.concatenate([np.zeros(0), *self.placed])


@dataclass(slots=True)
class _Builder:
    """Instructions under construction: inputs have slots 0…, all else is numbered from `inputs` on."""

    inputs: int
    grids: _Grids
    constants: dict[int, float] = field(default_factory=dict)
    code: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)
    _known: dict[object, int] = field(default_factory=dict)

    def constant(self, value: float) -> int:
        key = ("constant", repr(value))
        if key not in self._known:
            self._known[key] = self._new_slot()
            self.constants[self._known[key]] = value
        return self._known[key]

    def emit(self, op: int, x: int, y: int = 0, z: int = 0) -> int:
        """The slot of `op(x, y, z)`: a constant, an equal instruction's, an operand's, or a new one."""
        operands = (x, y, z)[: tp.operands(op)]
        if op < tp.LOOKUP and all(slot in self.constants for slot in operands):
            numbers = [self.constants[slot] for slot in operands] + [0.0] * (3 - len(operands))
            return self.constant(float(tp.apply_operation(op, *numbers)))
        simpler = self._neutral(op, x, y, z)
        return simpler if simpler is not None else self._instruction(op, operands)

    def _instruction(self, op: int, operands: tuple[int, ...]) -> int:
        ordered = tuple(sorted(operands)) if op in _COMMUTATIVE else operands
        x, y, z = (*ordered, 0, 0)[:3]
        if (op, x, y, z) not in self._known:
            self._known[op, x, y, z] = self._new_slot()
            self.code[self._known[op, x, y, z]] = (op, x, y, z)
        return self._known[op, x, y, z]

    def _neutral(self, op: int, x: int, y: int, z: int) -> int | None:
        """The slot that the instruction equals because an operand is neutral or absorbing."""
        left, right = self.constants.get(x), self.constants.get(y)
        if op == tp.SELECT and left is not None:
            return y if left else z
        if (op == tp.ADD and right == 0) or (op in (tp.MUL, tp.DIV, tp.POW) and right == 1):
            return x
        if (op == tp.ADD and left == 0) or (op == tp.MUL and left == 1):
            return y
        if (op == tp.MUL and 0 in (left, right)) or (op == tp.DIV and left == 0):
            return self.constant(0.0)
        return None

    def _new_slot(self) -> int:
        return self.inputs + len(self._known)

    def arrays(self, outputs: Sequence[int]) -> TapeArrays:
        """The finished tape: only what the outputs need, constants before instructions."""
        needed = self._needed(outputs)
        constants = [slot for slot in self.constants if slot in needed]
        code = [slot for slot in self.code if slot in needed]
        place = {slot: slot for slot in range(self.inputs)}
        place |= {slot: self.inputs + i for i, slot in enumerate(constants + code)}
        rows = [
            (op, *(place.get(slot, 0) for slot in operands))
            for op, *operands in (self.code[slot] for slot in code)
        ]
        return TapeArrays(
            self.inputs,
            np.array([self.constants[slot] for slot in constants], dtype=np.float64),
            np.array(rows, dtype=np.int32).reshape(-1, 4),
            np.array([place[slot] for slot in outputs], dtype=np.int32),
            self.grids.array(),
        )

    def _needed(self, outputs: Sequence[int]) -> set[int]:
        needed: set[int] = set()
        waiting = list(outputs)
        while waiting:
            slot = waiting.pop()
            if slot not in needed:
                needed.add(slot)
                if slot in self.code:
                    op, *operands = self.code[slot]
                    waiting += operands[: tp.operands(op)]
        return needed


@dataclass(slots=True)
class _Reader:
    """Walks expressions; equal subexpressions are read once."""

    builder: _Builder
    known: dict[sp.Basic, int]

    def slot(self, expression: sp.Basic) -> int:
        if expression not in self.known:
            self.known[expression] = self._read(expression)
        return self.known[expression]

    def _read(self, expression: sp.Basic) -> int:
        if isinstance(expression, sp.Number | sp.NumberSymbol):
            return self.builder.constant(float(expression))
        if isinstance(expression, boolalg.BooleanAtom):
            return self.builder.constant(1.0 if expression == sp.true else 0.0)
        if isinstance(expression, sp.Symbol):
            raise TapeError(f"symbol {expression} is not an input of this tape; inputs: {self._inputs()}")
        if isinstance(expression, AppliedUndef) and expression.func.__name__ in self.builder.grids.known:
            return self.grid(expression)
        read = _READERS.get(expression.func)
        if read is None:
            message = f"a tape cannot hold {expression.func.__name__} (in {expression}); rewrite it with"
            raise TapeError(f"{message} + × ÷ power exp log Max Min ceiling floor Abs Piecewise")
        return read(self, expression)

    def _inputs(self) -> str:
        return ", ".join(sorted(str(key) for key in self.known if isinstance(key, sp.Symbol))) or "none"

    def chain(self, op: int, expressions: Sequence[sp.Basic]) -> int:
        """`op` folded over the expressions from left to right."""
        slots = [self.slot(expression) for expression in expressions]
        return reduce(lambda x, y: self.builder.emit(op, x, y), slots)

    def product(self, expression: sp.Expr) -> int:
        """A product or power as numerator ÷ denominator."""
        above, below = _split_ratio(expression)
        numerator = self._factors(above)
        return self.builder.emit(tp.DIV, numerator, self._factors(below)) if below else numerator

    def _factors(self, factors: Sequence[tuple[sp.Expr, sp.Expr]]) -> int:
        slots = [self._power(base, exponent) for base, exponent in factors]
        return reduce(lambda x, y: self.builder.emit(tp.MUL, x, y), slots, self.builder.constant(1.0))

    def _power(self, base: sp.Expr, exponent: sp.Expr) -> int:
        """`base ** exponent`: products and one square root where the exponent allows it."""
        if base is sp.E:
            return self.builder.emit(tp.EXP, self.slot(exponent))
        x, twice = self.slot(base), 2 * exponent
        if not (twice.is_Integer and 0 < twice <= 2 * LARGEST_UNROLLED_POWER):
            return self.builder.emit(tp.POW, x, self.slot(exponent))
        whole, half = divmod(int(twice), 2)
        root = self.builder.emit(tp.SQRT, x) if half else self.builder.constant(1.0)
        return self.builder.emit(tp.MUL, self._unrolled(x, whole), root)

    def _unrolled(self, x: int, exponent: int) -> int:
        if exponent == 0:
            return self.builder.constant(1.0)
        half = self._unrolled(x, exponent // 2)
        square = self.builder.emit(tp.MUL, half, half)
        return self.builder.emit(tp.MUL, square, x) if exponent % 2 else square

    def piecewise(self, expression: sp.Piecewise) -> int:
        """The first branch whose condition holds; NaN where none does."""
        result = self.builder.constant(float("nan"))
        for value, condition in reversed(expression.args):
            result = self.builder.emit(tp.SELECT, self.slot(condition), self.slot(value), result)
        return result

    def grid(self, expression: sp.Basic) -> int:
        """The entry of a measured grid at (row, column)."""
        name = expression.func.__name__
        if len(expression.args) != 2:
            raise TapeError(
                f"{expression} reads grid {name} at {len(expression.args)} places: give row, column"
            )
        op = tp.INTERPOLATE if self.builder.grids.known[name].rows is not None else tp.LOOKUP
        row, column = (self.slot(argument) for argument in expression.args)
        start = self.builder.constant(float(self.builder.grids.start(name)))
        return self.builder.emit(op, row, column, start)

    def unary(self, op: int, expression: sp.Basic) -> int:
        return self.builder.emit(op, self.slot(expression.args[0]))

    def relation(self, op: int, less: sp.Basic, more: sp.Basic) -> int:
        return self.builder.emit(op, self.slot(less), self.slot(more))


def _split_ratio(expression: sp.Expr) -> tuple[list[tuple[sp.Expr, sp.Expr]], list[tuple[sp.Expr, sp.Expr]]]:
    """(base, exponent) of the factors above and below the fraction bar."""
    above: list[tuple[sp.Expr, sp.Expr]] = []
    below: list[tuple[sp.Expr, sp.Expr]] = []
    for factor in sp.Mul.make_args(expression):
        if isinstance(factor, sp.Rational):
            above.append((sp.Integer(factor.p), sp.S.One))
            below += [(sp.Integer(factor.q), sp.S.One)] if factor.q != 1 else []
            continue
        base, exponent = (factor.base, factor.exp) if isinstance(factor, sp.Pow) else (factor, sp.S.One)
        negative = exponent.is_number and exponent.is_negative
        (below if negative else above).append((base, -exponent if negative else exponent))
    return above, below


_COMMUTATIVE: Final = frozenset((tp.ADD, tp.MUL, tp.MAX, tp.MIN, tp.EQUAL, tp.AND, tp.OR))
_READERS: Final[Mapping[type, Callable[[_Reader, sp.Basic], int]]] = {
    sp.Add: lambda reader, e: reader.chain(tp.ADD, e.args),
    sp.Mul: lambda reader, e: reader.product(e),
    sp.Pow: lambda reader, e: reader.product(e),
    sp.Max: lambda reader, e: reader.chain(tp.MAX, e.args),
    sp.Min: lambda reader, e: reader.chain(tp.MIN, e.args),
    sp.And: lambda reader, e: reader.chain(tp.AND, e.args),
    sp.Or: lambda reader, e: reader.chain(tp.OR, e.args),
    sp.Not: lambda reader, e: reader.unary(tp.NOT, e),
    sp.exp: lambda reader, e: reader.unary(tp.EXP, e),
    sp.log: lambda reader, e: reader.unary(tp.LOG, e),
    sp.ceiling: lambda reader, e: reader.unary(tp.CEIL, e),
    sp.floor: lambda reader, e: reader.unary(tp.FLOOR, e),
    sp.Abs: lambda reader, e: reader.unary(tp.ABS, e),
    sp.Piecewise: lambda reader, e: reader.piecewise(e),
    sp.StrictLessThan: lambda reader, e: reader.relation(tp.LESS, e.lhs, e.rhs),
    sp.LessThan: lambda reader, e: reader.relation(tp.LESS_EQUAL, e.lhs, e.rhs),
    sp.StrictGreaterThan: lambda reader, e: reader.relation(tp.LESS, e.rhs, e.lhs),
    sp.GreaterThan: lambda reader, e: reader.relation(tp.LESS_EQUAL, e.rhs, e.lhs),
    sp.Equality: lambda reader, e: reader.relation(tp.EQUAL, e.lhs, e.rhs),
    sp.Unequality: lambda reader, e: reader.builder.emit(tp.NOT, reader.relation(tp.EQUAL, e.lhs, e.rhs)),
}
"""How each SymPy node is read; a node that is absent here is refused by name."""
