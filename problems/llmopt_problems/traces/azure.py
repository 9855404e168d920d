"""Azure traces: CSV of arrival time, prompt and answer lengths, without any record of shared prefixes.

Format: github.com/Azure/AzurePublicDataset, AzureLLMInferenceTrace 2023 and 2024, with the header
`TIMESTAMP,ContextTokens,GeneratedTokens`; further columns are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from .rows import Row
from .table import Cell, table

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def rows(file: Path) -> Iterator[Row]:
    """The requests of `file`, one a line after the header."""
    for line, (time, inputs, outputs) in table(file, COLUMNS):
        yield Row(line, _seconds(time), inputs.tokens(), outputs.tokens())


def _seconds(cell: Cell) -> float:
    """Seconds since 1970 of an ISO time; digits beyond microseconds are dropped."""
    try:
        moment = datetime.fromisoformat(cell.text)
    except ValueError:
        remedy = "write 2023-11-16 18:15:46.680590"
        raise cell.place.error("TIMESTAMP is no time", "trace-time", remedy, cell.text) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
