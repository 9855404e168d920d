"""Building the rows of one variant, block by block.

The product of the domains grows one decision at a time, in an order that completes constraints early; a
constraint is applied as soon as everything it reads is there, so that invalid layouts are gone before
anything expensive is computed. Then states are solved and attributes evaluated. A `Block` is a set of rows
under construction: their positions in the full product, and the value of every symbol known so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray
from sympy import Symbol

from .algebra import symbols_of
from .lowering import Floats, Function, compile_expressions, terms_magnitude
from .monotone import EITHER, Range, direction
from .neighbours import Chain, neighbouring_roots
from .program import TOLERANCE, Constraint, Decision, State, Variant
from .staging import Groups, Staged, compile_staged
from .states import only_roots, smallest_roots

Indices = NDArray[np.int64]
Axis = tuple[int, int]
"""Stride and size of a decision in the full product of a variant's domains."""
CHAINED_ROWS = 1 << 10
"""Roots of this many rows or more are found along chains of neighbours."""
BLOCK_ROWS = 1 << 18
"""Rows evaluated together: few enough for the memory, so many that Python, and roots that blocks share, cost
little."""


@dataclass(frozen=True, slots=True)
class CompiledState:
    state: State
    bounds: Staged
    equation: Function
    decided_by: tuple[Symbol, ...]
    """The decisions that the root depends on: rows that agree in them share it."""


@dataclass(frozen=True, slots=True)
class CompiledConstraint:
    constraint: Constraint
    function: Staged
    """The expression and the scale of its comparison with zero."""
    symbols: frozenset[Symbol]

    def holds(self, block: Block) -> NDArray[np.bool_]:
        value, scale = self.function(block.values, len(block), block.groups)
        return value <= TOLERANCE * scale  # false for nan


@dataclass(frozen=True, slots=True)
class CompiledVariant:
    """The numpy functions of one variant, and the order in which its decisions are expanded."""

    variant: Variant
    order: tuple[int, ...]
    constraints: tuple[CompiledConstraint, ...]
    states: tuple[CompiledState, ...]
    attributes: Staged

    def blocks(self, parameters: Mapping[Symbol, float], ignore: frozenset[str]) -> Iterator[Block]:
        """Feasible rows, block by block; constraints whose label is in `ignore` are left out."""
        active = [c for c in self.constraints if not c.constraint.label or c.constraint.label not in ignore]
        values = {symbol: np.asarray(value, dtype=np.float64) for symbol, value in parameters.items()}
        code = np.zeros(1, dtype=np.int64)
        start = Block(code, values, {}, runs_of(code))
        yield from self._expand(start.filtered(_reading(active, values)), 0, active)

    def _expand(self, block: Block, depth: int, active: list[CompiledConstraint]) -> Iterator[Block]:
        if depth == len(self.order):
            yield self._finished(block, active)
            return
        decision = self.variant.decisions[self.order[depth]]
        for part in block.parts(max(1, BLOCK_ROWS // len(decision.values))):
            innermost = depth == len(self.order) - 1
            expanded = part.crossed(decision, self.axis(decision.symbol), innermost)
            new = _reading(active, expanded.values, decision.symbol)
            yield from self._expand(expanded.filtered(new), depth + 1, active)

    def at(self, code: Indices, parameters: Mapping[Symbol, float]) -> Block:
        """The feasible ones of these positions in the full product."""
        values = {symbol: np.asarray(value, dtype=np.float64) for symbol, value in parameters.items()}
        for decision in self.variant.decisions:
            stride, size = self.axis(decision.symbol)
            values[decision.symbol] = np.array(decision.values, dtype=np.float64)[code // stride % size]
        active = list(self.constraints)
        block = Block(code, values, {}, runs_of(np.arange(len(code))))
        return self._finished(block.filtered(_reading(active, values)), active)

    def axis(self, symbol: Symbol) -> Axis:
        """Stride and size of a decision in the full product."""
        sizes = [len(decision.values) for decision in self.variant.decisions]
        place = [decision.symbol for decision in self.variant.decisions].index(symbol)
        return prod(sizes[place + 1 :]), sizes[place]

    def _finished(self, block: Block, active: list[CompiledConstraint]) -> Block:
        for compiled in self.states:
            sharing = shared_rows(block.code, [self.axis(symbol) for symbol in compiled.decided_by])
            solved = block.solved(compiled, sharing)
            block = solved.filtered(_reading(active, solved.values, compiled.state.symbol))
        arrays = self.attributes(block.values, len(block), block.groups)
        values = {**block.values, **dict(zip(self.variant.attributes, arrays, strict=True))}
        finite = np.ones(len(block), dtype=np.bool_)
        for array in arrays:
            finite &= np.isfinite(array)
        return replace(block, values=values).kept(finite, "an attribute is no finite number")


def compile_variant(variant: Variant) -> CompiledVariant:
    """Compile all expressions of a variant, once."""
    order = _expansion_order(variant)
    decided = _decided_by(variant)
    innermost = {variant.decisions[order[-1]].symbol} if order else set()
    late = innermost | {symbol for symbol, by in decided.items() if innermost & by}
    constraints = tuple(
        CompiledConstraint(
            c,
            compile_staged((c.expression, terms_magnitude(c.expression)), late),
            frozenset(symbols_of(c.expression)),
        )
        for c in variant.constraints
    )
    states = tuple(_compiled_state(state, decided[state.symbol], late) for state in variant.states)
    attributes = compile_staged(variant.attributes.values(), late)
    return CompiledVariant(variant, order, constraints, states, attributes)


def _compiled_state(state: State, decided_by: set[Symbol], late: set[Symbol]) -> CompiledState:
    bounds = compile_staged((state.lower, state.upper), late)
    by = tuple(sorted(decided_by, key=str))
    return CompiledState(state, bounds, compile_expressions((state.equation,)), by)


def _decided_by(variant: Variant) -> dict[Symbol, set[Symbol]]:
    """Of each state: the decisions that its root depends on, through earlier states too."""
    decisions = {decision.symbol for decision in variant.decisions}
    found: dict[Symbol, set[Symbol]] = {}
    for state in variant.states:
        read = symbols_of(state.equation, state.lower) - {state.symbol}
        found[state.symbol] = (read & decisions).union(*(found.get(symbol, set()) for symbol in read))
    return found


def _expansion_order(variant: Variant) -> tuple[int, ...]:
    """Greedy: next come the decisions of the constraint that needs the smallest product of new domains.

    Decisions that no state depends on come last, so that the rows of a block share few roots with other
    blocks.
    """
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
    decided = set().union(*_decided_by(variant).values())
    order.sort(key=lambda symbol: bool(decided) and symbol not in decided)
    return tuple([decision.symbol for decision in variant.decisions].index(symbol) for symbol in order)


@dataclass(frozen=True, slots=True)
class Block:
    """Rows under construction: positions so far, the value of every symbol known so far, refusals counted."""

    code: Indices
    values: Mapping[Symbol, Floats]
    dropped: dict[str, int]
    groups: Groups
    """Rows that differ in the innermost decision and in nothing else; before it is crossed, each its own."""

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

    def crossed(self, decision: Decision, axis: Axis, innermost: bool) -> Block:
        """The product with one more decision."""
        count = len(decision.values)
        code = np.repeat(self.code, count) + np.tile(np.arange(count) * axis[0], len(self))
        known = {k: np.repeat(v, count) if np.ndim(v) else v for k, v in self.values.items()}
        known[decision.symbol] = np.tile(np.array(decision.values, dtype=np.float64), len(self))
        labels = np.repeat(np.arange(len(self)), count) if innermost else np.arange(len(code))
        return Block(code, known, self.dropped, runs_of(labels))

    def filtered(self, constraints: list[CompiledConstraint]) -> Block:
        """The rows that satisfy the constraints."""
        block = self
        for compiled in constraints:
            block = block.kept(compiled.holds(block), compiled.constraint.name)
        return block

    def solved(self, compiled: CompiledState, sharing: Groups) -> Block:
        """The rows with one more state, without those that have no root.

        Each root is found once for all rows that share it, up to the highest of their upper bounds.
        """
        symbol = compiled.state.symbol
        lower, upper = compiled.bounds(self.values, len(self), self.groups)
        highest = np.full(len(sharing.first), -np.inf)
        np.maximum.at(highest, sharing.of_row, np.where(np.isnan(upper), -np.inf, upper))
        found = self._take(sharing.first, {}).roots(compiled, lower[sharing.first], highest)[sharing.of_row]
        roots = np.where(found <= upper * (1 + 1e-12), found, np.nan)
        block = replace(self, values={**self.values, symbol: roots})
        return block.kept(~np.isnan(roots), f"no root of {symbol.name}")

    def roots(self, compiled: CompiledState, lower: Floats, upper: Floats) -> Floats:
        """The root of every row; nan without one."""
        symbol, values = compiled.state.symbol, self.values
        reads = [known for known in compiled.equation.symbols if known != symbol]

        def equation(x: Floats, rows: NDArray[np.intp]) -> Floats:
            taken = {k: values[k][rows] if np.ndim(values[k]) else values[k] for k in reads}
            return compiled.equation({**taken, symbol: x}, x.shape)[0]

        if not compiled.state.increasing:
            return only_roots(equation, lower, upper)
        chain = self._chain(compiled) if len(self) >= CHAINED_ROWS else None
        if chain is None:
            return smallest_roots(equation, lower, upper, symbol.name)
        return neighbouring_roots(equation, lower, upper, chain, symbol.name)

    def _chain(self, compiled: CompiledState) -> Chain | None:
        """The rows in chains along the decision with the most values, where the equation moves one way."""
        values = {s: self.values[s] for s in compiled.decided_by if np.ndim(self.values[s])}
        along = max(values, key=lambda s: len(np.unique(values[s])), default=None)
        if along is None:
            return None
        moves = direction(compiled.state.equation, along, self._ranges(compiled))
        if moves == EITHER:
            return None
        others = [array for symbol, array in values.items() if symbol != along]
        order = np.lexsort((moves * values[along], *others))
        changed = [np.diff(array[order]) != 0 for array in others]
        group = np.r_[0, np.cumsum(np.logical_or.reduce(changed))] if changed else np.zeros_like(order)
        return Chain(order, group)

    def _ranges(self, compiled: CompiledState) -> dict[Symbol, Range]:
        """Smallest and largest value of every symbol that the equation reads; the state itself is positive
        or anything.
        """
        known = {s: self.values[s] for s in compiled.equation.symbols if s != compiled.state.symbol}
        own: Range = (0.0, np.inf) if compiled.state.symbol.is_nonnegative else (-np.inf, np.inf)
        spans = {s: (float(np.min(array)), float(np.max(array))) for s, array in known.items()}
        return spans | {compiled.state.symbol: own}

    def kept(self, mask: NDArray[np.bool_], reason: str) -> Block:
        """The rows of the mask; the others are counted under `reason`."""
        refused = len(self) - int(np.count_nonzero(mask))
        if not refused:
            return self
        return self._take(mask, self.dropped | {reason: self.dropped.get(reason, 0) + refused})

    def _take(self, keep: slice | NDArray[np.bool_] | Indices, dropped: dict[str, int]) -> Block:
        values = {k: v[keep] if np.ndim(v) else v for k, v in self.values.items()}
        return Block(self.code[keep], values, dropped, runs_of(self.groups.of_row[keep]))


def runs_of(labels: NDArray[np.intp]) -> Groups:
    """Neighbouring rows with the same label as groups."""
    starts = np.ones(len(labels), dtype=np.bool_)
    starts[1:] = labels[1:] != labels[:-1]
    return Groups(np.flatnonzero(starts), np.cumsum(starts) - 1)


def shared_rows(code: Indices, axes: Sequence[Axis]) -> Groups:
    """Rows that agree in these decisions as groups."""
    key = np.zeros(len(code), dtype=np.int64)
    for stride, size in axes:
        key = key * size + code // stride % size
    _, first, of_row = np.unique(key, return_index=True, return_inverse=True)
    return Groups(first, of_row)


def _reading(
    constraints: Iterable[CompiledConstraint], values: Mapping[Symbol, Floats], new: Symbol | None = None
) -> list[CompiledConstraint]:
    """The constraints whose symbols are all known, and which read `new` if that is given."""
    ready = [c for c in constraints if all(symbol in values for symbol in c.symbols)]
    return ready if new is None else [c for c in ready if new in c.symbols]
