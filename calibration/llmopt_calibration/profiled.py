"""The step law of a kernel profile: measured times of every layer, interpolated, and nothing fitted.

A step is the sum of its kernels: the dense layers at the tokens of the step, rounded up to a captured CUDA
graph where there is one, head and sampler at its sequences, and attention from a grid over prefill tokens,
the context before them, decodes and their mean context. One kernel computes prefill and decodes of
a mixed step together and is up to three times slower than the two apart, so the law reads all four axes. A
tape's grid has two: chunk and context lie one behind the other on its rows, decodes and context on its
columns, and four reads with weights are the interpolation in four.

Source of the rules: LLMServingSim 2 interpolates every axis linearly and continues the last cell outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from llmopt_calibration.attention_grid import AttentionGrid, attention_grid
from llmopt_calibration.grid import Grid
from llmopt_calibration.imbalance import ContextSpread
from llmopt_calibration.sources.errors import SourceError
from llmopt_calibration.sources.llmservingsim import Curve, KernelProfile
from llmopt_calibration.step.symbols import StepSymbols
from llmopt_calibration.tabulated import TabulatedLaw

_ONCE: Final = ("embedding", "final_layernorm")
"""Dense layers outside the blocks."""
_TWICE: Final = ("layernorm",)
"""Dense layers that a block has two of; it has every other one once."""


@dataclass(frozen=True, slots=True)
class ProfiledStep:
    """What a profile leaves open about an engine."""

    blocks: int
    """Transformer blocks of the model; a profile times one."""
    capture_sizes: tuple[int, ...] = ()
    """Tokens of the captured CUDA graphs, rising: a step of fewer tokens is padded to one (vLLM)."""
    spread: ContextSpread | None = None
    """How unequal the contexts of a batch are; None: the decodes of a step have equal contexts."""
    overhead_s: float = 0.0
    """Time between the kernels of a step and around it, which no kernel time holds."""


def profiled_law(profile: KernelProfile, step: ProfiledStep) -> TabulatedLaw:
    """The step law of `profile` up to its largest tokens and sequences; beyond them a step is NaN.

    Raises `SourceError` for more than one tensor-parallel rank (a profile has no collectives).
    """
    if profile.tp != 1:
        table = profile.provenance["dense"].table
        raise SourceError(table, f"a profile at TP {profile.tp} lacks its all-reduces", "use the one at TP 1")
    s, grid = StepSymbols(), attention_grid(profile, step.spread)
    tokens_s = _dense_s(profile, step)
    heads = _to_the_end(profile.per_sequence)
    alone = step.blocks * sp.Function("decode_alone")(s.b, s.K / s.b)
    both = step.blocks * _in_four(grid, s)
    beside = step.blocks * sp.Function("decode_alone")(s.b, s.K / sp.Max(s.b, 1))
    return TabulatedLaw(
        tokens_s,
        np.zeros(len(tokens_s)),
        np.concatenate([[0.0], sum(curve.at(heads) for curve in profile.per_sequence.values())]),
        alone,
        both - beside,
        constant_s=step.overhead_s,
        grids=_grids(grid, len(tokens_s), len(heads) + 1),
        symbols=s,
    )


def _to_the_end(curves: Mapping[str, Curve]) -> NDArray[np.float64]:
    """1, 2, … to the last count that all curves have."""
    return np.arange(1.0, min(curve.counts[-1] for curve in curves.values()) + 1.0)


def _dense_s(profile: KernelProfile, step: ProfiledStep) -> NDArray[np.float64]:
    """Seconds of all dense layers by tokens, shape (n + 1,)."""
    missing = [name for name in (*_ONCE, *_TWICE) if name not in profile.dense]
    if missing:
        raise SourceError(profile.provenance["dense"].table, f"lacks the layers {missing}", "profile them")
    padded = _padded(_to_the_end(profile.dense), step.capture_sizes)
    total = np.zeros(len(padded))
    for name, curve in profile.dense.items():
        times = 1 if name in _ONCE else step.blocks * (2 if name in _TWICE else 1)
        total += times * curve.at(padded)
    return np.concatenate([[0.0], total])


def _padded(tokens: NDArray[np.float64], sizes: Sequence[int]) -> NDArray[np.float64]:
    if not sizes:
        return tokens
    place = np.searchsorted(sizes, tokens)
    return np.where(place < len(sizes), np.array(sizes)[np.minimum(place, len(sizes) - 1)], tokens)


def _in_four(grid: AttentionGrid, s: StepSymbols) -> sp.Expr:
    """Seconds of one block's attention at (p, C, b, K / b)."""
    chunk, chunk_part = sp.Function("chunk_cell")(s.p, 0), sp.Function("chunk_part")(s.p, 0)
    batch, batch_part = sp.Function("batch_cell")(s.b, 0), sp.Function("batch_part")(s.b, 0)
    corners = []
    for i, of_chunk in ((0, 1 - chunk_part), (1, chunk_part)):
        for j, of_batch in ((0, 1 - batch_part), (1, batch_part)):
            row = (chunk + i) * sp.Float(grid.row_stride) + s.C
            column = (batch + j) * sp.Float(grid.column_stride) + s.K / sp.Max(s.b, 1)
            corners.append(of_chunk * of_batch * sp.Function("attention")(row, column))
    return sp.Add(*corners)


def _grids(grid: AttentionGrid, tokens: int, batch: int) -> dict[str, Grid]:
    """The grids that the law's expressions name; cells and parts by whole counts below `tokens`, `batch`."""
    cells = {
        "chunk": _cells(grid.chunks, tokens),
        "batch": _cells(grid.decodes, batch),
    }
    by_count = {f"{axis}_{name}": Grid(values) for axis, two in cells.items() for name, values in two.items()}
    return by_count | {"attention": grid.flat(), "decode_alone": grid.decodes_alone()}


def _cells(knots: NDArray[np.float64], counts: int) -> dict[str, NDArray[np.float64]]:
    """The cell of every count between `knots`, and how far in it the count lies; shape (counts, 1)."""
    at = np.arange(float(counts))
    cell = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
    part = (at - knots[cell]) / (knots[cell + 1] - knots[cell])
    return {"cell": cell[:, None].astype(float), "part": part[:, None]}
