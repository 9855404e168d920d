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
from typing import Any, Protocol, TypeAlias

import pyomo.environ as pyo
from sympy import Basic, Symbol

from ..lowering import Floats
from ..monotone import Range, bounds

PyomoExpression: TypeAlias = Any
"""Pyomo ships no types: a number, a variable or an expression of them."""


class NotTranslatable(Exception):  # noqa: N818  (the name that callers are promised)
    """No reduction of the chain takes a node of an expression: says which node, and what to do."""

    def __init__(self, node: Basic, why: str) -> None:
        super().__init__(f"cannot translate {type(node).__name__} node {node}: {why}")
        self.node = node


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

    def factors_of(self, expression: Basic) -> list[Factor]:
        """The factors whose symbols the expression reads, in order."""
        return [factor for factor in self.factors if not expression.free_symbols.isdisjoint(factor.values)]

    def discrete(self, expression: Basic) -> bool:
        """Whether the expression reads no continuous symbol."""
        return expression.free_symbols.isdisjoint(self.continuous)

    def range(self, expression: Basic) -> Range:
        """Numbers between which the expression lies when the system is present."""
        return bounds(expression, self.ranges)

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
        """Add a constraint."""
        self._add("rule", pyo.Constraint(expr=relation))

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
    factors alone: `Factor.invert` is the inverse of the whole chain.
    """

    def accepts(self, expression: Basic, need: int, scope: Scope) -> bool:
        """Whether `apply` can take the expression."""

    def apply(self, expression: Basic, need: int, scope: Scope, translate: Translate) -> PyomoExpression:
        """The Pyomo expression; adds auxiliary variables and constraints to the scope."""
