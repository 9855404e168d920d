"""What the two kinds of accelerators hold where attention and feed-forward blocks are apart (AFD).

Attention accelerators hold attention, embedding and head, the KV cache and the activations of their step;
feed-forward accelerators a share of the experts with their copies, all that is dense, and activations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import sympy as sp

from llmopt_calibration.memory import MemoryLaw, MemorySymbols, memory_law
from llmopt_calibration.precision import Precision
from llmopt_calibration.step.symbols import AfdLayout
from llmopt_problems.models.facts import weight_breakdown
from llmopt_problems.models.spec import Component, ModelSpec

_APART: Final[tuple[Component, ...]] = ("router", "routed_experts", "shared_experts", "dense_ffn")
"""Weights of feed-forward blocks."""


@dataclass(frozen=True, slots=True)
class AfdMemory:
    """Bytes on an accelerator of either kind."""

    attention: MemoryLaw
    ffn_bytes: sp.Expr
    """On a feed-forward accelerator: weights, activations of a micro-batch, reserve."""


def afd_memory_law(
    model: ModelSpec,
    precision: Precision,
    layout: AfdLayout,
    symbols: MemorySymbols | None = None,
    redundant: int = 0,
) -> AfdMemory:
    """The memory of both kinds; expressions in `symbols` and in the layout's symbols."""
    caps = symbols or MemorySymbols()
    attention = memory_law(model, precision, layout.attention, caps)
    kept = {part: size for part, size in attention.weights.items() if part not in _APART}
    # A micro-batch brings each feed-forward accelerator its share of the engine's tokens, and no logits.
    tokens = caps.batch_cap * layout.dp / layout.ffn / layout.micro_batches
    seen = MemorySymbols(tokens, sp.S.Zero)
    apart = memory_law(model, precision, layout.experts, seen, redundant)
    whole = weight_breakdown(model, precision.weights)
    dense = sum(whole[part] for part in _APART if part != "routed_experts" and part in whole)
    ffn_bytes = apart.weights["routed_experts"] + dense + apart.activations + apart.reserve
    return AfdMemory(replace(attention, weights=kept), ffn_bytes)
