"""BurstGPT traces: CSV of arrival second, model, prompt and answer lengths.

Format: github.com/HPMLL/BurstGPT, header `Timestamp,Model,Request tokens,Response tokens,…`; further columns
are passed over. Requests that failed have 0 response tokens; they are left out, as in the
publisher's own files "without fails".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .rows import Row
from .table import table

COLUMNS = ("Timestamp", "Request tokens", "Response tokens")


def rows(file: Path) -> Iterator[Row]:
    """The requests of `file` that were answered."""
    for line, (time, inputs, outputs) in table(file, COLUMNS):
        if outputs.text != "0":
            yield Row(line, time.seconds(), inputs.tokens(), outputs.tokens())
