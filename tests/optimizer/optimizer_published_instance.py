"""An integer program of a public library with its published optimum, as a program of the core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from sympy import Expr, Rational, Symbol

from llmopt_optimizer.core.program import Constraint, Decision, Objective, Pool, Program, System, Variant

COST = Symbol("cost", real=True)
Model = tuple[Expr, Sequence[Expr]]
"""What is minimized, and expressions that are at most 0."""
V = Sequence[Symbol]


@dataclass(frozen=True, slots=True)
class Instance:
    """A published instance."""

    name: str
    optimum: float
    domains: tuple[tuple[int, int], ...]
    model: Callable[[V], Model]

    @property
    def space(self) -> int:
        """How many assignments there are."""
        return prod(high - low + 1 for low, high in self.domains)

    def program(self) -> Program:
        """The instance as a program with one pool."""
        symbols = [Symbol(f"i{n}", integer=True, nonnegative=True) for n in range(1, len(self.domains) + 1)]
        cost, rules = self.model([Symbol("unused"), *symbols])
        domains = [tuple(range(low, high + 1)) for low, high in self.domains]
        variant = Variant(
            "only",
            tuple(map(Decision, symbols, domains)),
            {COST: cost},
            constraints=tuple(Constraint(f"e{n}", rule) for n, rule in enumerate(rules, start=1)),
        )
        return Program((System("one", (Pool("pool", (variant,)),), {"cost": COST}),), (Objective("cost"),))


def exact(text: str) -> Rational:
    """A decimal number as it is written."""
    return Rational(text)


def separable(i: V, squares: Sequence[str], lines: Sequence[str]) -> Expr:
    """Sum of a square and a linear term of each variable."""
    terms = zip(squares, lines, i[1:], strict=True)
    return sum(exact(square) * x**2 + exact(line) * x for square, line, x in terms)


def linear(i: V, *coefficients: str | int) -> Expr:
    return sum(exact(str(c)) * x for c, x in zip(coefficients, i[1:], strict=True))


def rows(i: V, rows: Sequence[Sequence[int]]) -> list[Expr]:
    return [linear(i, *row[:-1]) - row[-1] for row in rows]
