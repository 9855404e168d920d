"""A trace replayed: its rows, whatever their format, as `Requests`."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from ..schema.traffic import TraceArrivals, TraceFormat
from ..traces import azure, mooncake
from ..traces.rows import Place, Row
from .requests import Requests

READERS: Mapping[TraceFormat, tuple[Callable[[Path], Iterator[Row]], int]] = {
    "mooncake": (mooncake.rows, mooncake.BLOCK_TOKENS),
    "azure": (azure.rows, azure.BLOCK_TOKENS),
}
"""Format to its reader and the tokens of its blocks."""


def read_trace(arrivals: TraceArrivals) -> Requests:
    """The requests after the first `skip`, at most `limit`, from time 0, with gaps divided by `speedup`.

    Reads no further than it must. Block ids are renumbered densely by first appearance. ProblemError, placed
    in the trace, when a line is broken, nothing is left or arrival times decrease.
    """
    read, block_tokens = READERS[arrivals.format]
    stop = None if arrivals.limit is None else arrivals.skip + arrivals.limit
    columns = _Columns()
    for row in _sorted(islice(read(arrivals.file), arrivals.skip, stop), arrivals.file):
        _append(columns, row)
    if not columns.arrival_s:
        what = f"no request is left after skipping {arrivals.skip}" if arrivals.skip else "the trace is empty"
        raise Place(arrivals.file, 1).error(what, "trace-empty", "check the file, skip and limit")
    arrival_s = np.array(columns.arrival_s)
    return Requests(
        (arrival_s - arrival_s[0]) / arrivals.speedup,
        np.array(columns.input_tokens, np.int64),
        np.array(columns.output_tokens, np.int64),
        np.array(columns.block_offsets, np.int64),
        np.array(columns.block_ids, np.int64),
        block_tokens,
    )


@dataclass(frozen=True, slots=True)
class _Columns:
    """Rows so far, column by column, and the dense number of each block id met."""

    arrival_s: array[float] = field(default_factory=lambda: array("d"))
    input_tokens: array[int] = field(default_factory=lambda: array("q"))
    output_tokens: array[int] = field(default_factory=lambda: array("q"))
    block_offsets: array[int] = field(default_factory=lambda: array("q", [0]))
    block_ids: array[int] = field(default_factory=lambda: array("q"))
    dense: dict[int, int] = field(default_factory=dict)


def _append(columns: _Columns, row: Row) -> None:
    columns.arrival_s.append(row.arrival_s)
    columns.input_tokens.append(row.input_tokens)
    columns.output_tokens.append(row.output_tokens)
    columns.block_ids.extend(columns.dense.setdefault(block, len(columns.dense)) for block in row.blocks)
    columns.block_offsets.append(len(columns.block_ids))


def _sorted(rows: Iterable[Row], file: Path) -> Iterator[Row]:
    last_s = -math.inf
    for row in rows:
        if row.arrival_s < last_s:
            what = f"it arrives {last_s - row.arrival_s:g} s before the request above"
            raise Place(file, row.line).error(what, "trace-unsorted", "sort the trace by time")
        last_s = row.arrival_s
        yield row
