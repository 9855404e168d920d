"""Where an expression is being translated: what its symbols are in the Pyomo model.

A `Factor` is a one-hot choice among rows, each of which gives numbers to some symbols; it may be absent
(all its binaries zero) when its system is not chosen. A `Scope` is the factors and the continuous symbols
that expressions may read, the model that receives auxiliary variables, and the expression `present` that is
1 when the system is chosen and 0 otherwise. **Every translation is zero when `present` is zero**, so the
parts of all systems add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyomo.environ as pyo
from sympy import Basic, Symbol

from ..algebra import parts_of, symbols_of
from ..lowering import Floats
from ..monotone import Range, bounds
from .scaling import PyomoExpression, multiplied, scale_of

MOST_PARTS_SHOWN = 40


class NotTranslatable(Exception):  # noqa: N818  (the name that callers are promised)
    """No reduction of the chain takes a node of an expression: says which node, and what to do."""

    def __init__(self, node: Basic, why: str) -> None:
        super().__init__(f"cannot translate {type(node).__name__} node {_named(node)}: {why}")
        self.node = node


def _named(node: Basic) -> str:
    """The node itself where it is small; what it reads where it would fill pages."""
    if len(parts_of(node)) <= MOST_PARTS_SHOWN:
        return str(node)
    return f"of {sorted(symbol.name for symbol in symbols_of(node))}"


@dataclass(frozen=True, slots=True)
class Factor:
    """A one-hot choice: `hot` [rows] binaries, `values` one array [rows] for each symbol that it decides."""

    hot: tuple[PyomoExpression, ...]
    values: Mapping[Symbol, Floats]

    def invert(self) -> int | None:
        """The row that the solved model chose; None when the factor is absent."""
        weights = [pyo.value(variable) for variable in self.hot]
        best = max(range(len(weights)), key=weights.__getitem__)
        return best if weights[best] > 0.5 else None


@dataclass(slots=True)
class Scope:
    """What symbols mean in the model; owns the auxiliary variables that reductions add."""

    model: pyo.ConcreteModel
    name: str
    present: PyomoExpression
    factors: tuple[Factor, ...]
    continuous: Mapping[Symbol, PyomoExpression]
    ranges: Mapping[Symbol, Range]
    added: int = field(default=0)
    translated: dict[tuple[Basic, int], PyomoExpression] = field(default_factory=dict)
    """What the chain made of an expression for a need, so that shared parts are translated once."""
    products: dict[tuple[tuple[int, bytes], ...], list[PyomoExpression]] = field(default_factory=dict)
    """Cells of joint tables, by the factors and the grouping of their rows."""
    hubs: set[Basic] = field(default_factory=set)
    """Expressions that get a variable each where their range is finite, because many others read them."""
    known_ranges: dict[Basic, Range] = field(default_factory=dict)
    """Ranges of expressions, as far as they were asked for or are known better than from `ranges`."""
    _symbols: dict[Basic, frozenset[Symbol]] = field(default_factory=dict)

    def symbols(self, expression: Basic) -> frozenset[Symbol]:
        """The symbols that the expression reads."""
        if expression not in self._symbols:
            self._symbols[expression] = frozenset(symbols_of(expression))
        return self._symbols[expression]

    def factors_of(self, expression: Basic) -> list[Factor]:
        """The factors whose symbols the expression reads, in order."""
        symbols = self.symbols(expression)
        return [factor for factor in self.factors if not symbols.isdisjoint(factor.values)]

    def discrete(self, expression: Basic) -> bool:
        """Whether the expression reads no continuous symbol."""
        return self.symbols(expression).isdisjoint(self.continuous)

    def range(self, expression: Basic) -> Range:
        """Numbers between which the expression lies when the system is present.

        Ranges are remembered: `ranges` must hold an expression's symbols before it is asked for.
        """
        return bounds(expression, self.ranges, self.known_ranges)

    def invert(self) -> dict[Symbol, float]:
        """What the solved model chose, in the expressions' own symbols: the inverse of every reduction."""
        chosen = {symbol: float(pyo.value(value)) for symbol, value in self.continuous.items()}
        for factor in self.factors:
            row = factor.invert()
            if row is not None:
                chosen |= {symbol: float(values[row]) for symbol, values in factor.values.items()}
        return chosen

    def variable(self, low: float, high: float, domain: Any = pyo.Reals) -> PyomoExpression:
        """A new auxiliary variable that is zero when the system is absent."""
        variable = pyo.Var(domain=domain, bounds=(min(low, 0.0), max(high, 0.0)))
        self._add("aux", variable)
        self.require(variable <= high * self.present)
        self.require(variable >= low * self.present)
        return variable

    def free_variable(self, low: float, high: float) -> PyomoExpression:
        """A new auxiliary variable between zero and its bounds, for callers that tie it to binaries."""
        variable = pyo.Var(domain=pyo.Reals, bounds=(min(low, 0.0), max(high, 0.0)))
        self._add("part", variable)
        return variable

    def binary(self) -> PyomoExpression:
        """A new binary variable."""
        variable = pyo.Var(domain=pyo.Binary)
        self._add("choice", variable)
        return variable

    def cells(self, count: int) -> list[PyomoExpression]:
        """New variables in [0, 1]."""
        variables = pyo.Var(range(count), domain=pyo.NonNegativeReals, bounds=(0.0, 1.0))
        self._add("cell", variables)
        return list(variables.values())

    def require(self, relation: PyomoExpression) -> None:
        """Add a constraint; one between numbers only is dropped, or makes the model infeasible."""
        if isinstance(relation, (bool, np.bool_)):
            if relation:
                return
            relation = self.free_variable(0.0, 0.0) >= 1
        self._add("rule", pyo.Constraint(expr=relation))

    def shared(self, value: PyomoExpression, span: Range) -> PyomoExpression:
        """A variable that equals a value of finite range, so that the value may be read often; scaled."""
        scale = scale_of(span)
        return self.scaled(value, span, scale) / scale

    def scaled(self, value: PyomoExpression, span: Range, scale: float) -> PyomoExpression:
        """A variable that equals a value of finite range times a scale."""
        variable = pyo.Var(domain=pyo.Reals, bounds=(scale * span[0], scale * span[1]))
        self._add("shared", variable)
        self.require(variable == multiplied(scale, value))
        return variable

    def parts(
        self, value: PyomoExpression, span: Range, hot: list[PyomoExpression]
    ) -> tuple[list[PyomoExpression], float]:
        """Variables that sum to a value of finite range times a scale, all zero but the picked one."""
        scale = scale_of(span)
        low, high = scale * span[0], scale * span[1]
        parts = [self.free_variable(low, high) for _ in hot]
        for part, choice in zip(parts, hot, strict=True):
            self.require(part <= high * choice)
            self.require(part >= low * choice)
        self.require(pyo.quicksum(parts) == multiplied(scale, value))
        return parts, scale

    def _add(self, kind: str, component: Any) -> None:
        self.model.add_component(f"{self.name}_{kind}_{self.added}", component)
        self.added += 1


class Translate(Protocol):
    """Translates an expression by the chain of reductions; see `chain.translator`."""

    def __call__(self, expression: Basic, need: int) -> PyomoExpression: ...


class Reduction(Protocol):
    """One equivalent reformulation of an expression.

    `need` says what the context asks of the translated value v of expression e: `UP` that v may exceed e,
    but the smallest possible v is e (e is minimised or limited from above), `DOWN` the mirror image,
    `EITHER` v = e. Auxiliary variables are functions of the choice, so an answer maps back through the
    factors alone: `Scope.invert` is the inverse of every reduction, and of the whole chain.
    """

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Whether `apply` can take the expression."""

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """The Pyomo expression; adds auxiliary variables and constraints to the scope."""
