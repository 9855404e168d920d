"""Several formulas that may read each other: names looked up, cycles refused, ranges worked out in order."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from .intervals import Interval, range_of
from .parsing import FormulaError
from .tree import Formula, references


@dataclass(frozen=True, slots=True)
class Definition:
    """A name with its formula, and the range that the formula's value lies in."""

    name: str
    formula: Formula
    range: Interval


class DefinitionError(ValueError):
    """A fault of one definition: whose, and what is wrong."""

    def __init__(self, name: str, error: FormulaError) -> None:
        super().__init__(error.what)
        self.name, self.error = name, error


def checked_definitions(
    formulas: Mapping[str, Formula], known: Mapping[str, Interval]
) -> tuple[Definition, ...]:
    """The definitions in an order in which each reads only earlier ones and `known` names.

    Raises `DefinitionError` for an unknown name, a cycle, and everything that `range_of` refuses.
    """
    for name, formula in formulas.items():
        _check_names(name, formula, {*formulas, *known})
    ranges, ordered = dict(known), []
    for name in _order(formulas):
        try:
            ranges[name] = range_of(formulas[name], ranges)
        except FormulaError as error:
            raise DefinitionError(name, error) from None
        ordered.append(Definition(name, formulas[name], ranges[name]))
    return tuple(ordered)


def _check_names(owner: str, formula: Formula, names: Collection[str]) -> None:
    for reference in references(formula):
        if reference.name not in names:
            close = difflib.get_close_matches(reference.name, sorted(names), n=3)
            remedy = f"did you mean {' or '.join(close)}?" if close else "see `metrics` in the documentation"
            error = FormulaError(
                f"nothing is called {reference.name}", "formula-name", remedy, reference.offset
            )
            raise DefinitionError(owner, error)


def _order(formulas: Mapping[str, Formula]) -> list[str]:
    """Depth first; a name that is met again on its own path is a cycle."""
    done: dict[str, None] = {}
    for name in formulas:
        _visit(name, formulas, [], done)
    return list(done)


def _visit(name: str, formulas: Mapping[str, Formula], path: list[str], done: dict[str, None]) -> None:
    if name in done:
        return
    for reference in references(formulas[name]):
        if reference.name in (*path, name):
            cycle = " -> ".join([*path, name, reference.name])
            what = f"it is defined by itself: {cycle}"
            raise DefinitionError(
                name, FormulaError(what, "formula-cycle", "break the cycle", reference.offset)
            )
        if reference.name in formulas:
            _visit(reference.name, formulas, [*path, name], done)
    done[name] = None
