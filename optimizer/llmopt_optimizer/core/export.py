"""The column model of a program as a file that other solvers read: LP, MPS, NL or CIP.

The file minimises `scale * metric` of the program's first objective over the pruned columns. `Exported` keeps
the scale and what each row variable stands for, so that another solver's answer can be read. Files are
written beside their target and renamed, so that a file is whole or not there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pyomo.environ as pyo
from pyscipopt import Model

from .preparation import CompiledProgram
from .program import Assignment, Choice, Program
from .selection import SelectionModel, build_selection
from .solving import open_space

LABELS = {"symbolic_solver_labels": True}
Meaning: TypeAlias = tuple[str, str, str, tuple[tuple[str, float], ...]]
"""System, pool, variant, and the decisions that a row variable stands for."""


class ExportError(Exception):
    """Nothing to write, or no such format: what, and what to do."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A written model."""

    path: Path
    scale: float
    """The file's objective over the metric, its sign included."""
    rows: Mapping[str, Meaning]
    """By name of a binary variable, what it stands for when it is 1; other variables are auxiliary."""


def export_program(program: Program, path: Path, compiled: CompiledProgram | None = None) -> Exported:
    """Write the column model of the program's first objective; the suffix of `path` says the format.

    Raises `ExportError` for another suffix and for programs without a feasible row, `NotTranslatable` for
    metrics that only enumeration takes, and `OSError`.
    """
    writer = WRITERS.get(path.suffix.removeprefix("."))
    if writer is None:
        raise ExportError(f"no format is called {path.suffix!r}; end in {', '.join(WRITERS)}")
    program = program.with_objectives(program.objectives[0])
    selection = build_selection(program, open_space(program, compiled).tables)
    if selection is None:
        raise ExportError("the program has no feasible row, so there is no model to write")
    _written_whole(selection.model, path, writer)
    return Exported(path, program.objectives[0].sign * selection.scales[0], _meanings(selection))


def _written_whole(model: pyo.ConcreteModel, path: Path, write: Callable[[Any, Path], None]) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        staged = Path(folder) / path.name
        write(model, staged)
        staged.replace(path)


def _with_labels(model: pyo.ConcreteModel, path: Path) -> None:
    model.write(str(path), io_options=LABELS)


def _nl(model: pyo.ConcreteModel, path: Path) -> None:
    model.write(str(path), format="nl")


def _cip(model: pyo.ConcreteModel, path: Path) -> None:
    """SCIP's own format, by way of a file that it reads."""
    source = path.with_suffix(".mps")
    _with_labels(model, source)
    scip = Model()
    scip.hideOutput()
    scip.readProblem(str(source))
    scip.writeProblem(str(path), verbose=False)


WRITERS: dict[str, Callable[[Any, Path], None]] = {
    "lp": _with_labels,
    "mps": _with_labels,
    "nl": _nl,
    "cip": _cip,
}


def _meanings(selection: SelectionModel) -> dict[str, Meaning]:
    found: dict[str, Meaning] = {}
    for table, factors in zip(selection.tables, selection.factors, strict=True):
        for pool, factor in zip(table.pools, factors, strict=True):
            for row, variable in enumerate(factor.hot):
                choice = pool.columns.choice(int(pool.rows[row]))
                label = variable.name.replace("[", "(").replace("]", ")")
                found[label] = (table.compiled.system.name, choice.pool, choice.variant, choice.values)
    return found


def assignment_of(exported: Exported, chosen: Mapping[str, float]) -> Assignment:
    """The assignment that another solver chose: names of variables to their values."""
    picked = [meaning for name, meaning in exported.rows.items() if chosen.get(name, 0.0) > 0.5]
    choices = tuple(Choice(pool, variant, values) for _, pool, variant, values in picked)
    return Assignment(picked[0][0], choices)
