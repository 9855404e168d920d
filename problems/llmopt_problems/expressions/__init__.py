"""Formulas that users write: text to a small tree, its names, its order of definition, and its range."""

from .definitions import Definition, checked_definitions
from .parsing import FormulaError, parse
from .tree import Constant, Formula, Operation, Reference

__all__ = [
    "Constant",
    "Definition",
    "Formula",
    "FormulaError",
    "Operation",
    "Reference",
    "checked_definitions",
    "parse",
]
