"""Observed lengths: the values and weights of an empirical distribution, from the problem or from a file."""

from __future__ import annotations

import math
from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..schema.traffic import EmpiricalLength
from ..traces.rows import Place, cell_places, lines, whole_tokens

Observed = tuple[NDArray[np.int64], NDArray[np.float64]]


def observed_lengths(length: EmpiricalLength) -> Observed:
    """Lengths in tokens and their weights, shapes (n,); ProblemError, placed in the file, if broken."""
    if length.file is not None:
        return _read(length.file)
    lengths = np.array(length.values, np.int64)
    weights = np.array(length.weights) if length.weights else np.ones(len(lengths))
    return lengths, weights.astype(np.float64)


def _read(file: Path) -> Observed:
    lengths, weights = array("q"), array("d")
    for number, text in lines(file):
        cells = text.strip().split(",")
        if not lengths and not cells[0].strip().isdigit() and number == 1:
            continue  # a header
        places = cell_places(cells, Place(file, number))
        lengths.append(whole_tokens(cells[0], "the length", places[0]))
        weights.append(_weight(cells[1], places[1]) if len(cells) > 1 else 1.0)
    if not sum(weights) > 0:
        remedy = "write one length a line, or length,weight"
        raise Place(file, 1).error("the file has no lengths", "empirical-source", remedy)
    return np.array(lengths, np.int64), np.array(weights)


def _weight(cell: str, place: Place) -> float:
    try:
        weight = float(cell)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise place.error(
            "the weight is no number of 0 or more", "empirical-weights", "write 0.5 or 12", cell
        )
    return weight
