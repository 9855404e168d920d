"""A naive judge of programs: plain Python loops, `math`, and nothing of the package's numerics.

Expressions become nested Python closures; states are solved by iteration from below; every joint assignment
is listed. Slow and obvious on purpose.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sympy

from llmopt_optimizer.core.program import Assignment, Choice, Pool, Program, System, Variant

Values = dict[sympy.Symbol, float]
Formula = Callable[[Values], float]
TOLERANCE = 1e-9


def formula(expression: sympy.Basic) -> Formula:
    """The expression as a Python function of its symbols' values."""
    if expression.is_Symbol:
        return lambda values: values[expression]
    if expression.is_number:
        number = float(expression)
        return lambda values: number
    if isinstance(expression, sympy.Piecewise):
        pieces = [(formula(value), formula(condition)) for value, condition in expression.args]
        return lambda values: next(value(values) for value, condition in pieces if condition(values))
    if expression is sympy.true:
        return lambda values: True
    parts = [formula(argument) for argument in expression.args]
    combine = COMBINE[type(expression)]
    return lambda values: combine(*[part(values) for part in parts])


COMBINE: dict[type, Callable[..., float]] = {
    sympy.Add: lambda *a: math.fsum(a),
    sympy.Mul: lambda *a: math.prod(a),
    sympy.Pow: lambda a, b: a**b,
    sympy.Max: max,
    sympy.Min: min,
    sympy.Mod: lambda a, b: a % b,
    sympy.ceiling: lambda a: math.ceil(a - 1e-12 * abs(a)),
    sympy.floor: lambda a: math.floor(a + 1e-12 * abs(a)),
    sympy.exp: math.exp,
    sympy.log: math.log,
    sympy.LessThan: lambda a, b: a <= b,
    sympy.StrictLessThan: lambda a, b: a < b,
    sympy.GreaterThan: lambda a, b: a >= b,
    sympy.StrictGreaterThan: lambda a, b: a > b,
}


@dataclass(frozen=True)
class Row:
    choice: Choice
    attributes: Values


@dataclass(frozen=True)
class Point:
    assignment: Assignment
    metrics: dict[str, float]


def holds(expression: sympy.Expr, values: Values) -> bool:
    """Sum of terms <= 0 up to TOLERANCE times the terms' magnitudes."""
    terms = [formula(term)(values) for term in sympy.Add.make_args(expression)]
    return math.fsum(terms) <= TOLERANCE * math.fsum(map(abs, terms))


def smallest_root(
    equation: Formula, symbol: sympy.Symbol, values: Values, lower: float, upper: float
) -> float | None:
    x = lower
    for _ in range(200_000):
        try:
            image = equation({**values, symbol: x})
        except (ZeroDivisionError, OverflowError):
            return None
        if isinstance(image, complex) or image > upper * (1 + 1e-12):
            return None
        if image - x <= 1e-16 * abs(x):
            return image
        x = image
    raise AssertionError("a naive root did not converge: give the random program a smaller slope")


def variant_rows(pool: Pool, variant: Variant, parameters: Values) -> Iterator[Row]:
    states = [(s, formula(s.equation), formula(s.lower), formula(s.upper)) for s in variant.states]
    attributes = {symbol: formula(expression) for symbol, expression in variant.attributes.items()}
    symbols = [decision.symbol for decision in variant.decisions]
    for numbers in itertools.product(*(decision.values for decision in variant.decisions)):
        values = {**parameters, **dict(zip(symbols, map(float, numbers), strict=True))}
        for state, equation, lower, upper in states:
            root = smallest_root(equation, state.symbol, values, lower(values), upper(values))
            if root is None:
                break
            values[state.symbol] = root
        else:
            if all(holds(constraint.expression, values) for constraint in variant.constraints):
                chosen = tuple((s.name, n) for s, n in zip(symbols, numbers, strict=True))
                seen = {symbol: attribute(values) for symbol, attribute in attributes.items()}
                yield Row(Choice(pool.name, variant.name, chosen), seen)


def system_points(system: System, parameters: Values) -> Iterator[Point]:
    """Every joint assignment that the variants and the system allow."""
    rows = [
        [row for variant in pool.variants for row in variant_rows(pool, variant, parameters)]
        for pool in system.pools
    ]
    metrics = {name: formula(expression) for name, expression in system.metrics.items()}
    for joint in itertools.product(*rows):
        values = dict(parameters)
        for row in joint:
            values |= row.attributes
        if all(holds(constraint.expression, values) for constraint in system.constraints):
            assignment = Assignment(system.name, tuple(row.choice for row in joint))
            yield Point(assignment, {name: metric(values) for name, metric in metrics.items()})


def all_points(program: Program) -> list[Point]:
    parameters = {symbol: float(value) for symbol, value in program.parameters.items()}
    return [point for system in program.systems for point in system_points(system, parameters)]


def feasible(program: Program, points: list[Point]) -> list[Point]:
    """The points that meet the limits and are not excluded."""

    def within(point: Point) -> bool:
        for limit in program.limits:
            sign = 1 if limit.direction == "at_most" else -1
            if not sign * (point.metrics[limit.metric] - limit.value) <= TOLERANCE * abs(limit.value):
                return False
        return point.assignment not in program.excluded

    return [point for point in points if within(point)]


def cost_vectors(program: Program, points: list[Point]) -> list[tuple[float, ...]]:
    signs = [(o.metric, 1 if o.sense == "minimize" else -1) for o in program.objectives]
    return [tuple(sign * point.metrics[metric] for metric, sign in signs) for point in points]


def covers(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """B is nowhere better than a, beyond the tolerance."""
    return all(y >= x - TOLERANCE * abs(x) for x, y in zip(a, b, strict=True))


def naive_front(program: Program, points: list[Point]) -> list[tuple[float, ...]]:
    """Nondominated cost vectors, sorted, each once."""
    vectors = sorted(set(cost_vectors(program, feasible(program, points))))
    minimal = [v for v in vectors if not any(covers(w, v) and not covers(v, w) for w in vectors)]
    distinct: list[tuple[float, ...]] = []
    for vector in minimal:
        if not any(covers(kept, vector) for kept in distinct):
            distinct.append(vector)
    return distinct
