"""Large expressions without SymPy's slow habits: built as written, and walked once.

SymPy tries to prove which argument of a Max or Min is larger. On expressions of hundreds of operations that
costs seconds each and finds nothing, so the metrics build theirs unevaluated: the same nodes, without the
search.
"""

from __future__ import annotations

from sympy import Basic, Expr, Gt, Max, Min, Piecewise, Symbol, sympify


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


def symbols_of(*expressions: Basic) -> set[Symbol]:
    """The free symbols of several expressions, each shared part looked at once.

    `free_symbols` walks an expression as a tree, which takes seconds where subexpressions recur.
    """
    found: set[Symbol] = set()
    seen: set[Basic] = set()
    waiting = list(expressions)
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if isinstance(node, Symbol):
            found.add(node)
        waiting.extend(node.args)
    return found
