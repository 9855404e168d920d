"""Measured times of one law family: shapes, seconds, where they came from, and what was thrown away.

A reader hands over a frame whose columns are the law's shape symbols plus `seconds`; `clean` keeps the rows
that can be true and lie in the range that serving uses, counts the rest by reason, and merges repeated
shapes by their median.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llmopt_calibration.sources.errors import SourceError

Ranges = Mapping[str, tuple[float, float]]
LONGEST_S = 10.0
"""No single operator of a step takes longer; a larger number is a wrong unit or a stalled machine."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The file that the numbers were read from."""

    package: str
    package_version: str
    table: str
    sha256: str
    subtracted_table: str = ""
    """A second table whose times were taken off those of the first; empty when none was."""
    measured_on: str = ""
    """ISO date of the measurement; empty when the file does not say."""
    device: str = ""
    """Accelerator as the file names it; empty when it does not."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """Shapes and times of one law family; `shape` has one float column a shape symbol."""

    family: str
    shape: pd.DataFrame
    seconds: NDArray[np.float64]
    provenance: Provenance
    dropped: Mapping[str, int]
    """Rows left out, by reason."""


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def clean(family: str, frame: pd.DataFrame, ranges: Ranges, provenance: Provenance) -> Measurements:
    """Rows of `frame` (shape columns and `seconds`) that are finite, positive and in `ranges`; medians of
    repeats.

    Raises `SourceError` when no row is left.
    """
    numbers = frame.astype(float)
    values = numbers.to_numpy()
    finite = np.isfinite(values).all(axis=1)
    positive = finite & (values > 0).all(axis=1)
    possible = positive & (numbers["seconds"].to_numpy() < LONGEST_S)
    inside = possible.copy()
    for name, (low, high) in ranges.items():
        inside &= numbers[name].between(low, high).to_numpy()
    dropped = {
        "not a number": int((~finite).sum()),
        "zero or negative": int((finite & ~positive).sum()),
        f"longer than {LONGEST_S:g} s": int((positive & ~possible).sum()),
        "outside the range": int((possible & ~inside).sum()),
    }
    kept = numbers[inside]
    if kept.empty:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)
        what = f"no row for {family} is left ({reasons}) inside {dict(ranges)}"
        raise SourceError(provenance.table, what, "check units and ranges")
    rows = _medians(kept)
    dropped["repeated shape"] = len(kept) - len(rows)
    shape_names = [name for name in frame.columns if name != "seconds"]
    return Measurements(family, rows[shape_names], rows["seconds"].to_numpy(float), provenance, dropped)


def _medians(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a shape, with the median of its times."""
    names = [name for name in rows.columns if name != "seconds"]
    return rows.groupby(names, sort=True)["seconds"].median().reset_index()


def without(data: Measurements, bad: NDArray[np.bool_], reason: str) -> Measurements:
    """`data` less the rows where `bad` holds, counted under `reason`; `SourceError` when none is left."""
    if not bad.any():
        return data
    if bad.all():
        raise SourceError(
            data.provenance.table, f"every row of {data.family} is {reason}", "check units and accelerator"
        )
    dropped = Counter(data.dropped) + Counter({reason: int(bad.sum())})
    kept = data.shape[~bad].reset_index(drop=True)
    return replace(data, shape=kept, seconds=data.seconds[~bad], dropped=dict(dropped))


def merged(parts: Sequence[Measurements]) -> Measurements:
    """Measurements of one family from several files as one; a shape measured by several keeps the median."""
    if len(parts) == 1:
        return parts[0]
    family, columns = parts[0].family, list(parts[0].shape.columns)
    frames = [part.shape[columns].assign(seconds=part.seconds) for part in parts]
    rows = pd.concat(frames, ignore_index=True)
    kept = _medians(rows)
    dropped: Counter[str] = Counter({"repeated shape": len(rows) - len(kept)})
    for part in parts:
        dropped.update(part.dropped)
    provenance = _joined([part.provenance for part in parts])
    return Measurements(family, kept[columns], kept["seconds"].to_numpy(float), provenance, dict(dropped))


def _joined(provenances: Sequence[Provenance]) -> Provenance:
    """All files of a family: names joined, the hash that of the files' hashes in order."""

    def all_of(field: str) -> str:
        return " + ".join(dict.fromkeys(filter(None, (getattr(item, field) for item in provenances))))

    digests = "".join(item.sha256 for item in provenances)
    return Provenance(
        package=all_of("package"),
        package_version=all_of("package_version"),
        table=all_of("table"),
        sha256=hashlib.sha256(digests.encode()).hexdigest(),
        subtracted_table=all_of("subtracted_table"),
        measured_on=all_of("measured_on"),
        device=all_of("device"),
    )
