"""A profile's attention times as a full grid over chunk, context before it, decodes and their context.

A profile has a slice for every (chunk, decodes) with contexts of its own. Here all slices share the
union of the contexts; a slice is read there as a profile is read anywhere: linear between its points, its
last cell continued. What was not profiled at all (large batches beside prefill) continues the two
batches below it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llmopt_calibration.grid import Grid
from llmopt_calibration.imbalance import ContextSpread, imbalance_share
from llmopt_calibration.sources.errors import SourceError
from llmopt_calibration.sources.llmservingsim import ATTENTION_AXES, KernelProfile

_FARTHEST_TOKENS: Final = float(2**24)
"""A knot beyond every context, so that the last cell of an axis goes on."""
_TABLE: Final = "attention.csv"
_PROFILE_AGAIN: Final = "profile the full grid of chunks and batches, 0 included"
_STRIDE: Final = 2.0 * _FARTHEST_TOKENS
"""Distance between slices that lie one behind the other."""


@dataclass(frozen=True, slots=True, eq=False)
class AttentionGrid:
    """Seconds of one block's attention, shape (chunks, contexts before, decodes, contexts)."""

    chunks: NDArray[np.float64]
    befores: NDArray[np.float64]
    decodes: NDArray[np.float64]
    contexts: NDArray[np.float64]
    seconds: NDArray[np.float64]
    row_stride: float = _STRIDE
    column_stride: float = _STRIDE

    def flat(self) -> Grid:
        """The grid in two axes: chunks × `row_stride` + context before, decodes × `column_stride` + context,
        chunks and decodes by their number.
        """
        rows = [i * self.row_stride + self.befores for i in range(len(self.chunks))]
        columns = [j * self.column_stride + self.contexts for j in range(len(self.decodes))]
        shape = (len(self.chunks) * len(self.befores), len(self.decodes) * len(self.contexts))
        return Grid(self.seconds.reshape(shape), np.concatenate(rows), np.concatenate(columns))

    def decodes_alone(self) -> Grid:
        """Decodes without prefill: decodes × context of each."""
        return Grid(self.seconds[0, 0], self.decodes, self.contexts)


def attention_grid(profile: KernelProfile, spread: ContextSpread | None = None) -> AttentionGrid:
    """The grid of a profile, slowed down by `spread` contexts as its skewed batches were measured to be."""
    frame = profile.attention
    chunks, befores, decodes, contexts = (np.unique(frame[name]) for name in ATTENTION_AXES)
    if 0.0 not in chunks or 0.0 not in decodes or min(len(chunks), len(decodes)) < 3:
        raise SourceError(
            _TABLE, "has no decodes alone, no prefill alone, or too few of either", _PROFILE_AGAIN
        )
    befores, contexts = np.append(befores, _FARTHEST_TOKENS), np.append(contexts, _FARTHEST_TOKENS)
    seconds = np.full((len(chunks), len(befores), len(decodes), len(contexts)), np.nan)
    for i, chunk in enumerate(chunks):
        for j, batch in enumerate(decodes):
            piece = frame[(frame["prefill_chunk"] == chunk) & (frame["n_decode"] == batch)]
            if len(piece):
                seconds[i, :, j, :] = _slice(piece, befores, contexts)
    seconds[0, :, 0, :] = 0.0
    _continue_batches(seconds, decodes)
    grid = AttentionGrid(chunks, befores, decodes, contexts, seconds)
    return grid if spread is None else _with_spread(grid, profile.skew, spread)


def _slice(
    piece: pd.DataFrame, befores: NDArray[np.float64], contexts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The slice of one chunk and batch at all contexts: along the decodes' context, then the prefill's."""
    rows = {
        before: _line(row["kv_decode"].to_numpy(), row["seconds"].to_numpy(), contexts)
        for before, row in piece.groupby("kv_prefill", sort=True)
    }
    known, values = np.array(list(rows)), np.array(list(rows.values()))
    return np.array([_line(known, column, befores) for column in values.T]).T


def _line(
    known: NDArray[np.float64], values: NDArray[np.float64], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Linear between known points, constant before the first, the last cell continued."""
    inside = np.interp(at, known, values)
    if len(known) < 2:
        return inside
    slope = (values[-1] - values[-2]) / (known[-1] - known[-2])
    return np.where(at > known[-1], values[-1] + slope * (at - known[-1]), inside)


def _continue_batches(seconds: NDArray[np.float64], decodes: NDArray[np.float64]) -> None:
    """Fill batches that were not profiled from the two before them."""
    for j in range(2, len(decodes)):
        missing = np.isnan(seconds[:, 0, j, 0])
        part = (decodes[j] - decodes[j - 1]) / (decodes[j - 1] - decodes[j - 2])
        near, far = seconds[missing, :, j - 1, :], seconds[missing, :, j - 2, :]
        seconds[missing, :, j, :] = near + part * (near - far)
    if np.isnan(seconds).any():
        raise SourceError(_TABLE, "lacks a small batch beside prefill", _PROFILE_AGAIN)


def _with_spread(grid: AttentionGrid, skew: pd.DataFrame, spread: ContextSpread) -> AttentionGrid:
    """The grid with every batch moved its measured share towards one of its longest contexts."""
    seconds = grid.seconds.copy()
    over, long_part = spread.over_mean(grid.decodes), spread.long_part(grid.decodes)
    for j, batch in enumerate(grid.decodes):
        longest = grid.contexts * over[j]
        for i, chunk in enumerate(grid.chunks):
            share = imbalance_share(skew, int(batch), float(long_part[j]), mixed=chunk > 0)
            if share != 0.0:
                line = grid.seconds[i, :, j, :]
                gap = np.array([_line(grid.contexts, row, longest) for row in line]) - line
                seconds[i, :, j, :] += share * np.maximum(gap, 0.0)
    return replace(grid, seconds=seconds)
