"""From a program to the small tables that a solver needs, in four exact steps.

Tabulate the pools; evaluate the features that the objectives, limits and constraints read; drop rows with
which some requirement fails whatever the other pools choose; drop dominated rows. `Prepared` keeps the map
from the remaining rows back to the columns, so that any row is still an assignment in the caller's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray
from sympy import Expr, Float, Integer, Symbol

from .columns import Columns, CompiledPool, compile_pool
from .deadline import check_deadline
from .dominance import undominated_rows
from .interface import CompiledSystem, Measure, Requirement, compile_system
from .lowering import Floats, Function
from .monotone import EITHER, UP, Directions, Range, bounds, directions, merged, scaled
from .program import TOLERANCE, Assignment, Program

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CompiledProgram:
    """Every expression of a program, separated and compiled; parameters, limits and objectives stay open."""

    systems: tuple[CompiledSystem, ...]
    pools: tuple[tuple[CompiledPool, ...], ...]


def compile_program(program: Program) -> CompiledProgram:
    """Compile all expressions, once for any parameter values, limits, objectives and exclusions."""
    systems = tuple(compile_system(system) for system in program.systems)
    pools = tuple(tuple(compile_pool(pool) for pool in system.pools) for system in program.systems)
    return CompiledProgram(systems, pools)


@dataclass(frozen=True, slots=True)
class Tabulated:
    """The columns of every pool of every system, for one set of parameter values."""

    compiled: CompiledProgram
    columns: tuple[tuple[Columns, ...], ...]
    parameters: Mapping[Symbol, float]
    ignore: frozenset[str] = frozenset()
    """Labels of the constraint groups that are left out."""


def tabulate_program(
    compiled: CompiledProgram,
    parameters: Mapping[Symbol, float],
    ignore: frozenset[str] = frozenset(),
    deadline: float | None = None,
) -> Tabulated:
    """Tabulate all pools; constraints whose label is in `ignore` are left out."""
    columns = tuple(
        tuple(pool.tabulate(parameters, ignore, deadline) for pool in pools) for pools in compiled.pools
    )
    return Tabulated(compiled, columns, parameters, ignore)


@dataclass(frozen=True, slots=True)
class PoolTable:
    """The rows of one pool that are left, with their features."""

    columns: Columns
    rows: Rows
    """Positions of the kept rows in `columns`."""
    features: Mapping[Symbol, Floats]
    """Feature values of the kept rows."""

    def __len__(self) -> int:
        return len(self.rows)

    def keep(self, kept: NDArray[np.bool_] | Rows) -> PoolTable:
        """The table with only these of its rows."""
        features = {symbol: array[kept] for symbol, array in self.features.items()}
        return PoolTable(self.columns, self.rows[kept], features)


@dataclass(frozen=True, slots=True)
class SystemTable:
    """One system: its pools' tables, its objectives (to minimise) and requirements over their features."""

    compiled: CompiledSystem
    pools: tuple[PoolTable, ...]
    objectives: tuple[Measure, ...]
    """Metrics of the objectives as the caller wrote them; signs are the program's."""
    requirements: tuple[Requirement, ...]
    parameters: Mapping[Symbol, float]
    excluded: tuple[tuple[int, ...], ...]
    """Excluded assignments as positions in the tables, those that are still possible."""

    @property
    def size(self) -> int:
        """Number of joint rows."""
        return prod(len(pool) for pool in self.pools)

    def assignment(self, rows: tuple[int, ...]) -> Assignment:
        """The caller's words for one row of every pool."""
        chosen = (
            pool.columns.choice(int(pool.rows[row])) for pool, row in zip(self.pools, rows, strict=True)
        )
        return Assignment(self.compiled.system.name, tuple(chosen))

    def known(self, rows: tuple[Rows | slice, ...]) -> dict[Symbol, Floats]:
        """Parameters, and the features of these rows with one array axis for each pool."""
        values = {symbol: np.asarray(value, dtype=np.float64) for symbol, value in self.parameters.items()}
        for axis, (pool, chosen) in enumerate(zip(self.pools, rows, strict=True)):
            shape = [1] * len(self.pools)
            shape[axis] = -1
            values |= {symbol: array[chosen].reshape(shape) for symbol, array in pool.features.items()}
        return values

    def expression(self, measure: Measure) -> Expr:
        """A measure with the parameters' numbers put in."""
        return measure.expression.xreplace({s: exact_number(v) for s, v in self.parameters.items()})

    def ranges(self) -> dict[Symbol, Range]:
        """Smallest and largest value of every feature."""
        items = [item for pool in self.pools for item in pool.features.items()]
        return {symbol: (float(array.min()), float(array.max())) for symbol, array in items}


def exact_number(value: float) -> Expr:
    """A SymPy number of the same value, an Integer where it is whole."""
    return Integer(int(value)) if float(value).is_integer() else Float(value)


def prepare(tabulated: Tabulated, program: Program, deadline: float | None = None) -> tuple[SystemTable, ...]:
    """The pruned tables of every system, exact for the program's objectives, limits and exclusions.

    Raises `DeadlineError` when the monotonic clock passes `deadline`.
    """
    tables = []
    for index in range(len(tabulated.columns)):
        check_deadline(deadline)
        table = unpruned_table(tabulated, index, program)
        for _ in range(2):  # what one pool loses can tell against rows of the others
            table = _screened(table)
        tables.append(_pruned(table, program))
    return tuple(tables)


def unpruned_table(tabulated: Tabulated, index: int, program: Program) -> SystemTable:
    """All feasible rows of the pools of the system at `index`, with the features that the program reads."""
    compiled = tabulated.compiled.systems[index]
    objectives = tuple(compiled.metrics[objective.metric] for objective in program.objectives)
    listed = compiled.requirements(program.limits)
    requirements = tuple(r for r in listed if not (r.relaxable and r.name in tabulated.ignore))
    read = {s for measure in objectives for s in measure.expression.free_symbols}
    read |= {s for r in requirements for m in (r.measure, r.scale) for s in m.expression.free_symbols}
    pools = tuple(
        _pool_table(columns, {s: f for s, f in functions.items() if s in read}, tabulated.parameters)
        for columns, functions in zip(tabulated.columns[index], compiled.features, strict=True)
    )
    table = SystemTable(compiled, pools, objectives, requirements, tabulated.parameters, ())
    return _with_exclusions(table, program)


def _pool_table(
    columns: Columns, functions: Mapping[Symbol, Function], parameters: Mapping[Symbol, float]
) -> PoolTable:
    known = {symbol: np.asarray(value, dtype=np.float64) for symbol, value in parameters.items()}
    known |= columns.attributes
    features = {symbol: function(known, (len(columns),))[0] for symbol, function in functions.items()}
    table = PoolTable(columns, np.arange(len(columns)), features)
    finite = np.ones(len(columns), dtype=np.bool_)
    for array in features.values():
        finite &= np.isfinite(array)
    return table if finite.all() else table.keep(finite)


def _with_exclusions(table: SystemTable, program: Program) -> SystemTable:
    """Exclusions of one-pool systems drop the row; others are kept as positions."""
    name = table.compiled.system.name
    listed = (_positions(table.pools, a) for a in program.excluded if a.system == name)
    found = tuple(sorted(positions for positions in listed if positions is not None))
    if len(table.pools) > 1:
        return replace(table, excluded=found)
    keep = np.ones(len(table.pools[0]), dtype=np.bool_)
    keep[[positions[0] for positions in found]] = False
    return replace(table, pools=(table.pools[0].keep(keep),))


def _positions(pools: tuple[PoolTable, ...], assignment: Assignment) -> tuple[int, ...] | None:
    """Where an assignment's choices are in the tables; None when one of them is not there."""
    positions = []
    for pool, choice in zip(pools, assignment.choices, strict=True):
        row = pool.columns.row_of(choice)
        found = np.flatnonzero(pool.rows == row) if row is not None else np.zeros(0, dtype=np.int64)
        if not found.size:
            return None
        positions.append(int(found[0]))
    return tuple(positions)


def _kept(table: SystemTable, keep: list[Rows]) -> SystemTable:
    """The table with only these rows of each pool; exclusions that lost a row are gone."""
    pools = tuple(pool.keep(rows) for pool, rows in zip(table.pools, keep, strict=True))
    if not table.excluded:
        return replace(table, pools=pools)
    places = [{int(row): place for place, row in enumerate(rows)} for rows in keep]
    excluded = tuple(
        tuple(place[row] for place, row in zip(places, rows, strict=True))
        for rows in table.excluded
        if all(row in place for place, row in zip(places, rows, strict=True))
    )
    return replace(table, pools=pools, excluded=excluded)


def _screened(table: SystemTable) -> SystemTable:
    """Without the rows with which a requirement fails even at the best features of the other pools."""
    if not table.size:
        return table
    keep = [np.ones(len(pool), dtype=np.bool_) for pool in table.pools]
    ranges = table.ranges()
    for requirement in table.requirements:
        moves = directions(table.expression(requirement.measure), ranges)
        slack = TOLERANCE * bounds(table.expression(requirement.scale), ranges)[1]
        for index in range(len(table.pools)):
            known = _best_case(table, index, moves, ranges)
            if known is not None:
                values = requirement.measure.values(known)
                keep[index] &= np.broadcast_to(values <= requirement.bound + slack, keep[index].shape)
    return (
        table if all(mask.all() for mask in keep) else _kept(table, [np.flatnonzero(mask) for mask in keep])
    )


def _best_case(
    table: SystemTable, index: int, moves: Directions, ranges: Mapping[Symbol, Range]
) -> dict[Symbol, Floats] | None:
    """The pool's own features as arrays, those of the others at the helpful end; None where unknown."""
    own = table.pools[index].features
    known = {
        symbol: np.asarray(value, dtype=np.float64) for symbol, value in table.parameters.items()
    } | dict(own)
    for symbol, direction in moves.items():
        if symbol in own:
            continue
        if direction == EITHER:
            return None
        known[symbol] = np.asarray(ranges[symbol][0] if direction == UP else ranges[symbol][1])
    return known


def _pruned(table: SystemTable, program: Program) -> SystemTable:
    """Without dominated rows."""
    if not table.size:
        return table
    moves = _senses(table, program)
    keep = []
    for index, pool in enumerate(table.pools):
        barred = np.zeros(len(pool), dtype=np.bool_)
        barred[[rows[index] for rows in table.excluded]] = True
        own = {symbol: moves[symbol] for symbol in pool.features if symbol in moves}
        keep.append(undominated_rows(pool.features, own, barred))
    return _kept(table, keep)


def _senses(table: SystemTable, program: Program) -> Directions:
    """In which direction each feature makes things worse, over all objectives and requirements."""
    ranges = table.ranges()
    parts = [
        scaled(directions(table.expression(measure), ranges), objective.sign)
        for measure, objective in zip(table.objectives, program.objectives, strict=True)
    ]
    parts += [directions(table.expression(r.measure), ranges) for r in table.requirements]
    return merged(parts)
