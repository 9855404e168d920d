"""Expressions become vectorised numpy functions.

SymPy's own numpy printer writes `Max`, `Min` and `Piecewise` so that they refuse arguments of different
shapes (a number beside an array); the printer here writes them with `maximum`, `minimum` and `where`, which
broadcast. `ceiling` and `floor` snap: a value within `SNAP` of an integer, relatively, is that integer, so
that `ceiling(2/3 * 6/4)` does not depend on the order of multiplication. `Function` keeps the symbols it
reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from sympy import Abs, Add, Expr, Sum, Symbol, cse, lambdify
from sympy.printing.numpy import NumPyPrinter

from .algebra import symbols_of

Floats = NDArray[np.float64]
SNAP = 1e-12
"""Relative distance to an integer below which ceiling and floor take the integer."""


def snapped_ceil(value: Floats) -> Floats:
    """Ceiling that takes the integer within `SNAP` of the value."""
    return np.ceil(value - SNAP * np.abs(value))


def snapped_floor(value: Floats) -> Floats:
    """Floor that takes the integer within `SNAP` of the value."""
    return np.floor(value + SNAP * np.abs(value))


class _Printer(NumPyPrinter):
    """NumPyPrinter whose Max, Min and Piecewise broadcast and whose ceiling and floor snap."""

    def _print_Max(self, expr: Expr) -> str:  # noqa: N802  (SymPy finds printers by this name)
        return reduce(lambda left, right: f"maximum({left}, {right})", map(self._print, expr.args))

    def _print_Min(self, expr: Expr) -> str:  # noqa: N802
        return reduce(lambda left, right: f"minimum({left}, {right})", map(self._print, expr.args))

    def _print_Piecewise(self, expr: Expr) -> str:  # noqa: N802
        text = "nan"
        for value, condition in reversed(expr.args):
            text = f"where({self._print(condition)}, {self._print(value)}, {text})"
        return text

    def _print_Heaviside(self, expr: Expr) -> str:  # noqa: N802  (the slope of a Max; SymPy's takes seconds)
        return f"heaviside({self._print(expr.args[0])}, 0.5)"

    def _print_ceiling(self, expr: Expr) -> str:
        return f"snapped_ceil({self._print(expr.args[0])})"

    def _print_floor(self, expr: Expr) -> str:
        return f"snapped_floor({self._print(expr.args[0])})"


_NAMES = {"snapped_ceil": snapped_ceil, "snapped_floor": snapped_floor}


@dataclass(frozen=True, slots=True)
class Function:
    """Several expressions compiled together, common subexpressions shared."""

    symbols: tuple[Symbol, ...]
    call: Callable[..., Sequence[Floats]]

    def __call__(self, values: Mapping[Symbol, Floats], shape: tuple[int, ...]) -> list[Floats]:
        """The values of the expressions, each broadcast to `shape`; symbols are looked up in `values`.

        Outside an expression's domain (a pole, a root of a negative number) the value is nan or inf: callers
        treat those rows as infeasible, hence the silenced floating-point warnings.
        """
        with np.errstate(all="ignore"):
            results = self.call(*(values[symbol] for symbol in self.symbols))
        return [np.broadcast_to(np.asarray(result, dtype=np.float64), shape) for result in results]


def compile_expressions(expressions: Iterable[Expr]) -> Function:
    """One numpy function for several expressions over the symbols that they read."""
    listed = [each.doit() if each.has(Sum) else each for each in expressions]
    # Common subexpressions as they stand: SymPy's preliminary factoring costs seconds on large Max and Min,
    # and lambdify looks through what it is given as a tree, so it is given the small remainder.
    shared, reduced = cse(listed, optimizations=[], order="none")
    return compile_steps(shared, reduced)


def compile_steps(steps: Sequence[tuple[Symbol, Expr]], expressions: Sequence[Expr]) -> Function:
    """One numpy function for expressions over symbols of which `steps` define some, in order."""
    defined = {symbol for symbol, _ in steps}
    read = symbols_of(*(part for _, part in steps), *expressions) - defined
    symbols = tuple(sorted(read, key=lambda s: (s.name, s.sort_key())))
    printer = _Printer({"fully_qualified_modules": False, "inline": True, "allow_unknown_functions": True})
    call = lambdify(
        symbols,
        expressions,
        modules=[_NAMES, "numpy"],
        printer=printer,
        cse=lambda rest: (steps, rest),
    )
    return Function(symbols, call)


def terms_magnitude(expression: Expr) -> Expr:
    """Sum of the magnitudes of an expression's additive terms: the scale of its comparison with zero."""
    return Add(*(Abs(term, evaluate=False) for term in Add.make_args(expression)), evaluate=False)
