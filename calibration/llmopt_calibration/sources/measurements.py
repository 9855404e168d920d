"""Measured times of one law family: shapes, seconds, where they came from, and what was thrown away.

A reader hands over a frame whose columns are the law's shape symbols plus `seconds`; `clean` keeps the rows
that can be true and lie in the range that serving uses, counts the rest by reason, and merges repeated
shapes by their median.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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

    Raises `ValueError` when no row is left.
    """
    numbers = frame.astype(float)
    values = numbers.to_numpy()
    finite = np.isfinite(values).all(axis=1)
    positive = finite & (values > 0).all(axis=1)
    possible = positive & (numbers["seconds"].to_numpy() < LONGEST_S)
    inside = possible.copy()
    for name, (low, high) in ranges.items():
        inside &= numbers[name].between(low, high).to_numpy()
    kept = numbers[inside]
    if kept.empty:
        raise ValueError(
            f"{provenance.table}: no row for {family} inside {dict(ranges)}; check units and ranges"
        )
    shape_names = [name for name in frame.columns if name != "seconds"]
    merged = kept.groupby(shape_names, sort=True)["seconds"].median().reset_index()
    dropped = {
        "not a number": int((~finite).sum()),
        "zero or negative": int((finite & ~positive).sum()),
        f"longer than {LONGEST_S:g} s": int((positive & ~possible).sum()),
        "outside the range": int((possible & ~inside).sum()),
        "repeated shape": len(kept) - len(merged),
    }
    return Measurements(family, merged[shape_names], merged["seconds"].to_numpy(float), provenance, dropped)
