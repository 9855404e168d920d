"""A trace replayed: its rows, whatever their format, as a `Workload`."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..schema.traffic import TraceArrivals
from ..traces.formats import open_trace
from ..traces.rows import Place, Row, Stream
from .requests import Requests, Workload


def read_trace(arrivals: TraceArrivals) -> Requests:
    """The requests of `replay`."""
    return replay(arrivals).workload.requests


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """A trace as a workload, and how much of it is the trace's own word."""

    workload: Workload
    timed: bool
    """Whether the arrival times are recorded ones."""
    estimated: bool
    """Whether token counts are estimated from text."""
    class_names: tuple[str, ...] = ()


def replay(arrivals: TraceArrivals, rng: np.random.Generator | None = None) -> Replay:
    """The requests after the first `skip`, at most `limit`, with gaps divided by `speedup`.

    Reads no further than it must. Times start at 0 and block ids are renumbered densely by first appearance,
    except in the project's own format, where both are kept. Times that a trace does not record are drawn from
    `rng` (by default a fixed one) or left to a closed loop, as the problem says. ProblemError, placed in the
    trace, when a line is broken, nothing is left or arrival times decrease.
    """
    stream = open_trace(arrivals)
    _check_timing(stream, arrivals)
    stop = None if arrivals.limit is None else arrivals.skip + arrivals.limit
    columns = _Columns()
    for row in _sorted(islice(stream.rows, arrivals.skip, stop), arrivals.file):
        _append(columns, row, renumber=not stream.original)
    if not columns.arrival_s:
        what = f"no request is left after skipping {arrivals.skip}" if arrivals.skip else "the trace is empty"
        raise Place(arrivals.file, 1).error(what, "trace-empty", "check the file, skip and limit")
    times = _times(np.array(columns.arrival_s), stream, arrivals, rng or np.random.default_rng(0))
    workload = _workload(columns, times, stream, arrivals)
    return Replay(workload, stream.timed, stream.estimated, stream.class_names)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Rows so far, column by column, and the dense number of each block id met."""

    arrival_s: array[float] = field(default_factory=lambda: array("d"))
    input_tokens: array[int] = field(default_factory=lambda: array("q"))
    output_tokens: array[int] = field(default_factory=lambda: array("q"))
    block_offsets: array[int] = field(default_factory=lambda: array("q", [0]))
    block_ids: array[int] = field(default_factory=lambda: array("q"))
    class_ids: array[int] = field(default_factory=lambda: array("q"))
    think_s: array[float] = field(default_factory=lambda: array("d"))
    follows: array[int] = field(default_factory=lambda: array("q"))
    dense: dict[int, int] = field(default_factory=dict)


def _append(columns: _Columns, row: Row, *, renumber: bool) -> None:
    columns.arrival_s.append(row.arrival_s)
    columns.input_tokens.append(row.input_tokens)
    columns.output_tokens.append(row.output_tokens)
    columns.class_ids.append(row.class_id)
    columns.think_s.append(row.think_s)
    columns.follows.append(row.follows)
    if renumber:
        columns.block_ids.extend(columns.dense.setdefault(block, len(columns.dense)) for block in row.blocks)
    else:
        columns.block_ids.extend(row.blocks)
    columns.block_offsets.append(len(columns.block_ids))


def _workload(
    columns: _Columns, times: NDArray[np.float64], stream: Stream, arrivals: TraceArrivals
) -> Workload:
    # A request whose predecessor was skipped waits for nobody.
    follows = np.maximum(np.array(columns.follows, np.int64) - arrivals.skip, -1)
    requests = Requests(
        times,
        np.array(columns.input_tokens, np.int64),
        np.array(columns.output_tokens, np.int64),
        np.array(columns.block_offsets, np.int64),
        np.array(columns.block_ids, np.int64),
        stream.block_tokens,
        np.array(columns.class_ids, np.int64) if "class" in stream.columns else None,
    )
    return Workload(
        requests,
        stream.concurrency or arrivals.concurrency,
        np.array(columns.think_s) if "think_s" in stream.columns else None,
        follows if "follows" in stream.columns else None,
    )


def _times(
    recorded: NDArray[np.float64], stream: Stream, arrivals: TraceArrivals, rng: np.random.Generator
) -> NDArray[np.float64]:
    if arrivals.rate_per_s is not None:
        return np.cumsum(rng.exponential(1 / arrivals.rate_per_s, len(recorded))) / arrivals.speedup
    origin = 0.0 if stream.original and arrivals.skip == 0 else recorded[0]
    return np.asarray((recorded - origin) / arrivals.speedup, np.float64)


def _check_timing(stream: Stream, arrivals: TraceArrivals) -> None:
    """ProblemError for a trace without times and no word on them, or with two."""
    given = arrivals.rate_per_s is not None or arrivals.concurrency is not None
    if stream.timed and given:
        what, remedy = "the trace records when requests arrive", "remove rate and concurrency"
        raise Place(arrivals.file, 1).error(what, "trace-timing", remedy)
    if not stream.timed and not given:
        what, remedy = "the trace records no times", "add rate or concurrency to the arrivals"
        raise Place(arrivals.file, 1).error(what, "trace-timing", remedy)


def _sorted(rows: Iterable[Row], file: Path) -> Iterator[Row]:
    last_s = -math.inf
    for row in rows:
        if row.arrival_s < last_s:
            what = f"it arrives {last_s - row.arrival_s:g} s before the request above"
            raise Place(file, row.line).error(what, "trace-unsorted", "sort the trace by time")
        last_s = row.arrival_s
        yield row
