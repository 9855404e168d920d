"""Prefill and decode pools of a disaggregated deployment, each on its own.

A prefill rank is a server that computes one prompt after the other in chunks; a decode rank holds a batch
whose mean follows from Little's law. Ranks of one engine step together, so a step of an engine carries the
tokens of every rank that is busy at the time.
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, Integer, Symbol, ceiling

from llmopt_calibration.step import StepLaw
from llmopt_optimizer.core.algebra import larger, smaller
from llmopt_optimizer.metrics.batches import Batch, decode_batch, prefill_batch, total
from llmopt_optimizer.symbols import FrozenSymbols, PoolSymbols


@dataclass(frozen=True, slots=True)
class Prefilling:
    """Explicit quantities of a prefill pool."""

    ranks: Expr
    load: Expr
    """Utilisation of one rank."""
    batch: Batch
    step_s: Expr
    service_s: Expr
    """Time to compute one prompt."""


def prefilling(
    law: StepLaw, pool: PoolSymbols, frozen: FrozenSymbols, rate: Expr, *, equal_inputs: bool
) -> Prefilling:
    """The formulas of a prefill pool that receives `rate` requests a second.

    With equal inputs a prompt takes a whole number of chunks; otherwise their mean number is taken smooth.
    A busy rank shares its steps with the engine's other ranks as often as those are busy, judged by the
    load that they would have without sharing: one turn of the fixed point, which keeps the pool free of
    implicit states.
    """
    computed = frozen.input_tokens - frozen.hit_tokens
    full = computed / pool.chunk_tokens
    chunks = ceiling(full) if equal_inputs else larger(1, full)
    ranks = pool.instances * pool.pp * pool.dp

    def batch_with(busy_ranks: Expr) -> Batch:
        return prefill_batch(computed / chunks, frozen.prefill_context_tokens, busy_ranks)

    alone_s = chunks * total(law, "seconds", batch_with(Integer(1)))
    batch = batch_with(1 + (pool.dp - 1) * smaller(1, rate / ranks * alone_s))
    step_s = total(law, "seconds", batch)
    return Prefilling(ranks, rate / ranks * chunks * step_s, batch, step_s, chunks * step_s)


@dataclass(frozen=True, slots=True)
class Decoding:
    """Explicit quantities of a decode pool, given the mean batch of a rank."""

    ranks: Expr
    batch: Batch
    step_s: Expr
    mean_batch: Expr
    """Right-hand side of b = λ_r · D · t(b)."""


def decoding(law: StepLaw, pool: PoolSymbols, frozen: FrozenSymbols, rate: Expr, batch: Symbol) -> Decoding:
    """The formulas of a decode pool that receives `rate` requests a second."""
    ranks = pool.instances * pool.pp * pool.dp
    state = decode_batch(batch, frozen.decode_context_tokens, pool.dp)
    step_s = total(law, "seconds", state)
    return Decoding(ranks, state, step_s, rate / ranks * frozen.decode_tokens * step_s)
