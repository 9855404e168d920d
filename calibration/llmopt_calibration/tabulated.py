"""Step laws that are measured rather than written, as the `CompiledStep` of every other law.

What counts decide is a table; what attention costs is an expression over grids: `Function("name")(row,
column)` is an entry of the grid of that name, so rounding, overheads and interpolation are said in
SymPy. A tabulated law knows seconds only: its FLOP and bytes are zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from llmopt_calibration.compiled import CompiledStep
from llmopt_calibration.grid import Grid
from llmopt_calibration.lowering import lower
from llmopt_calibration.step.symbols import StepSymbols

_TOKENS_ROUNDED_TO: Final = 8
_VIDUR_OPERATORS: Final = (
    "attn_pre_proj",
    "attn_post_proj",
    "mlp_up_proj",
    "mlp_down_proj",
    "mlp_act",
    "attn_rope",
    "input_layernorm",
    "post_attention_layernorm",
    "add",
)
_DECODE: Final = sp.Function("attn_decode", real=True)
_PREFILL: Final = sp.Function("attn_prefill", real=True)


@dataclass(frozen=True, slots=True, eq=False)
class TabulatedLaw:
    """Seconds of a step as tables and grids."""

    rank_tokens_s: NDArray[np.float64]
    """Shape (n + 1,): by tokens of the rank; the first entry, no tokens, is not read."""
    engine_tokens_s: NDArray[np.float64]
    """Shape (N + 1,): by tokens of the engine."""
    heads_s: NDArray[np.float64]
    """Shape (h + 1,): by sequences that need logits."""
    decode_s: sp.Expr
    """Over b and K."""
    prefill_s: sp.Expr
    """Over p, A, C and Q, and over b and K where the decodes beside it slow it down."""
    constant_s: float = 0.0
    grids: Mapping[str, Grid] = field(default_factory=dict)
    """What `decode_s` and `prefill_s` read, by function name."""
    granule: int = 1
    """Tokens to which C rounds the context before every chunk."""
    symbols: StepSymbols = field(default_factory=StepSymbols)


def compile_tabulated(law: TabulatedLaw) -> CompiledStep:
    """The compiled step of a tabulated law; beyond its tables a step is NaN."""
    s, zeros = law.symbols, [sp.S.Zero] * 3
    decode, prefill = (s.b, s.K), (s.p, s.A, s.C, s.Q, s.b, s.K)
    return CompiledStep(
        _table(law.rank_tokens_s),
        _table(law.engine_tokens_s),
        _table(law.heads_s),
        np.array([law.constant_s, 0.0, 0.0, 0.0]),
        lower([law.decode_s], decode, law.grids),
        lower(zeros, decode),
        lower([law.prefill_s], prefill, law.grids),
        lower(zeros, prefill),
        law.granule,
    )


def _table(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    table = np.zeros((len(seconds), 4))
    table[1:, 0] = seconds[1:]
    return table


@dataclass(frozen=True, slots=True)
class VidurConstants:
    """The constants of a Vidur run (`const` of its summary)."""

    layers_per_stage: int
    nccl_cpu_launch_overhead_ms: float = 0.02
    kv_granularity: int = 64
    decode_overhead: float = 0.1
    """Share added to decode attention when there are two decodes or more."""
    prefill_overhead: float = 0.1
    """The same for prefill chunks."""


def vidur_law(tables: Mapping[str, NDArray[np.float64]], constants: VidurConstants) -> TabulatedLaw:
    """Vidur's step time on one pipeline stage from its latency tables (milliseconds a layer).

    Source: Vidur (MLSys 2024, arXiv:2405.05465), `sklearn_execution_time_predictor.py`. `tables` are its
    predictions: eleven by tokens from 1, `attn_decode` by (batch from 1, context granule from 0) and
    `attn_prefill` by (context granule from 0, root of the summed squared chunks from 1). The number of
    prefill chunks is not part of the state; Q = p² says that there is one.
    """
    s = StepSymbols()
    scale = sp.Float(constants.layers_per_stage) / 1000
    granule = sp.Integer(constants.kv_granularity)
    several_decodes = sp.Piecewise((1 + sp.Float(constants.decode_overhead), s.b > 1), (sp.S.One, True))
    several_chunks = sp.Piecewise((1 + sp.Float(constants.prefill_overhead), s.p**2 > s.Q), (sp.S.One, True))
    by_context = _DECODE(s.b - 1, sp.ceiling(sp.floor(s.K / s.b) / granule))
    by_chunks = _PREFILL(s.C, sp.floor(sp.sqrt(s.Q) + sp.Rational(1, 2)) - 1)
    by_tokens = _vidur_tokens_s(tables, constants)
    return TabulatedLaw(
        by_tokens,
        np.zeros(len(by_tokens)),
        np.zeros(len(by_tokens)),
        scale * several_decodes * by_context,
        scale * several_chunks * by_chunks,
        grids={name: Grid(tables[name]) for name in ("attn_decode", "attn_prefill")},
        granule=constants.kv_granularity,
        symbols=s,
    )


def _vidur_tokens_s(
    tables: Mapping[str, NDArray[np.float64]], constants: VidurConstants
) -> NDArray[np.float64]:
    """Seconds of all that tokens decide: at tokens rounded up to 8, the KV write at the tokens themselves."""
    tokens = np.arange(1, len(tables["add"]) + 1)
    rounded = -(-tokens // _TOKENS_ROUNDED_TO) * _TOKENS_ROUNDED_TO
    layer_ms = (
        sum(tables[name][rounded - 1] for name in _VIDUR_OPERATORS) + tables["attn_kv_cache_save"][tokens - 1]
    )
    layer_ms = layer_ms + 2.0 * (tables["all_reduce"][rounded - 1] + constants.nccl_cpu_launch_overhead_ms)
    return np.concatenate([[0.0], layer_ms * constants.layers_per_stage / 1000.0])
