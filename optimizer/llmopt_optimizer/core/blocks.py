"""Building the rows of one variant, block by block.

The product of the domains grows one decision at a time, in an order that completes constraints early; a
constraint is applied as soon as everything it reads is there, so that invalid layouts are gone before
anything expensive is computed. Then states are solved and attributes evaluated. A `Block` is a set of rows
under construction: their positions in the full product, and the value of every symbol known so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray
from sympy import Symbol

from .algebra import symbols_of
from .lowering import Floats, Function, compile_expressions, terms_magnitude
from .program import TOLERANCE, Constraint, Decision, State, Variant
from .states import only_roots, smallest_roots

Indices = NDArray[np.int64]
BLOCK_ROWS = 1 << 16
"""Rows evaluated together: small enough for the processor's caches, large enough to hide Python."""


@dataclass(frozen=True, slots=True)
class CompiledState:
    state: State
    bounds: Function
    equation: Function


@dataclass(frozen=True, slots=True)
class CompiledConstraint:
    constraint: Constraint
    function: Function
    """The expression and the scale of its comparison with zero."""

    def holds(self, values: Mapping[Symbol, Floats], rows: int) -> NDArray[np.bool_]:
        value, scale = self.function(values, (rows,))
        return value <= TOLERANCE * scale  # false for nan


@dataclass(frozen=True, slots=True)
class CompiledVariant:
    """The numpy functions of one variant, and the order in which its decisions are expanded."""

    variant: Variant
    order: tuple[int, ...]
    constraints: tuple[CompiledConstraint, ...]
    states: tuple[CompiledState, ...]
    attributes: Function

    def blocks(self, parameters: Mapping[Symbol, float], ignore: frozenset[str]) -> Iterator[Block]:
        """Feasible rows, block by block; constraints whose label is in `ignore` are left out."""
        active = [c for c in self.constraints if not c.constraint.label or c.constraint.label not in ignore]
        values = {symbol: np.asarray(value, dtype=np.float64) for symbol, value in parameters.items()}
        start = Block(np.zeros(1, dtype=np.int64), values, {})
        yield from self._expand(start.filtered(_reading(active, values)), 0, active)

    def _expand(self, block: Block, depth: int, active: list[CompiledConstraint]) -> Iterator[Block]:
        if depth == len(self.order):
            yield self._finished(block, active)
            return
        decisions, position = self.variant.decisions, self.order[depth]
        stride = prod(len(later.values) for later in decisions[position + 1 :])
        for part in block.parts(max(1, BLOCK_ROWS // len(decisions[position].values))):
            expanded = part.crossed(decisions[position], stride)
            new = _reading(active, expanded.values, decisions[position].symbol)
            yield from self._expand(expanded.filtered(new), depth + 1, active)

    def _finished(self, block: Block, active: list[CompiledConstraint]) -> Block:
        for compiled in self.states:
            solved = block.solved(compiled)
            block = solved.filtered(_reading(active, solved.values, compiled.state.symbol))
        arrays = self.attributes(block.values, (len(block),))
        values = {**block.values, **dict(zip(self.variant.attributes, arrays, strict=True))}
        finite = np.ones(len(block), dtype=np.bool_)
        for array in arrays:
            finite &= np.isfinite(array)
        return Block(block.code, values, block.dropped).kept(finite, "an attribute is no finite number")


def compile_variant(variant: Variant) -> CompiledVariant:
    """Compile all expressions of a variant, once."""
    constraints = tuple(CompiledConstraint(c, _comparison(c)) for c in variant.constraints)
    states = tuple(
        CompiledState(s, compile_expressions((s.lower, s.upper)), compile_expressions((s.equation,)))
        for s in variant.states
    )
    attributes = compile_expressions(variant.attributes.values())
    return CompiledVariant(variant, _expansion_order(variant), constraints, states, attributes)


def _comparison(constraint: Constraint) -> Function:
    return compile_expressions((constraint.expression, terms_magnitude(constraint.expression)))


def _expansion_order(variant: Variant) -> tuple[int, ...]:
    """Greedy: next come the decisions of the constraint that needs the smallest product of new domains."""
    sizes = {decision.symbol: len(decision.values) for decision in variant.decisions}
    waiting = [symbols_of(c.expression) for c in variant.constraints]
    waiting = [
        symbols & set(sizes) for symbols in waiting if not symbols & {s.symbol for s in variant.states}
    ]
    order: list[Symbol] = []
    while waiting:
        waiting = [symbols - set(order) for symbols in waiting if symbols - set(order)]
        new: set[Symbol] = min(waiting, key=lambda symbols: prod(sizes[s] for s in symbols), default=set())
        order += sorted(new, key=lambda s: (sizes[s], s.name))
    order += sorted(set(sizes) - set(order), key=lambda s: (sizes[s], s.name))
    return tuple([decision.symbol for decision in variant.decisions].index(symbol) for symbol in order)


@dataclass(frozen=True, slots=True)
class Block:
    """Rows under construction: positions so far, the value of every symbol known so far, refusals counted."""

    code: Indices
    values: Mapping[Symbol, Floats]
    dropped: dict[str, int]

    def __len__(self) -> int:
        return len(self.code)

    def column(self, symbol: Symbol) -> Floats:
        """The symbol's value in every row; nan when it is unknown here."""
        return np.broadcast_to(self.values.get(symbol, np.float64(np.nan)), (len(self),))

    def parts(self, rows: int) -> Iterator[Block]:
        """Slices of at most `rows` rows; the first one carries the refusals."""
        for start in range(0, len(self), rows):
            keep = slice(start, start + rows)
            yield self._take(keep, self.dropped if start == 0 else {})
        if not len(self):
            yield self

    def crossed(self, decision: Decision, stride: int) -> Block:
        """The product with one more decision, whose positions count `stride` each in the full product."""
        count = len(decision.values)
        code = np.repeat(self.code, count) + np.tile(np.arange(count) * stride, len(self))
        known = {k: np.repeat(v, count) if np.ndim(v) else v for k, v in self.values.items()}
        known[decision.symbol] = np.tile(np.array(decision.values, dtype=np.float64), len(self))
        return Block(code, known, self.dropped)

    def filtered(self, constraints: list[CompiledConstraint]) -> Block:
        """The rows that satisfy the constraints."""
        block = self
        for compiled in constraints:
            block = block.kept(compiled.holds(block.values, len(block)), compiled.constraint.name)
        return block

    def solved(self, compiled: CompiledState) -> Block:
        """The rows with one more state, without those that have no root."""
        symbol, values = compiled.state.symbol, self.values
        lower, upper = compiled.bounds(values, (len(self),))

        def equation(x: Floats, rows: NDArray[np.intp]) -> Floats:
            taken = {k: values[k][rows] if np.ndim(values[k]) else values[k] for k in reads if k != symbol}
            return compiled.equation({**taken, symbol: x}, x.shape)[0]

        reads = compiled.equation.symbols
        if compiled.state.increasing:
            roots = smallest_roots(equation, lower, upper, symbol.name)
        else:
            roots = only_roots(equation, lower, upper)
        block = Block(self.code, {**values, symbol: roots}, self.dropped)
        return block.kept(~np.isnan(roots), f"no root of {symbol.name}")

    def kept(self, mask: NDArray[np.bool_], reason: str) -> Block:
        """The rows of the mask; the others are counted under `reason`."""
        refused = len(self) - int(np.count_nonzero(mask))
        if not refused:
            return self
        return self._take(mask, self.dropped | {reason: self.dropped.get(reason, 0) + refused})

    def _take(self, keep: slice | NDArray[np.bool_], dropped: dict[str, int]) -> Block:
        values = {k: v[keep] if np.ndim(v) else v for k, v in self.values.items()}
        return Block(self.code[keep], values, dropped)


def _reading(
    constraints: Iterable[CompiledConstraint], values: Mapping[Symbol, Floats], new: Symbol | None = None
) -> list[CompiledConstraint]:
    """The constraints whose symbols are all known, and which read `new` if that is given."""
    ready = [c for c in constraints if all(symbol in values for symbol in c.function.symbols)]
    return ready if new is None else [c for c in ready if new in c.function.symbols]
