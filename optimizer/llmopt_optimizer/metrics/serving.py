"""The aggregated pool: one kind of instance that prefills and decodes in mixed batches.

Decodes go first and prefill fills the rest of the token budget, so a rank's step is one of two: with a
prompt chunk or without. The state is `b`, the mean number of decoding sequences of a rank. Little's law on
the decode phase says b = λ_r · D · t(b), with λ_r the request rate of a rank, D the decode steps of a
request and t the mean step time that a decoding sequence sees. A request adds `k` chunk steps, so a rank
holds a chunk in a fraction ρ = λ_r · k · t = b · k / D of its steps: given b, everything else is explicit.
In a closed loop the rate is not given; the population is, and b follows from it by the same law over the
whole cycle of a user.
"""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, Float, Rational, Symbol, exp

from llmopt_calibration.step import StepLaw
from llmopt_optimizer.core.algebra import larger, smaller
from llmopt_optimizer.metrics.batches import Batch, Quantity, decode_batch, total
from llmopt_optimizer.metrics.waiting import CLOSED_LOOP_CEILING, Queue, mean_wait_s
from llmopt_optimizer.symbols import FrozenSymbols, PoolSymbols

_IDLE_BATCH = Float(1e-6)


@dataclass(frozen=True, slots=True)
class Serving:
    """Explicit quantities of an aggregated pool, given the mean decode batch of a rank."""

    ranks: Expr
    chunks: Expr
    """Steps that compute the prompt of one request."""
    chunk_share: Expr
    """Fraction of a rank's steps that hold a chunk."""
    engine_chunk_share: Expr
    """Fraction of an engine's steps in which any of its ranks holds a chunk."""
    decode_step_s: Expr
    mixed_step_s: Expr
    step_s: Expr
    """Mean step time seen by a decoding sequence."""
    rank_rate_per_s: Expr
    prefill_s: Expr
    """Time to compute a prompt once its turn has come."""
    residual_s: Expr
    """Mean time from a request's arrival to the first step that could hold it."""
    decoding: Batch
    mixed: Batch


def smallest_batch(frozen: FrozenSymbols) -> Expr:
    """Lower end of the search for a mean batch: below it a rank is idle in every sense.

    Requests that hardly decode make small batches in busy ranks, so it shrinks with them.
    """
    return _IDLE_BATCH * smaller(1, frozen.decode_tokens)


def serving(
    law: StepLaw, pool: PoolSymbols, frozen: FrozenSymbols, batch: Symbol, *, plan_ahead: bool = False
) -> Serving:
    """The formulas of an aggregated pool whose ranks hold `batch` decoding sequences on average.

    An engine that plans ahead has planned the next step already when a request arrives during one.
    """
    computed = frozen.input_tokens - frozen.hit_tokens
    chunks = larger(1, computed / (pool.chunk_tokens - batch))
    share = smaller(1, batch * chunks / frozen.decode_tokens)
    engine_share = 1 - (1 - share) ** pool.dp
    decoding = decode_batch(batch, frozen.decode_context_tokens, pool.dp)
    prefilling_ranks = pool.dp * share / engine_share
    mixed = Batch(
        decodes=batch,
        decode_context=frozen.decode_context_tokens,
        prefill=computed / chunks,
        prefill_context=frozen.prefill_context_tokens,
        engine_tokens=pool.dp * batch + prefilling_ranks * computed / chunks,
        heads=batch + 1,
    )
    decode_s, mixed_s = total(law, "seconds", decoding), total(law, "seconds", mixed)
    step_s = engine_share * mixed_s + (1 - engine_share) * decode_s
    return Serving(
        ranks=pool.instances * pool.pp * pool.dp,
        chunks=chunks,
        chunk_share=share,
        engine_chunk_share=engine_share,
        decode_step_s=decode_s,
        mixed_step_s=mixed_s,
        step_s=step_s,
        rank_rate_per_s=batch / (frozen.decode_tokens * step_s),
        prefill_s=chunks * mixed_s,
        residual_s=step_s * (Rational(1, 2) + int(plan_ahead)) * (1 - exp(-batch)),
        decoding=decoding,
        mixed=mixed,
    )


def open_loop_batch(parts: Serving, frozen: FrozenSymbols) -> Expr:
    """Right-hand side of b = λ_r · D · t(b), at least the smallest batch."""
    offered = frozen.request_rate_per_s / parts.ranks * frozen.decode_tokens * parts.step_s
    return larger(smallest_batch(frozen), offered)


def closed_loop_batch(
    parts: Serving, frozen: FrozenSymbols, queue: Queue, slots: Expr, batch: Symbol
) -> Expr:
    """Right-hand side of the balance of users on a rank: decoding, prefilling, and waiting for prefill.

    Users who think are elsewhere (Little: rate x pause). No more than `slots` of a rank's other users are in
    service at a time; the rest wait outside and hold nothing.
    """
    rate_per_s = batch / (frozen.decode_tokens * parts.step_s)
    inside = smaller(frozen.concurrency / parts.ranks - rate_per_s * frozen.think_s, slots)
    turn_s = mean_wait_s(prefill_load(parts), parts.prefill_s, queue, CLOSED_LOOP_CEILING)
    before_decode_s = turn_s + parts.prefill_s + parts.residual_s
    return inside - rate_per_s * before_decode_s


def prefill_load(parts: Serving) -> Expr:
    """Share of time that a rank's prefill turns are taken."""
    return parts.rank_rate_per_s * parts.prefill_s


def prefill_wait_s(parts: Serving, queue: Queue) -> Expr:
    """Mean wait for the ranks' prefill turns, each rank a server of prompts."""
    return mean_wait_s(prefill_load(parts), parts.prefill_s, queue)


def work_per_s(law: StepLaw, parts: Serving, quantity: Quantity) -> Expr:
    """Work of one accelerator a second while its engine steps: FLOP/s or bytes/s."""
    mean = parts.engine_chunk_share * total(law, quantity, parts.mixed)
    mean += (1 - parts.engine_chunk_share) * total(law, quantity, parts.decoding)
    return mean / parts.step_s
