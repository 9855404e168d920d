"""JSON in traces: values read one after the other from a file of any size, with the place of each fault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from .rows import Place, chunks

MAX_VALUE = 2**28
"""Longest single JSON value, in characters."""

_CHUNK = 2**16
_SPACE = " \t\r\n"


def parse_line(text: str, place: Place, remedy: str) -> dict[str, object]:
    """The JSON object that a line of a trace holds; ProblemError else."""
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        there = Place(place.file, place.line, error.colno)
        raise there.error(f"broken JSON: {error.msg}", "trace-json", remedy) from None
    except (ValueError, RecursionError):  # numbers of thousands of digits, brackets without end
        raise place.error("broken JSON", "trace-json", remedy) from None
    if not isinstance(record, dict):
        raise place.error("the line is no JSON object", "trace-json", remedy)
    return record


def values(file: Path, remedy: str) -> Iterator[tuple[Place, object]]:
    """Place and value of the elements of a JSON list, or of JSON values that stand one after the other.

    Holds one value at a time. ProblemError where the text is no JSON.
    """
    text = _Text(file, chunks(file, _CHUNK))
    if text.accept("["):
        while not text.accept("]"):
            yield text.place(), text.value(remedy)
            if not text.accept(",") and not text.accept("]", consume=False):
                raise text.place().error("broken JSON: , or ] is missing", "trace-json", remedy)
    else:
        while text.more():
            yield text.place(), text.value(remedy)


class _Text:
    """The unread part of a file, filled up as needed, and where in the file it starts."""

    def __init__(self, file: Path, parts: Iterator[str]) -> None:
        self._file, self._parts = file, parts
        self._buffer, self._line, self._column = "", 1, 1

    def place(self) -> Place:
        """Where the next value starts."""
        self.more()
        return Place(self._file, self._line, self._column)

    def more(self) -> bool:
        """Whether anything but space is left; skips the space."""
        while True:
            rest = self._buffer.lstrip(_SPACE)
            self._advance(len(self._buffer) - len(rest))
            if rest or not self._fill(1):
                return bool(rest)

    def accept(self, mark: str, *, consume: bool = True) -> bool:
        """Whether the next character is `mark`, which is then passed."""
        found = self.more() and self._buffer[0] == mark
        if found and consume:
            self._advance(1)
        return found

    def value(self, remedy: str) -> object:
        """The next JSON value."""
        decoder, wanted = json.JSONDecoder(), 1
        while True:
            try:
                found, stop = decoder.raw_decode(self._buffer)
            except json.JSONDecodeError as error:
                # It may be cut off: read as much again, so that long values take linear time.
                if len(self._buffer) > MAX_VALUE or not self._fill(wanted):
                    self._advance(error.pos)
                    what = f"broken JSON: {error.msg}"
                    raise Place(self._file, self._line, self._column).error(
                        what, "trace-json", remedy
                    ) from None
                wanted = 2 * len(self._buffer) // _CHUNK
            except (ValueError, RecursionError):
                raise self.place().error("broken JSON", "trace-json", remedy) from None
            else:
                self._advance(stop)
                return found

    def _fill(self, parts: int) -> bool:
        read = [part for _, part in zip(range(max(parts, 1)), self._parts, strict=False)]
        self._buffer += "".join(read)
        return bool(read)

    def _advance(self, count: int) -> None:
        passed, self._buffer = self._buffer[:count], self._buffer[count:]
        breaks = passed.count("\n")
        self._line += breaks
        self._column = len(passed) - passed.rfind("\n") if breaks else self._column + len(passed)
