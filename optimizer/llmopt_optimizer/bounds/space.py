"""Every deployment of a program with bounds of its metrics: what may still be better than what is verified.

A `BoundedSystem` holds the rows of a system's pools with their bounds. Joined, a row of every pool is a
deployment; its metrics are bounded from both sides by arrays that broadcast over the pools. The product is
walked in blocks, so that memory grows with the deployments that stay open, not with the space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from sympy import Symbol

from llmopt_optimizer.bounds.roles import LAYOUT, Floats, Ints, Layouts, RoleBounds, prefill_caps
from llmopt_optimizer.core.algebra import symbols_of
from llmopt_optimizer.core.columns import Columns, compile_pool
from llmopt_optimizer.core.program import Assignment, Pool, Program, System, Variant
from llmopt_optimizer.formulation.pool import TRAFFIC
from llmopt_optimizer.symbols import attribute_symbol, frozen_symbols
from llmopt_problems.deployment import Role

Kind = TypeVar("Kind", bound=np.generic)
BLOCK_ROWS = 1 << 18
RESOURCES = ("gpus", "usd_per_hour", "peak_memory_bytes", "memory_fraction")
_NOTHING_HELD = 1e-9
"""Tokens in the KV pool of the least memory: what stays is weights, activations and reserve."""


@dataclass(frozen=True, slots=True)
class RoleRows:
    """One role of a system: its resources and bounds by row of the pool that holds it."""

    role: Role
    axis: int
    """Position of that pool in the system."""
    layouts: Layouts
    resources: Mapping[str, Floats]
    stock: Mapping[Symbol, Floats]
    """Accelerators of each type, by the symbol that the stock constraint reads."""


@dataclass(frozen=True, slots=True)
class SystemRows:
    """A system's pools as tables of valid rows."""

    system: System
    columns: tuple[Columns, ...]
    roles: tuple[RoleRows, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows of each pool."""
        return tuple(len(columns) for columns in self.columns)

    def assignment(self, rows: Sequence[int]) -> Assignment:
        """One row of every pool in the program's words."""
        pairs = zip(self.columns, rows, strict=True)
        return Assignment(self.system.name, tuple(columns.choice(int(row)) for columns, row in pairs))


def system_rows(program: Program) -> tuple[SystemRows, ...]:
    """The valid rows of every pool; nothing that depends on traffic is a rule of validity."""
    symbols = frozen_symbols()
    held = dict.fromkeys((symbols.reserved_tokens, symbols.input_tokens), _NOTHING_HELD)
    parameters = {**program.parameters, **held}
    return tuple(_system_rows(system, parameters) for system in program.systems)


def _system_rows(system: System, parameters: Mapping[Symbol, float]) -> SystemRows:
    stock = {s for constraint in system.constraints for s in symbols_of(constraint.expression)}
    kept = [_skeleton(pool, set(parameters), stock) for pool in system.pools]
    columns = tuple(compile_pool(pool).tabulate(parameters) for pool in kept)
    roles = [
        _role_rows(role, axis, table, stock)
        for axis, table in enumerate(columns)
        for role in _roles_of(table.pool)
    ]
    return SystemRows(system, columns, tuple(roles))


def _roles_of(pool: Pool) -> tuple[Role, ...]:
    return ("prefill", "decode") if pool.name == "both" else (pool.name,)  # type: ignore[return-value]


def _skeleton(pool: Pool, parameters: set[Symbol], stock: set[Symbol]) -> Pool:
    """The pool without states and without what reads them."""
    wanted = {attribute_symbol(role, name) for role in _roles_of(pool) for name in RESOURCES} | stock

    def bare(variant: Variant) -> Variant:
        known = parameters | {decision.symbol for decision in variant.decisions}
        rules = tuple(
            c for c in variant.constraints if c.label != TRAFFIC and symbols_of(c.expression) <= known
        )
        shown = {s: e for s, e in variant.attributes.items() if s in wanted}
        return replace(variant, states=(), constraints=rules, attributes=shown)

    return Pool(pool.name, tuple(bare(variant) for variant in pool.variants))


def _role_rows(role: Role, axis: int, columns: Columns, stock: set[Symbol]) -> RoleRows:
    resources = {name: columns.attributes[attribute_symbol(role, name)] for name in RESOURCES}
    mine = {s: a for s, a in columns.attributes.items() if s in stock and s.name.startswith(f"{role}.")}
    return RoleRows(role, axis, _layouts(role, columns), resources, mine)


def _layouts(role: Role, columns: Columns) -> Layouts:
    """The decisions of a role as arrays over the rows of its pool."""
    names = (*LAYOUT, "instances", "chunk_tokens", "batch_cap")
    values: dict[str, Ints] = {name: np.ones(len(columns), dtype=np.int64) for name in names}
    values["ffn"] *= 0  # where nothing is decided
    accelerator = np.empty(len(columns), dtype=object)
    for index, variant in enumerate(columns.pool.variants):
        rows = np.flatnonzero(columns.variant == index)
        sizes = [len(decision.values) for decision in variant.decisions]
        positions = np.unravel_index(columns.code[rows], sizes)
        for decision, position in zip(variant.decisions, positions, strict=True):
            own, _, name = decision.symbol.name.partition("_")
            if own == role:
                values[name][rows] = np.array(decision.values)[position]
        parts = variant.name.split("+")
        accelerator[rows] = parts[-1] if role == "decode" else parts[0]
    if role == "prefill":
        values["batch_cap"] = prefill_caps(len(columns))
    if role == "decode":
        values["chunk_tokens"] = values["batch_cap"]
    return Layouts(role, accelerator.astype(np.str_), values)


@dataclass(frozen=True, slots=True)
class Block:
    """Some joint rows of a system: a slice of the rows of every pool."""

    rows: SystemRows
    positions: tuple[slice, ...]
    shape: tuple[int, ...]

    def column(self, axis: int, values: NDArray[Kind]) -> NDArray[Kind]:
        """A pool's column, shaped to broadcast over the block."""
        shape = [1] * len(self.shape)
        shape[axis] = -1
        return values[self.positions[axis]].reshape(shape)


def blocks(rows: SystemRows) -> Iterator[Block]:
    """The joint product of a system in blocks of about `BLOCK_ROWS` rows."""
    sizes = rows.shape
    rest = int(np.prod(sizes[1:], dtype=np.int64))
    if not sizes[0] * rest:
        return
    width = max(1, BLOCK_ROWS // rest)
    for start in range(0, sizes[0], width):
        stop = min(sizes[0], start + width)
        every = tuple(slice(0, size) for size in sizes[1:])
        yield Block(rows, (slice(start, stop), *every), (stop - start, *sizes[1:]))


@dataclass(frozen=True, slots=True)
class BoundedSystem:
    """A system with the bounds of its roles, in the order of `rows.roles`."""

    rows: SystemRows
    bounds: tuple[RoleBounds, ...]
