"""What is known of a pool's expressions before they are translated: ranges, and which parts recur.

Interval arithmetic knows nothing of rules: where a model does not fit an accelerator, the room for its cache
is negative and everything divided by it unbounded. Over the allowed combinations it is not. Expressions that
read decisions only therefore get their ranges from numbers, as long as the combinations can be listed.

`hubs` are the larger parts that several others read. A variable for each keeps the model small; more
variables than those leave the solver too much to branch on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from math import prod

import numpy as np
from sympy import Add, Basic, Expr, Mul, Pow, Symbol

from .algebra import parts_of, symbols_of
from .lowering import Floats, compile_expressions, terms_magnitude
from .monotone import Range
from .program import TOLERANCE
from .translation.scope import Factor

MOST_ROWS = 200_000
"""Combinations that are listed; more are left to interval arithmetic."""

HUB_SIZE = 20
"""Nodes of the tree of an expression that gets a variable of its own."""

Rows = Mapping[Symbol, Floats]
"""One array [rows] for each symbol that is decided."""


def allowed_rows(factors: Sequence[Factor], rules: Iterable[Expr]) -> Rows | None:
    """The combinations of the factors' values that every rule `expression <= 0` allows.

    Rules that read other symbols are ignored. None when there are too many combinations to list.
    """
    axes = {symbol: values for factor in factors for symbol, values in factor.values.items()}
    if prod(len(values) for values in axes.values()) > MOST_ROWS:
        return None
    grid = np.meshgrid(*axes.values(), indexing="ij") if axes else []
    rows = {symbol: values.ravel() for symbol, values in zip(axes, grid, strict=True)}
    count = prod(len(values) for values in axes.values())
    readable = [rule for rule in rules if symbols_of(rule) <= set(rows)]
    checks = compile_expressions([part for rule in readable for part in (rule, terms_magnitude(rule))])
    values = iter(checks(rows, (count,)))
    allowed = np.ones(count, dtype=bool)
    for excess, magnitude in zip(values, values, strict=True):
        with np.errstate(invalid="ignore"):
            allowed &= excess <= TOLERANCE * magnitude
    return {symbol: array[allowed] for symbol, array in rows.items()}


def ranges_over(rows: Rows, expressions: Iterable[Basic]) -> dict[Basic, Range]:
    """The range of every part of the expressions that reads the rows' symbols only, where it is defined."""
    shape = next(iter(rows.values())).shape if rows else (1,)
    parts = [part for part in parts_of(*expressions) if isinstance(part, Expr) and _read(part, rows)]
    values = compile_expressions(parts)(rows, shape)
    return {
        part: (float(array.min()), float(array.max()))
        for part, array in zip(parts, values, strict=True)
        if array.size and np.all(np.isfinite(array))
    }


def hubs(expressions: Iterable[Basic], states: Collection[Symbol]) -> set[Basic]:
    """Sums, products and powers of a state that several parts read, and that are large when written out."""
    sizes: dict[Basic, int] = {}
    parts = parts_of(*expressions)
    parents = Counter(argument for part in parts for argument in set(part.args))

    def size(part: Basic) -> int:
        if part not in sizes:
            reads = not symbols_of(part).isdisjoint(states)
            sizes[part] = 1 + sum(map(size, part.args)) if reads else 0
        return sizes[part]

    return {p for p in parts if isinstance(p, Add | Mul | Pow) and parents[p] > 1 and size(p) >= HUB_SIZE}


def _read(part: Basic, rows: Rows) -> bool:
    symbols = symbols_of(part)
    return bool(symbols) and symbols <= set(rows)
