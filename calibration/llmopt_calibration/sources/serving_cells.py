"""Cells of a table of serving points as numbers, or the reason why a row is none."""

from __future__ import annotations

import math
from collections.abc import Mapping


class PointError(ValueError):
    """Why a row is no serving point."""


def count(row: Mapping[str, str], column: str, largest: int) -> int:
    """A whole number from 1 to `largest`."""
    value = number(row, column)
    if value != int(value) or not 1 <= value <= largest:
        raise PointError(f"{column} is not a whole number from 1 to {largest}")
    return int(value)


def number(row: Mapping[str, str], column: str) -> float:
    """A finite number."""
    try:
        value = float(row.get(column, ""))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise PointError(f"{column} is missing or not a number")
    return value
