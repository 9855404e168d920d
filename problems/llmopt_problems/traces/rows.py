"""Trace rows: what every format is read into, one line at a time, and the errors that point into a trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import Fault, ProblemError
from ..schema.fields import MAX_TOKENS

MAX_LINE = 2**20
"""Longest line of a trace, in characters."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request of a trace, with the line that it stands on."""

    line: int
    arrival_s: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()
    """The trace's own ids of the full blocks at the head of the input."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a trace something stands; makes the errors that point there."""

    file: Path
    line: int
    column: int = 1

    def error(self, what: str, rule: str, remedy: str, value: object = None) -> ProblemError:
        """A ProblemError for this place."""
        return ProblemError(Fault(what, rule, remedy, value, "", str(self.file), self.line, self.column))


def lines(file: Path) -> Iterator[tuple[int, str]]:
    """Number and text of every line that is not blank, one at a time; ProblemError when unreadable."""
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as stream:
            number = 0
            while text := stream.readline(MAX_LINE):
                number += 1
                if len(text) == MAX_LINE:
                    raise Place(file, number).error("the line is too long", "trace-line", "check the format")
                if not text.isspace():
                    yield number, text
    except OSError as error:
        what = f"cannot read it: {error.strerror}"
        raise Place(file, 1).error(what, "file-readable", "check the path") from None


def check_tokens(value: object, name: str, place: Place) -> int:
    """`value` as a token count from 1 to MAX_TOKENS; ProblemError else."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise place.error(f"{name} is no whole number", "trace-number", "write a number of tokens", value)
    if not 1 <= value <= MAX_TOKENS:
        remedy = f"use 1 to {MAX_TOKENS} tokens, or remove the request"
        raise place.error(f"{name} is out of range", "trace-range", remedy, value)
    return value
