"""The range of a formula by interval arithmetic: where it divides by zero, or has no bound, it is refused.

The names' ranges are those of the metrics, decisions and parameters over everything that a problem may ask.
Interval arithmetic is sound, not sharp: it may refuse `1 / (a - a + 1)`, and lets no division by zero pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

from .parsing import FormulaError
from .tree import Constant, Formula, Operation, Reference

Interval: TypeAlias = tuple[float, float]
LARGEST_VALUE = 1e100
LARGEST_EXPONENT = 16


def range_of(formula: Formula, ranges: Mapping[str, Interval]) -> Interval:
    """Finite numbers between which the formula lies.

    `FormulaError` where an operand leaves its operator's domain, or the value passes `LARGEST_VALUE`.
    """
    if isinstance(formula, Constant):
        return formula.value, formula.value
    if isinstance(formula, Reference):
        return ranges[formula.name]
    operands = [range_of(operand, ranges) for operand in formula.operands]
    low, high = _combined(formula, operands)
    if not max(-low, high) <= LARGEST_VALUE:
        what = "this value has no bound within the search"
        raise FormulaError(
            what, "formula-unbounded", "bound it with min(...) or use larger units", formula.offset
        )
    return low, high


def _combined(node: Operation, operands: list[Interval]) -> Interval:
    lows, highs = zip(*operands, strict=True)
    match node.operator:
        case "+":
            return math.fsum(lows), math.fsum(highs)
        case "-":
            return (-highs[0], -lows[0]) if len(operands) == 1 else (lows[0] - highs[1], highs[0] - lows[1])
        case "*":
            return _product(operands[0], operands[1])
        case "/":
            return _product(operands[0], _reciprocal(node, operands[1]))
        case "**":
            return _power(node, operands[0], operands[1])
        case "min":
            return min(lows), min(highs)
        case "max":
            return max(lows), max(highs)
        case "if":
            return min(lows[1:]), max(highs[1:])
        case "<" | "<=" | ">" | ">=":
            return 0.0, 1.0
    return _image(node, operands[0])


def _product(left: Interval, right: Interval) -> Interval:
    corners = [a * b for a in left for b in right]
    return min(corners), max(corners)


def _reciprocal(node: Operation, divisor: Interval) -> Interval:
    low, high = divisor
    if low <= 0 <= high:
        what = f"the divisor may be zero: it lies between {low:g} and {high:g}"
        raise FormulaError(
            what, "formula-zero-division", "keep it away from zero with max(..., 1e-3)", _place(node)
        )
    return 1 / high, 1 / low


def _power(node: Operation, base: Interval, exponent: Interval) -> Interval:
    if max(map(abs, exponent)) > LARGEST_EXPONENT:
        what = f"exponents lie between -{LARGEST_EXPONENT} and {LARGEST_EXPONENT}"
        raise FormulaError(what, "formula-exponent", "use a smaller exponent", _place(node))
    whole = exponent[0] == exponent[1] and exponent[0].is_integer()
    if base[0] <= 0 <= base[1] and exponent[0] < 0:
        what = "zero may be raised to a negative power"
        raise FormulaError(what, "formula-zero-division", "keep the base away from zero", _place(node))
    if base[0] < 0 and not whole:
        raise _outside(node, "a negative number has no such power", base)
    corners = [_raised(a, b) for a in base for b in exponent]
    if base[0] < 0 < base[1] and exponent[0] > 0:
        corners.append(0.0)
    return min(corners), max(corners)


def _raised(base: float, exponent: float) -> float:
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf


def _image(node: Operation, argument: Interval) -> Interval:
    low, high = argument
    match node.operator:
        case "abs":
            return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))
        case "ceil":
            return float(math.ceil(low)), float(math.ceil(high))
        case "floor":
            return float(math.floor(low)), float(math.floor(high))
        case "exp":
            return _exponential(low), _exponential(high)
        case "sqrt" if low < 0:
            raise _outside(node, "a negative number has no root", argument)
        case "sqrt":
            return math.sqrt(low), math.sqrt(high)
    if low <= 0:
        raise _outside(node, "log needs a positive number", argument)
    return math.log(low), math.log(high)


def _exponential(power: float) -> float:
    try:
        return math.exp(power)
    except OverflowError:
        return math.inf


def _outside(node: Operation, what: str, argument: Interval) -> FormulaError:
    found = f"{what}: it lies between {argument[0]:g} and {argument[1]:g}"
    return FormulaError(found, "formula-domain", "keep it inside with max(..., 1e-3)", _place(node))


def _place(node: Operation) -> int:
    """The operand at fault: the last one, which divides, raises or is the argument."""
    return node.operands[-1].offset
