"""The `serve` role: states, attributes and constraints of an aggregated pool."""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, Symbol

from llmopt_optimizer.core.algebra import larger, smaller, where_above
from llmopt_optimizer.core.program import Constraint, State
from llmopt_optimizer.formulation.pool import (
    PROBABILITIES,
    PoolFormulas,
    PoolInputs,
    Surroundings,
    fitting,
    resource_attributes,
    stable,
)
from llmopt_optimizer.metrics.resources import Utilisation, utilisation
from llmopt_optimizer.metrics.serving import (
    Serving,
    closed_loop_batch,
    open_loop_batch,
    prefill_load,
    prefill_wait_s,
    serving,
    smallest_batch,
    work_per_s,
)
from llmopt_optimizer.metrics.waiting import Queue, mean_wait_s, routed_queue, wait_quantile_s
from llmopt_problems.metrics_catalog import Statistic


@dataclass(frozen=True, slots=True)
class _Waits:
    """The two queues of an aggregated rank: for a place in the batch, and for the prefill turn."""

    prefill: Queue
    slots: Queue
    slots_of_rank: Expr
    slot_load: Expr
    slot_s: Expr
    """Time that a request holds its place."""


def serve_formulas(inputs: PoolInputs, around: Surroundings) -> PoolFormulas:
    """Everything that a system reads of an aggregated pool."""
    pool, frozen = inputs.symbols, around.frozen
    batch = Symbol("serve_decode_batch", positive=True)
    parts = serving(inputs.law, pool, frozen, batch, plan_ahead=around.plan_ahead)
    waits = _waits(inputs, around, parts)
    inside = smaller(waits.slots_of_rank, pool.chunk_tokens - 1)
    equation = (
        closed_loop_batch(parts, frozen, waits.prefill, waits.slots_of_rank, batch)
        if around.closed_loop
        else open_loop_batch(parts, frozen)
    )
    return PoolFormulas(
        states=(State(batch, equation, smallest_batch(frozen), inside, increasing=not around.closed_loop),),
        attributes=_attributes(inputs, around, parts, waits, batch),
        constraints=_constraints(inputs, around, parts, waits),
    )


def _waits(inputs: PoolInputs, around: Surroundings, parts: Serving) -> _Waits:
    pool, frozen = inputs.symbols, around.frozen
    slots = smaller(pool.batch_cap, inputs.memory.kv_capacity_tokens / frozen.reserved_tokens)
    held_s = parts.prefill_s + frozen.decode_tokens * parts.step_s
    prefill = routed_queue(around.router, parts.ranks, frozen.arrival_scv, frozen.prefill_scv)
    behind = routed_queue(around.router, parts.ranks, frozen.arrival_scv, frozen.decode_scv)
    places = Queue(behind.servers * slots, behind.arrival_scv, behind.service_scv)
    return _Waits(prefill, places, slots, parts.rank_rate_per_s * held_s / slots, held_s)


def _constraints(
    inputs: PoolInputs, around: Surroundings, parts: Serving, waits: _Waits
) -> tuple[Constraint, ...]:
    pool = inputs.symbols
    budget = Constraint("chunk above batch", pool.batch_cap + 1 - pool.chunk_tokens)
    if around.closed_loop:
        return (fitting(inputs), budget)
    return (
        fitting(inputs),
        budget,
        stable("prefill load", prefill_load(parts)),
        stable("batch slots", waits.slot_load),
    )


def _attributes(
    inputs: PoolInputs, around: Surroundings, parts: Serving, waits: _Waits, batch: Symbol
) -> dict[str, Expr]:
    rate = parts.rank_rate_per_s * parts.ranks if around.closed_loop else around.frozen.request_rate_per_s
    queueing = _closed_waits(around, parts) if around.closed_loop else _open_waits(parts, waits)
    itl = _itl(parts)
    used = utilisation(
        inputs.accelerator,
        inputs.arithmetic,
        *(work_per_s(inputs.law, parts, quantity) for quantity in ("flops", "hbm_bytes", "network_bytes")),
    )
    kv_tokens = waits.slots_of_rank * around.frozen.reserved_tokens
    return (
        {
            "request_rate_per_s": rate,
            "step_s": parts.step_s,
            "decode_batch": batch,
            "prefill_load": prefill_load(parts),
        }
        | {f"queueing_{statistic}_s": wait for statistic, wait in queueing.items()}
        | {f"ttft_{statistic}_s": wait + parts.prefill_s for statistic, wait in queueing.items()}
        | {f"itl_{statistic}_s": gap for statistic, gap in itl.items()}
        | resource_attributes(inputs, _while_busy(used, parts, batch), kv_tokens)
    )


def _while_busy(used: Utilisation, parts: Serving, batch: Symbol) -> Utilisation:
    """Utilisation over all time: an engine rests when no rank of it has work."""
    busy = smaller(1, batch + parts.chunk_share)
    return Utilisation(used.compute * busy, used.bandwidth * busy, used.network * busy)


def _open_waits(parts: Serving, waits: _Waits) -> dict[Statistic, Expr]:
    turn_s = prefill_wait_s(parts, waits.prefill)
    place_s = mean_wait_s(waits.slot_load, waits.slot_s, waits.slots)
    load = prefill_load(parts)
    quantiles: dict[Statistic, Expr] = {
        statistic: parts.residual_s
        + wait_quantile_s(turn_s, load, waits.prefill, probability)
        + wait_quantile_s(place_s, waits.slot_load, waits.slots, probability)
        for statistic, probability in PROBABILITIES.items()
    }
    quantiles["mean"] = parts.residual_s + turn_s + place_s
    return quantiles


def _closed_waits(around: Surroundings, parts: Serving) -> dict[Statistic, Expr]:
    """Users of a closed loop who neither think nor are served wait: their number gives their time."""
    cycle_s = around.frozen.concurrency / parts.ranks / parts.rank_rate_per_s
    wait_s = larger(
        0, cycle_s - around.frozen.think_s - parts.prefill_s - around.frozen.decode_tokens * parts.step_s
    )
    return dict.fromkeys(("mean", *PROBABILITIES), wait_s)


def _itl(parts: Serving) -> dict[Statistic, Expr]:
    quantiles: dict[Statistic, Expr] = {
        statistic: where_above(
            parts.engine_chunk_share, 1 - probability, parts.mixed_step_s, parts.decode_step_s
        )
        for statistic, probability in PROBABILITIES.items()
    }
    quantiles["mean"] = parts.step_s
    return quantiles
