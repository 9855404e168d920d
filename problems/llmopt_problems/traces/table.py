"""Traces that are tables: CSV with a header, of which a reader needs some columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .rows import Place, cell_places, check_seconds, lines, whole_tokens


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table, with its column's name and its place."""

    name: str
    text: str
    place: Place

    def tokens(self) -> int:
        """The cell as a token count; ProblemError else."""
        return whole_tokens(self.text, self.name, self.place)

    def seconds(self) -> float:
        """The cell as seconds, 0 or more; ProblemError else."""
        try:
            value: object = float(self.text)
        except ValueError:
            value = self.text
        return check_seconds(value, self.name, self.place)


def table(file: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[Cell]]]:
    """Line number and the cells of `columns`, for every line after the header; others are passed over."""
    numbered = lines(file)
    number, header = next(numbered, (1, ""))
    where = _columns(columns, header.strip().split(","), Place(file, number))
    for number, text in numbered:
        cells = text.rstrip("\r\n").split(",")
        place = Place(file, number)
        if len(cells) <= max(where):
            what = f"the line has {len(cells)} cells and needs {max(where) + 1}"
            raise place.error(what, "trace-column", "complete or remove the line", ",".join(cells))
        places = cell_places(cells, place)
        yield (
            number,
            [
                Cell(name, cells[i].strip().strip('"'), places[i])
                for name, i in zip(columns, where, strict=True)
            ],
        )


def _columns(columns: Sequence[str], header: Sequence[str], place: Place) -> tuple[int, ...]:
    """Index of each of `columns`."""
    names = [name.strip().strip('"') for name in header]
    for column in columns:
        if column not in names:
            remedy = f"start the file with the line {','.join(columns)}"
            raise place.error(f"column {column} is missing", "trace-column", remedy, ",".join(header))
    return tuple(names.index(column) for column in columns)
