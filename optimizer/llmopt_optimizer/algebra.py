"""Maximum, minimum and cases that are built as written.

SymPy tries to prove which argument of a Max or Min is larger. On expressions of hundreds of operations that
costs seconds each and finds nothing, so the metrics build theirs unevaluated: the same nodes, without the
search.
"""

from __future__ import annotations

from sympy import Expr, Gt, Max, Min, Piecewise, sympify


def larger(*arguments: Expr | float) -> Expr:
    """Max, not simplified."""
    return Max(*(sympify(argument, strict=True) for argument in arguments), evaluate=False)


def smaller(*arguments: Expr | float) -> Expr:
    """Min, not simplified."""
    return Min(*(sympify(argument, strict=True) for argument in arguments), evaluate=False)


def where_above(value: Expr, threshold: Expr | float, above: Expr, otherwise: Expr | float) -> Expr:
    """`above` where `value` exceeds `threshold`, else `otherwise`; not simplified."""
    condition = Gt(value, sympify(threshold, strict=True), evaluate=False)
    return Piecewise((above, condition), (sympify(otherwise, strict=True), True), evaluate=False)
