"""Large expressions without SymPy's slow habits: built as written, and walked once.

SymPy tries to prove which argument of a Max or Min is larger. On expressions of hundreds of operations that
costs seconds each and finds nothing, so the metrics build theirs unevaluated: the same nodes, without the
search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb, prod

from sympy import Add, Basic, Expr, Gt, Integer, Max, Min, Mul, Piecewise, Pow, Sum, Symbol, sympify
from sympy.core.relational import Relational


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


def parts_of(*expressions: Basic) -> set[Basic]:
    """Every part of several expressions, themselves included, each shared part looked at once.

    SymPy's own walks go through an expression as a tree, which takes seconds where subexpressions recur.
    """
    seen: set[Basic] = set()
    waiting = list(expressions)
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting.extend((closed_sum(node),) if isinstance(node, Sum) else node.args)
    return seen


def closed_sum(expression: Basic) -> Basic:
    """A Sum's closed form, without its index; the Sum itself where SymPy knows none."""
    return expression.doit()


def expanded_terms(expression: Basic) -> int:
    """At most how many terms the expression has when it is multiplied out; counted, not expanded."""
    match expression:
        case Add():
            return sum(map(expanded_terms, expression.args))
        case Mul():
            return prod(map(expanded_terms, expression.args))
        case Pow(exp=Integer(p=power)) if abs(power) > 1:
            terms = expanded_terms(expression.base)
            return comb(abs(power) + terms - 1, terms - 1)
    return 1


def symbols_of(*expressions: Basic) -> set[Symbol]:
    """The free symbols of several expressions."""
    return {part for part in parts_of(*expressions) if isinstance(part, Symbol)}


def substituted(expression: Basic, names: Mapping[Symbol, Basic], done: dict[Basic, Basic]) -> Basic:
    """The expression with other symbols or numbers for some of its symbols, each shared part rebuilt once.

    `done` remembers the parts: give the same one for all expressions under the same `names`. SymPy's
    `xreplace` walks a tree, and evaluates every Max and Min again.
    """
    if expression not in done:
        done[expression] = _substituted(expression, names, done)
    return done[expression]


def _substituted(expression: Basic, names: Mapping[Symbol, Basic], done: dict[Basic, Basic]) -> Basic:
    if not expression.args:
        return names.get(expression, expression)
    arguments = [substituted(argument, names, done) for argument in expression.args]
    if all(new is old for new, old in zip(arguments, expression.args, strict=True)):
        return expression
    return _gathered(rebuilt(expression, arguments))


def rebuilt(expression: Basic, arguments: Sequence[Basic]) -> Basic:
    """The same node on other arguments; comparisons and choices are not simplified, unless all is numbers."""
    known = all(argument.is_number for argument in arguments)
    if isinstance(expression, (Max, Min, Piecewise, Relational)) and not known:
        return expression.func(*arguments, evaluate=False)
    return expression.func(*arguments)


def _gathered(expression: Basic) -> Basic:
    """A product whose powers of the same base are one power: SymPy leaves those whose exponents are sums."""
    if not isinstance(expression, Mul):
        return expression
    exponents: dict[Basic, Basic] = {}
    for factor in expression.args:
        base, exponent = factor.as_base_exp()
        exponents[base] = exponents[base] + exponent if base in exponents else exponent
    if len(exponents) == len(expression.args):
        return expression
    return Mul(*(Pow(base, exponent) for base, exponent in exponents.items()))
