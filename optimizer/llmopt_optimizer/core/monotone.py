"""What is known of an expression without solving anything: its range, and the direction of each symbol.

`bounds` is interval arithmetic on the expression tree. `directions` says of every symbol that an expression
reads whether the value rises (`UP`), falls (`DOWN`) or may do either (`EITHER`) when the symbol rises, by
the rules of calculus that hold for sums, products of known sign, powers, exp, log, Max, Min, ceiling and
floor, and by the sign of the derivative where those say nothing. Both are sound, not sharp: a wide range or
`EITHER` is always allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from math import inf, isnan
from typing import TypeAlias

import numpy as np
from sympy import (
    Abs,
    Add,
    Basic,
    Dummy,
    Expr,
    Ge,
    Gt,
    Max,
    Min,
    Mul,
    Piecewise,
    Pow,
    Sum,
    Symbol,
    ceiling,
    exp,
    floor,
    log,
    together,
)

from .algebra import closed_sum, expanded_terms, rebuilt, symbols_of

Range: TypeAlias = tuple[float, float]
Directions: TypeAlias = dict[Symbol, int]

UP, DOWN, EITHER = 1, -1, 0
_EVERYTHING: Range = (-inf, inf)
MOST_TERMS = 64
"""Derivatives of expressions with more terms than this, multiplied out, are not looked at."""
_INCREASING = (Max, Min, ceiling, floor, exp, log)


def bounds(
    expression: Basic, ranges: Mapping[Symbol, Range], known: dict[Basic, Range] | None = None
) -> Range:
    """Numbers between which the expression lies when its symbols lie in `ranges`; infinite when not known.

    `known` remembers the ranges of parts between calls with the same `ranges`.
    """
    known = {} if known is None else known
    if expression not in known:
        known[expression] = _bounds(expression, ranges, known)
    return known[expression]


def _bounds(expression: Basic, ranges: Mapping[Symbol, Range], known: dict[Basic, Range]) -> Range:
    if expression.is_Symbol:
        return ranges.get(expression, _EVERYTHING)
    if expression.is_number:
        return _number(expression)
    if isinstance(expression, Sum):
        closed = closed_sum(expression)
        return _EVERYTHING if closed == expression else bounds(closed, ranges, known)
    if isinstance(expression, Piecewise):
        parts = [bounds_where(value, when, ranges, known) for value, when in expression.args]
        return min(low for low, _ in parts), max(high for _, high in parts)
    parts = [bounds(argument, ranges, known) for argument in expression.args]
    combined = _combined_bounds(expression, parts)
    if isinstance(expression, log):
        return _intersection(combined, _opened_log(expression.args[0], ranges, known))
    return combined


def bounds_where(
    value: Basic, condition: Basic, ranges: Mapping[Symbol, Range], known: dict[Basic, Range]
) -> Range:
    """The range of a value where a condition holds; a part that must exceed a number narrows it."""
    if not isinstance(condition, Gt | Ge) or not condition.rhs.is_number:
        return bounds(value, ranges, known)
    part, least = condition.lhs, float(condition.rhs)
    low, high = bounds(part, ranges, known)
    dependent = _containing(value, part, {})
    narrowed = {node: span for node, span in known.items() if node not in dependent}
    return bounds(value, ranges, narrowed | {part: (max(low, least), max(high, least))})


def _containing(expression: Basic, part: Basic, known: dict[Basic, set[Basic]]) -> set[Basic]:
    """The nodes of an expression in which a part occurs."""
    if expression not in known:
        found = set().union(*(_containing(argument, part, known) for argument in expression.args))
        known[expression] = found | {expression} if found or expression == part else found
    return known[expression]


def _opened_log(argument: Basic, ranges: Mapping[Symbol, Range], known: dict[Basic, Range]) -> Range:
    """The range of the logarithm of a product or power of positive parts, which no tiny power spoils."""
    if isinstance(argument, Pow) and bounds(argument.base, ranges, known)[0] > 0:
        return product_range(
            bounds(argument.exp, ranges, known), _increasing_image(log, bounds(argument.base, ranges, known))
        )
    if isinstance(argument, Mul):
        parts = [_opened_log(part, ranges, known) for part in argument.args]
        return sum(low for low, _ in parts), sum(high for _, high in parts)
    span = bounds(argument, ranges, known)
    return _increasing_image(log, span) if span[0] > 0 else _EVERYTHING


def _intersection(left: Range, right: Range) -> Range:
    return max(left[0], right[0]), min(left[1], right[1])


def _number(expression: Basic) -> Range:
    value = complex(expression)
    return (value.real, value.real) if value.imag == 0 and not isnan(value.real) else _EVERYTHING


def _combined_bounds(expression: Basic, parts: list[Range]) -> Range:
    lows, highs = zip(*parts, strict=True)
    match expression:
        case Add():
            return sum(lows), sum(highs)
        case Mul():
            return reduce(product_range, parts)
        case Pow():
            return _power(parts[0], parts[1])
        case Max():
            return max(lows), max(highs)
        case Min():
            return min(lows), min(highs)
        case Abs():
            return (0.0 if lows[0] <= 0 <= highs[0] else min(abs(lows[0]), abs(highs[0]))), max(
                map(abs, parts[0])
            )
        case exp() | log() | ceiling() | floor():
            return _increasing_image(expression.func, parts[0])
    return _EVERYTHING


def _increasing_image(function: Callable[..., Expr], part: Range) -> Range:
    by_name = {exp: np.exp, log: np.log, ceiling: np.ceil, floor: np.floor}
    if function is log and part[0] < 0:
        return _EVERYTHING
    with np.errstate(divide="ignore", over="ignore"):
        low, high = by_name[function](np.array(part, dtype=np.float64))
    return float(low), float(high)


def product_range(left: Range, right: Range) -> Range:
    """The range of a product of two quantities."""
    corners = [0.0 if 0.0 in (x, y) else x * y for x in left for y in right]
    return min(corners), max(corners)


def _power(base: Range, exponent: Range) -> Range:
    fixed = exponent[0] if exponent[0] == exponent[1] else None
    if fixed is not None and fixed.is_integer() and base[0] < 0:
        return _integer_power(base, int(fixed))
    if base[0] < 0:
        return _EVERYTHING
    with np.errstate(all="ignore"):
        corners = [float(np.power(np.float64(x), np.float64(y))) for x in base for y in exponent]
    return _EVERYTHING if any(map(isnan, corners)) else (min(corners), max(corners))


def _integer_power(base: Range, exponent: int) -> Range:
    """Range of base**exponent where the base may be negative."""
    low, high = base
    if exponent < 0:
        inside = low <= 0 <= high
        return _EVERYTHING if inside else _integer_power((1 / high, 1 / low), -exponent)
    with np.errstate(over="ignore"):
        corners = sorted(float(np.float64(end) ** exponent) for end in (low, high))
    return (0.0 if exponent % 2 == 0 and low <= 0 <= high else corners[0]), corners[1]


def directions(expression: Basic, ranges: Mapping[Symbol, Range]) -> Directions:
    """The direction of every symbol that the expression reads, over the box `ranges`."""
    if expression.is_Symbol:
        return {expression: UP}
    if not expression.free_symbols:
        return {}
    found = _by_rules(expression, ranges)
    return {s: d or _by_derivative(expression, s, ranges) for s, d in found.items()}


def direction(expression: Basic, symbol: Symbol, ranges: Mapping[Symbol, Range]) -> int:
    """The direction of one symbol; of parts that do not read it only their range counts.

    Each shared part is looked at once, so large expressions that read the symbol in few places are quick.
    """
    known: dict[Basic, Range] = {}
    spans = dict(ranges)

    def opened(part: Basic) -> Basic:
        if symbol in symbols_of(part):
            return rebuilt(part, [opened(argument) for argument in part.args]) if part.args else part
        if part.is_number or not isinstance(part, Expr):
            return part
        stand_in = Dummy(real=True)
        spans[stand_in] = bounds(part, ranges, known)
        return stand_in

    return directions(opened(expression), spans).get(symbol, EITHER)


def merged(parts: Iterable[Directions]) -> Directions:
    """Directions of something that rises with every part."""
    result: Directions = {}
    for part in parts:
        for symbol, direction in part.items():
            result[symbol] = direction if result.get(symbol, direction) == direction else EITHER
    return result


def scaled(part: Directions, sign: int) -> Directions:
    """Directions of a multiple whose factor has this sign (`EITHER` when the sign is not known)."""
    return {symbol: direction * sign for symbol, direction in part.items()}


def _by_rules(expression: Basic, ranges: Mapping[Symbol, Range]) -> Directions:
    if isinstance(expression, Piecewise):
        read = {s: EITHER for _, condition in expression.args for s in condition.free_symbols}
        return merged([directions(value, ranges) for value, _ in expression.args]) | read
    if isinstance(expression, Mul):
        return _product_directions(expression, ranges)
    parts = [directions(argument, ranges) for argument in expression.args]
    if isinstance(expression, (Add, *_INCREASING)):
        return merged(parts)
    if isinstance(expression, Abs):
        return scaled(parts[0], _sign(bounds(expression.args[0], ranges)))
    if isinstance(expression, Pow):
        return _power_directions(expression, parts, ranges)
    return dict.fromkeys(expression.free_symbols, EITHER)


def _product_directions(expression: Mul, ranges: Mapping[Symbol, Range]) -> Directions:
    """(u v)' = u' v + u v'."""
    range_so_far: Range = (1.0, 1.0)
    result: Directions = {}
    for factor in expression.args:
        part, own = bounds(factor, ranges), directions(factor, ranges)
        result = merged([scaled(result, _sign(part)), scaled(own, _sign(range_so_far))])
        range_so_far = product_range(range_so_far, part)
    return result


def _power_directions(expression: Pow, parts: list[Directions], ranges: Mapping[Symbol, Range]) -> Directions:
    base, exponent = (bounds(argument, ranges) for argument in expression.args)
    if base[0] >= 0:
        in_exponent = UP if base[0] >= 1 else DOWN if base[1] <= 1 else EITHER
        return merged([scaled(parts[0], _sign(exponent)), scaled(parts[1], in_exponent)])
    fixed = exponent[0] if exponent[0] == exponent[1] else 0.5
    if not fixed.is_integer() or (fixed < 0 and base[1] >= 0):
        return dict.fromkeys(expression.free_symbols, EITHER)
    sign = _sign(exponent) if int(fixed) % 2 else _sign(exponent) * _sign(base)
    return scaled(parts[0], sign)


def _by_derivative(expression: Basic, symbol: Symbol, ranges: Mapping[Symbol, Range]) -> int:
    """The derivative's sign for smooth expressions, where products of the same symbol defeat the rules."""
    if expression.has(Max, Min, Piecewise, ceiling, floor, Abs) or not _finite(expression, ranges):
        return EITHER
    if expanded_terms(expression) > MOST_TERMS:  # factoring would take for ever
        return EITHER
    return _sign(bounds(together(expression.diff(symbol)).factor(), ranges))


def _finite(expression: Basic, ranges: Mapping[Symbol, Range]) -> bool:
    """Whether nothing in the expression can meet a pole: across one the derivative's sign misleads."""
    poles = [p.base for p in expression.atoms(Pow) if bounds(p.exp, ranges)[0] < 0]
    poles += [node.args[0] for node in expression.atoms(log)]
    return all(bounds(base, ranges)[0] > 0 or bounds(base, ranges)[1] < 0 for base in poles)


def _sign(part: Range) -> int:
    return UP if part[0] >= 0 else DOWN if part[1] <= 0 else EITHER
