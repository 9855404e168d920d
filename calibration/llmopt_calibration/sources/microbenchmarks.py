"""Microbenchmarks of one's own as CSV: one row a measured operator, the layout that `llmopt profile` writes.

Columns: `family`, the law that the row is for (`gemm_bf16`, `attention_decode_bf16`, `elementwise`, …); the
shape symbols of that law by name (`tokens`, `output_width`, `message_bytes`, …), cells of other families
empty; the time in exactly one of `time_s`, `time_ms`, `time_us`, `time_ns`. Optional: `device`, `tool`,
`tool_version`, `measured_on` (ISO date), `timer` (what clock timed it) and `sm_clock_mhz`. Other columns are
notes and are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from llmopt_calibration.laws import Law, laws
from llmopt_calibration.sources.errors import SourceError
from llmopt_calibration.sources.measurements import Measurements, Provenance, clean, sha256_of

TIME_UNITS = {"time_s": 1.0, "time_ms": 1e-3, "time_us": 1e-6, "time_ns": 1e-9}
CLOCK_TOLERANCE = 0.10
"""Largest departure of a row's SM clock from its family's median: times scale with the clock."""
UNITLESS_TIMES = ("time", "latency", "duration", "seconds", "elapsed")


def is_microbenchmark(columns: list[str]) -> bool:
    """Whether a table with these columns is one of this kind."""
    return "family" in columns


def read_microbenchmarks(path: Path) -> tuple[Measurements, ...]:
    """The measurements of every family in the CSV file `path`.

    Raises `SourceError` for a missing or unitless time, a family without its shape columns, several clocks
    or devices in one family, and when no family of the file is known.
    """
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    unit = _time_column(path, list(frame.columns))
    known = frame["family"].isin(laws().keys())
    if not known.any():
        names = ", ".join(sorted(set(frame["family"]))) or "none"
        raise SourceError(
            path, f"no row is of a known family ({names})", f"known: {', '.join(sorted(laws()))}"
        )
    unread = {"unknown family": int((~known).sum())}
    found = tuple(_families(path, frame[known], unit))
    return (replace(found[0], dropped=dict(found[0].dropped) | unread), *found[1:])


def _families(path: Path, frame: pd.DataFrame, unit: str) -> Iterator[Measurements]:
    digest = sha256_of(path)
    for family, rows in frame.groupby("family", sort=True):
        yield _family(path, laws()[str(family)], rows, unit, digest)


def _family(path: Path, law: Law, rows: pd.DataFrame, unit: str, digest: str) -> Measurements:
    names = [symbol.name for symbol in law.shape]
    missing = [name for name in names if name not in rows.columns]
    if missing:
        raise SourceError(
            path, f"{law.family} needs the columns {', '.join(missing)}", "add them to the table"
        )
    same_clock = _same_clock(path, law.family, rows)
    kept = rows[same_clock]
    numbers = kept[[*names, unit]].apply(pd.to_numeric, errors="coerce")
    shapes = numbers[names].assign(seconds=numbers[unit] * TIME_UNITS[unit])
    data = clean(law.family, shapes, {}, _provenance(path, law.family, rows, digest))
    off = {"clock off the median": int((~same_clock).sum())}
    return replace(data, dropped=dict(data.dropped) | off)


def _time_column(path: Path, columns: list[str]) -> str:
    given = [name for name in TIME_UNITS if name in columns]
    if len(given) == 1:
        return given[0]
    remedy = f"name one column {', '.join(TIME_UNITS)}"
    if given:
        raise SourceError(path, f"times stand in {' and '.join(given)}", f"keep one of them: {remedy}")
    bare = [name for name in UNITLESS_TIMES if name in columns]
    what = f"the time column {bare[0]!r} has no unit" if bare else "there is no time column"
    raise SourceError(path, what, remedy)


def _same_clock(path: Path, family: str, rows: pd.DataFrame) -> pd.Series[bool]:
    """Rows timed at the family's usual SM clock; `SourceError` where timers are mixed."""
    timers = _distinct(rows, "timer")
    if len(timers) > 1:
        raise SourceError(
            path, f"mixed clocks: {family} was timed by {' and '.join(timers)}", "keep the rows of one timer"
        )
    if "sm_clock_mhz" not in rows.columns:
        return pd.Series(True, index=rows.index)
    clocks = pd.to_numeric(rows["sm_clock_mhz"], errors="coerce")
    if clocks.isna().all():
        return pd.Series(True, index=rows.index)
    return ~((clocks / float(np.nanmedian(clocks)) - 1).abs() > CLOCK_TOLERANCE)


def _provenance(path: Path, family: str, rows: pd.DataFrame, digest: str) -> Provenance:
    devices = _distinct(rows, "device")
    if len(devices) > 1:
        raise SourceError(
            path, f"{family} was measured on {' and '.join(devices)}", "write a file for each device"
        )
    facts: Mapping[str, str] = {
        name: " and ".join(_distinct(rows, name)) for name in ("tool", "tool_version", "device")
    }
    latest = max(_distinct(rows, "measured_on"), default="")
    return Provenance(
        facts["tool"] or "microbenchmark",
        facts["tool_version"],
        path.name,
        digest,
        measured_on=latest,
        device=facts["device"],
    )


def _distinct(rows: pd.DataFrame, column: str) -> list[str]:
    """The values of a column that are not empty, sorted; none where there is no such column."""
    return sorted(set(rows[column]) - {""}) if column in rows.columns else []
