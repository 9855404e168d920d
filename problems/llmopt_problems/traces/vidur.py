"""Vidur traces: CSV of arrival seconds, prefill and decode tokens.

Format: github.com/microsoft/vidur, trace replay request generator, header
`arrived_at,num_prefill_tokens,num_decode_tokens`; further columns are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .rows import Row
from .table import table

COLUMNS = ("arrived_at", "num_prefill_tokens", "num_decode_tokens")


def rows(file: Path) -> Iterator[Row]:
    """The requests of `file`, one a line after the header."""
    for line, (time, inputs, outputs) in table(file, COLUMNS):
        yield Row(line, time.seconds(), inputs.tokens(), outputs.tokens())
