"""The tree of a formula: numbers, names, and operations on them. Data only; it computes nothing.

`offset` is where a node starts in its text, in characters from 0, so that every later complaint has a place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

Operator: TypeAlias = Literal[
    "+",
    "-",
    "*",
    "/",
    "**",
    "min",
    "max",
    "ceil",
    "floor",
    "abs",
    "log",
    "exp",
    "sqrt",
    "if",
    "<",
    "<=",
    ">",
    ">=",
]
"""`-` of one operand is negation; `if` takes a condition, the value where it holds, and the other value."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A finite number."""

    value: float
    offset: int


@dataclass(frozen=True, slots=True)
class Reference:
    """The value that a name stands for."""

    name: str
    offset: int


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator on one or more operands."""

    operator: Operator
    operands: tuple[Formula, ...]
    offset: int


Formula: TypeAlias = Constant | Reference | Operation


def references(formula: Formula) -> Iterator[Reference]:
    """Every name that the formula reads, in the order of the text; a name may come twice."""
    if isinstance(formula, Reference):
        yield formula
    elif isinstance(formula, Operation):
        for operand in formula.operands:
            yield from references(operand)
