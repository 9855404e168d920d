"""Trace rows: what every format is read into, one at a time, and the errors that point into a trace."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ..errors import Fault, ProblemError
from ..schema.fields import MAX_TOKENS

MAX_LINE = 2**20
"""Longest line of a trace, in characters."""

PAGE_TOKENS = 16
"""Block of traces that name no blocks: the page that caches fall back on."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request of a trace, with the line that it stands on."""

    line: int
    arrival_s: float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()
    """The trace's own ids of the full blocks at the head of the input."""
    class_id: int = 0
    think_s: float = 0.0
    follows: int = -1


@dataclass(frozen=True, slots=True)
class Stream:
    """A trace being read: its rows, one at a time, and what holds for all of them."""

    rows: Iterator[Row]
    block_tokens: int = PAGE_TOKENS
    timed: bool = True
    """Whether the trace records when requests arrive."""
    estimated: bool = False
    """Whether token counts are estimated from text."""
    original: bool = False
    """Whether times and block ids are kept as they stand; else they start at 0 and are renumbered."""
    concurrency: int | None = None
    class_names: tuple[str, ...] = ()
    columns: frozenset[str] = field(default_factory=frozenset)
    """Which of class, think_s and follows the rows carry."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a trace something stands; makes the errors that point there."""

    file: Path
    line: int
    column: int = 1

    def error(self, what: str, rule: str, remedy: str, value: object = None) -> ProblemError:
        """A ProblemError for this place."""
        return ProblemError(Fault(what, rule, remedy, value, "", str(self.file), self.line, self.column))


def open_text(file: Path) -> IO[str]:
    """The text of a file, unpacked when its name ends in .gz; a character that is no UTF-8 becomes �."""
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8-sig", errors="replace")
    return file.open(encoding="utf-8-sig", errors="replace")


def chunks(file: Path, size: int) -> Iterator[str]:
    """The text of a file in parts of at most `size` characters; ProblemError when unreadable."""
    return _guarded(file, lambda stream: stream.read(size))


def lines(file: Path, longest: int = MAX_LINE) -> Iterator[tuple[int, str]]:
    """Number and text of every line that is not blank, one at a time; ProblemError when unreadable."""
    for number, text in enumerate(_guarded(file, lambda stream: stream.readline(longest)), 1):
        if len(text) == longest:
            raise Place(file, number).error("the line is too long", "trace-line", "check the format")
        if not text.isspace():
            yield number, text


def _guarded(file: Path, read: Callable[[IO[str]], str]) -> Iterator[str]:
    try:
        with open_text(file) as stream:
            while text := read(stream):
                yield text
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        what = f"cannot unpack it: {error}"
        raise Place(file, 1).error(what, "file-readable", "pack it again with gzip") from None
    except OSError as error:
        what = f"cannot read it: {error.strerror}"
        raise Place(file, 1).error(what, "file-readable", "check the path") from None


def cell_places(cells: Sequence[str], start: Place) -> tuple[Place, ...]:
    """The place of every cell of a line that was split at single characters."""
    columns = [start.column]
    for cell in cells:
        columns.append(columns[-1] + len(cell) + 1)
    return tuple(Place(start.file, start.line, column) for column in columns[:-1])


def check_tokens(value: object, name: str, place: Place) -> int:
    """`value` as a token count from 1 to MAX_TOKENS; ProblemError else."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise place.error(f"{name} is no whole number", "trace-number", "write a number of tokens", value)
    if not 1 <= value <= MAX_TOKENS:
        remedy = f"use 1 to {MAX_TOKENS} tokens, or remove the request"
        raise place.error(f"{name} is out of range", "trace-range", remedy, value)
    return value


def whole_tokens(cell: str, name: str, place: Place) -> int:
    """A cell of text as a token count; ProblemError else."""
    try:
        value = int(cell)
    except ValueError:
        raise place.error(f"{name} is no whole number", "trace-number", "write tokens", cell) from None
    return check_tokens(value, name, place)


def check_seconds(value: object, name: str, place: Place, most: float = 1e12) -> float:
    """`value` as seconds from 0 to `most`; ProblemError else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most:
        return float(value)
    raise place.error(f"{name} is no time", "trace-time", "write seconds, 0 or more", value)
