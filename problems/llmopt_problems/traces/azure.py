"""Azure traces: CSV of arrival time, prompt and answer lengths, without any record of shared prefixes.

Format: github.com/Azure/AzurePublicDataset, AzureLLMInferenceTrace 2023 and 2024, with the header
`TIMESTAMP,ContextTokens,GeneratedTokens`; further columns are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from .rows import Place, Row, check_tokens, lines

BLOCK_TOKENS = 16
"""The trace names no blocks; this is the page that caches fall back on."""

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def rows(file: Path) -> Iterator[Row]:
    """The requests of `file`, one a line after the header."""
    numbered = lines(file)
    number, header = next(numbered, (1, ""))
    where = _columns(header.strip().split(","), Place(file, number))
    for number, text in numbered:
        yield _row(text.rstrip("\r\n").split(","), where, Place(file, number))


def _columns(header: Sequence[str], place: Place) -> tuple[int, ...]:
    """Index of each of `COLUMNS`."""
    names = [name.strip().strip('"') for name in header]
    for column in COLUMNS:
        if column not in names:
            remedy = f"start the file with the line {','.join(COLUMNS)}"
            raise place.error(f"column {column} is missing", "trace-column", remedy, ",".join(header))
    return tuple(names.index(column) for column in COLUMNS)


def _row(cells: Sequence[str], where: tuple[int, ...], place: Place) -> Row:
    if len(cells) <= max(where):
        what = f"the line has {len(cells)} cells and needs {max(where) + 1}"
        raise place.error(what, "trace-column", "complete or remove the line", ",".join(cells))
    time, inputs, outputs = ((cells[i], _place(cells, i, place)) for i in where)
    return Row(place.line, _seconds(*time), _tokens(*inputs, COLUMNS[1]), _tokens(*outputs, COLUMNS[2]))


def _place(cells: Sequence[str], index: int, place: Place) -> Place:
    return Place(place.file, place.line, sum(len(cell) + 1 for cell in cells[:index]) + 1)


def _seconds(cell: str, place: Place) -> float:
    """Seconds since 1970 of an ISO time; digits beyond microseconds are dropped."""
    try:
        moment = datetime.fromisoformat(cell.strip().strip('"'))
    except ValueError:
        remedy = "write 2023-11-16 18:15:46.680590"
        raise place.error("TIMESTAMP is no time", "trace-time", remedy, cell) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _tokens(cell: str, place: Place, name: str) -> int:
    try:
        value = int(cell)
    except ValueError:
        raise place.error(f"{name} is no whole number", "trace-number", "write tokens", cell) from None
    return check_tokens(value, name, place)
