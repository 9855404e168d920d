"""Seconds and work of the three kinds of batch that an engine steps through: decode, mixed and prefill.

A `Batch` fills the step state of `llmopt_calibration` (b, K, p, A, N, h) with expressions in the decisions
and frozen symbols; `total` then sums one quantity of the step law over the operators that such a batch
runs. A batch without decodes runs no decode attention and one without prefill no prefill attention, exactly
as the compiled law of the simulator does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from sympy import Expr, Integer

from llmopt_calibration.step import StepLaw
from llmopt_optimizer.core.algebra import substituted

Quantity = Literal["seconds", "flops", "hbm_bytes", "network_bytes"]


@dataclass(frozen=True, slots=True)
class Batch:
    """The state of one step as the slowest attention rank sees it."""

    decodes: Expr
    """Sequences that decode on the rank."""
    decode_context: Expr
    """Their mean context, tokens."""
    prefill: Expr
    """Prompt tokens that the rank computes in this step."""
    prefill_context: Expr
    """Mean context that one of those tokens attends to."""
    engine_tokens: Expr
    """Tokens of all ranks of the engine."""
    heads: Expr
    """Sequences that need logits on the rank."""


def decode_batch(decodes: Expr, context: Expr, ranks: Expr) -> Batch:
    """A step in which every rank only decodes."""
    zero = Integer(0)
    return Batch(decodes, context, zero, zero, ranks * decodes, decodes)


def prefill_batch(tokens: Expr, context: Expr, busy_ranks: Expr) -> Batch:
    """A step in which `busy_ranks` ranks prefill `tokens` tokens each and none decodes."""
    zero = Integer(0)
    return Batch(zero, zero, tokens, context, busy_ranks * tokens, Integer(1))


def total(law: StepLaw, quantity: Quantity, batch: Batch) -> Expr:
    """One quantity of the step law for `batch`: seconds of the step, or work of one accelerator."""
    state = law.symbols
    filling = {
        state.b: batch.decodes,
        state.K: batch.decodes * batch.decode_context,
        state.p: batch.prefill,
        state.A: batch.prefill * batch.prefill_context,
        state.N: batch.engine_tokens,
        state.h: batch.heads,
    }
    summed = getattr(law, quantity)(decode=batch.decodes != 0, prefill=batch.prefill != 0)
    return cast(Expr, substituted(summed, filling, {}))
