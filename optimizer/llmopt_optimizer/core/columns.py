"""Columns: every feasible row of a pool, with its attributes, as arrays.

`CompiledPool` holds the numpy functions of all expressions of a pool, compiled once: tabulating again with
other parameter values, other limits or a constraint group left out compiles nothing. `tabulate` gives one
pool's `Columns`; a row of them maps back to a `Choice` in the caller's words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sympy import Symbol

from .blocks import Block, CompiledVariant, Indices, compile_variant
from .deadline import check_deadline
from .lowering import Floats
from .program import Choice, Number, Pool, Variant


@dataclass(frozen=True, slots=True)
class Columns:
    """The feasible rows of one pool.

    `variant` [rows] indexes the pool's variants; `code` [rows] is the row's position in the full product of
    that variant's domains (C order). `attributes` and `states` hold float64 arrays [rows]; a
    state that the row's variant lacks is nan.
    """

    pool: Pool
    variant: Indices
    code: Indices
    attributes: Mapping[Symbol, Floats]
    states: Mapping[Symbol, Floats]
    dropped: Mapping[str, int]
    """Partial rows that each constraint, state or attribute refused, by its name."""

    def __len__(self) -> int:
        return len(self.code)

    def take(self, rows: Indices) -> Columns:
        """The columns of these rows only."""
        attributes = {symbol: array[rows] for symbol, array in self.attributes.items()}
        states = {symbol: array[rows] for symbol, array in self.states.items()}
        return Columns(self.pool, self.variant[rows], self.code[rows], attributes, states, self.dropped)

    def choice(self, row: int) -> Choice:
        """The row in the caller's words."""
        variant = self.pool.variants[int(self.variant[row])]
        return Choice(self.pool.name, variant.name, decode(variant, int(self.code[row])))

    def row_of(self, choice: Choice) -> int | None:
        """The row of a choice, or None when it is infeasible or unknown."""
        for index, variant in enumerate(self.pool.variants):
            code = encode(variant, choice) if variant.name == choice.variant else None
            if code is not None:
                found = np.flatnonzero((self.variant == index) & (self.code == code))
                return int(found[0]) if found.size else None
        return None


def decode(variant: Variant, code: int) -> tuple[tuple[str, Number], ...]:
    """The (symbol name, value) pairs of a position in the product of the variant's domains."""
    sizes = [len(decision.values) for decision in variant.decisions]
    positions = np.unravel_index(code, sizes) if sizes else ()
    return tuple(
        (decision.symbol.name, decision.values[int(position)])
        for decision, position in zip(variant.decisions, positions, strict=True)
    )


def encode(variant: Variant, choice: Choice) -> int | None:
    """The position of a choice in the product of the variant's domains; None when a value is not in one."""
    values = dict(choice.values)
    code = 0
    for decision in variant.decisions:
        if values.get(decision.symbol.name) not in decision.values:
            return None
        code = code * len(decision.values) + decision.values.index(values[decision.symbol.name])
    return code


@dataclass(frozen=True, slots=True)
class CompiledPool:
    """The numpy functions of one pool."""

    pool: Pool
    variants: tuple[CompiledVariant, ...]

    def tabulate(
        self,
        parameters: Mapping[Symbol, float],
        ignore: frozenset[str] = frozenset(),
        deadline: float | None = None,
    ) -> Columns:
        """Every feasible row of the pool; constraints whose label is in `ignore` are left out.

        Raises `DeadlineError` when the monotonic clock passes `deadline`.
        """
        numbered: list[tuple[int, Block]] = []
        for index, variant in enumerate(self.variants):
            for block in variant.blocks(parameters, ignore):
                check_deadline(deadline)
                numbered.append((index, block))
        return _joined(self.pool, numbered)


def compile_pool(pool: Pool) -> CompiledPool:
    """Compile every expression of one pool."""
    return CompiledPool(pool, tuple(compile_variant(variant) for variant in pool.variants))


def tabulate(pool: Pool, parameters: Mapping[Symbol, float]) -> Columns:
    """Every feasible row of a pool, compiled and evaluated."""
    return compile_pool(pool).tabulate(parameters)


def _joined(pool: Pool, numbered: list[tuple[int, Block]]) -> Columns:
    states = {state.symbol for variant in pool.variants for state in variant.states}
    dropped: Counter[str] = Counter()
    for _, block in numbered:
        dropped.update(block.dropped)
    variant = [np.full(len(block), index, dtype=np.int64) for index, block in numbered]
    return Columns(
        pool,
        np.concatenate(variant),
        np.concatenate([block.code for _, block in numbered]),
        {symbol: _column(symbol, numbered) for symbol in pool.attributes},
        {symbol: _column(symbol, numbered) for symbol in states},
        dict(dropped),
    )


def _column(symbol: Symbol, numbered: list[tuple[int, Block]]) -> Floats:
    return np.concatenate([block.column(symbol) for _, block in numbered])
