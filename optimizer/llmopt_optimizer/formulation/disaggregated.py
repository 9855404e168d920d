"""The `prefill` and `decode` roles: states, attributes and constraints of the pools of a disaggregated
system.

In an open loop the rate is given and each pool stands alone. In a closed loop the users couple the pools: the
rate follows from the decode batch, and the two pools are tabulated together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sympy import Expr, Integer, Max, Symbol

from llmopt_optimizer.core.algebra import larger, smaller
from llmopt_optimizer.core.program import State
from llmopt_optimizer.formulation.pool import (
    PROBABILITIES,
    MemoryInputs,
    PoolFormulas,
    PoolInputs,
    Surroundings,
    fitting,
    resource_attributes,
    stable,
)
from llmopt_optimizer.metrics.batches import Batch, Quantity, total
from llmopt_optimizer.metrics.pools import Decoding, Prefilling, decoding, prefilling
from llmopt_optimizer.metrics.resources import Utilisation, utilisation
from llmopt_optimizer.metrics.serving import smallest_batch
from llmopt_optimizer.metrics.waiting import (
    CLOSED_LOOP_CEILING,
    UTILISATION_CEILING,
    Queue,
    mean_wait_s,
    routed_queue,
    wait_quantile_s,
)
from llmopt_optimizer.symbols import FrozenSymbols
from llmopt_problems.metrics_catalog import Statistic

_WORK: tuple[Quantity, Quantity, Quantity] = ("flops", "hbm_bytes", "network_bytes")


@dataclass(frozen=True, slots=True)
class Transfer:
    """Seconds that the KV of a mean request takes through each end's links, and before its first byte."""

    latency_s: float
    send_s: Expr
    receive_s: Expr
    layers: int
    """Parts in which it is sent, each as soon as it is computed; 1: all when prefill has ended."""

    def after_prefill_s(self, send_s: Expr, receive_s: Expr, lead_s: Expr) -> Expr:
        """Seconds from the end of prefill to the first token.

        With the links to itself, a context of L layers is through when the last layer is, and when all of it
        is, begun when the first layer had been computed, `lead_s` before the end of prefill. The last layer's
        part is taken of the whole prompt, as if it were one chunk.
        """
        if self.layers == 1:
            return self.latency_s + Max(send_s, receive_s)
        last = Integer(1) / self.layers
        return self.latency_s + Max(last * send_s, last * receive_s, send_s - lead_s, receive_s - lead_s)


@dataclass(frozen=True, slots=True)
class _Places:
    """The queue for a place in the decode batch."""

    queue: Queue
    slots_of_rank: Expr
    load: Expr
    held_s: Expr


def prefill_formulas(
    inputs: PoolInputs, around: Surroundings, transfer: Transfer, rate_per_s: Expr
) -> PoolFormulas:
    """Everything that a system reads of a prefill pool that receives `rate_per_s`."""
    frozen = around.frozen
    parts = prefilling(inputs.law, inputs.symbols, frozen, rate_per_s, equal_inputs=around.equal_inputs)
    queue = routed_queue(around.router, parts.ranks, frozen.arrival_scv, frozen.prefill_scv)
    ceiling = CLOSED_LOOP_CEILING if around.closed_loop else UTILISATION_CEILING
    mean_s = mean_wait_s(parts.load, parts.service_s, queue, ceiling)
    waits = _wait_statistics(around, mean_s, parts.load, queue)
    # An engine that plans ahead has planned the next step already when a request finds it busy.
    ahead_s = smaller(1, parts.load) * parts.step_s if around.plan_ahead else Integer(0)
    used = _used(inputs, parts.batch, parts.step_s, smaller(1, _engine_load(parts, inputs)))
    attributes = (
        {
            "send_s": transfer.send_s,
            "lead_s": parts.service_s - parts.step_s / transfer.layers,
            "load": parts.load,
        }
        | {f"queueing_{statistic}_s": wait for statistic, wait in waits.items()}
        | {f"ttft_{statistic}_s": wait + ahead_s + parts.service_s for statistic, wait in waits.items()}
        | resource_attributes(inputs, used, frozen.input_tokens)
    )
    return PoolFormulas((), attributes, (fitting(inputs), stable("prefill load", parts.load)))


def decode_formulas(
    inputs: PoolInputs, around: Surroundings, transfer: Transfer, batch: Symbol, rate_per_s: Expr
) -> PoolFormulas:
    """Everything that a system reads of a decode pool; the state `batch` is found from the given rate."""
    parts = decoding(inputs.law, inputs.symbols, around.frozen, rate_per_s, batch)
    places, smallest = decode_places(inputs, around, parts, rate_per_s), smallest_batch(around.frozen)
    mean_s = mean_wait_s(places.load, places.held_s, places.queue)
    waits = _wait_statistics(around, mean_s, places.load, places.queue)
    return PoolFormulas(
        states=(State(batch, larger(smallest, parts.mean_batch), smallest, places.slots_of_rank),),
        attributes=decode_attributes(inputs, around, transfer, parts, places, rate_per_s, waits),
        constraints=(fitting(inputs), stable("batch slots", places.load)),
    )


def decode_batch_symbol() -> Symbol:
    """The state of a decode pool: mean decoding sequences of a rank."""
    return Symbol("decode_batch", positive=True)


def decode_places(inputs: PoolInputs, around: Surroundings, parts: Decoding, rate_per_s: Expr) -> _Places:
    """The queue in front of the places of a decode pool: its batch cap or its KV pool, whichever is
    smaller. Whatever the policy, requests wait together for the next rank with room.
    """
    slots = _slots(inputs.memory, inputs, around.frozen)
    held_s = around.frozen.decode_tokens * parts.step_s
    behind = Queue(parts.ranks, around.frozen.arrival_scv, around.frozen.decode_scv)
    queue = Queue(behind.servers * slots, behind.arrival_scv, behind.service_scv)
    return _Places(queue, slots, rate_per_s / parts.ranks * held_s / slots, held_s)


def decode_attributes(
    inputs: PoolInputs,
    around: Surroundings,
    transfer: Transfer,
    parts: Decoding,
    places: _Places,
    rate_per_s: Expr,
    place_waits: Mapping[Statistic, Expr],
) -> dict[str, Expr]:
    """Attributes of a decode pool by name; `place_waits` are the waits for a place in the batch."""
    used = _used(inputs, parts.batch, parts.step_s, smaller(1, parts.batch.decodes))
    return (
        {
            "receive_s": transfer.receive_s,
            "step_s": parts.step_s,
            "decode_batch": parts.batch.decodes,
            "request_rate_per_s": rate_per_s,
        }
        | {f"place_wait_{statistic}_s": wait for statistic, wait in place_waits.items()}
        | resource_attributes(inputs, used, places.slots_of_rank * around.frozen.reserved_tokens)
    )


def closed_loop_state(
    around: Surroundings, parts: Decoding, places: _Places, before_decode_s: Expr, batch: Symbol
) -> State:
    """The decode batch of a closed loop: users of a rank who neither think nor are on their way to it.

    `before_decode_s` is the time from a user's request to its place in the batch, queues included.
    """
    users = around.frozen.concurrency / parts.ranks
    rate = batch / (around.frozen.decode_tokens * parts.step_s)
    equation = smaller(users - rate * (around.frozen.think_s + before_decode_s), places.slots_of_rank)
    smallest = smallest_batch(around.frozen)
    return State(batch, equation, smallest, larger(smallest, users), increasing=False)


def closed_loop_place_waits(
    around: Surroundings, places: _Places, before_decode_s: Expr, rate_per_s: Expr
) -> dict[Statistic, Expr]:
    """Users who neither think, decode nor are on their way wait for a place: their number is known, so is
    their time.
    """
    cycle_s = around.frozen.concurrency / rate_per_s - around.frozen.think_s
    wait_s = larger(0, cycle_s - before_decode_s - places.held_s)
    return dict.fromkeys(("mean", *PROBABILITIES), wait_s)


def _slots(memory: MemoryInputs, inputs: PoolInputs, frozen: FrozenSymbols) -> Expr:
    return smaller(inputs.symbols.batch_cap, memory.kv_capacity_tokens / frozen.reserved_tokens)


def _wait_statistics(around: Surroundings, mean_s: Expr, load: Expr, queue: Queue) -> dict[Statistic, Expr]:
    """Mean and quantiles of a wait. In a closed loop the users bound every queue, so it has no exponential
    tail.
    """
    quantiles: dict[Statistic, Expr] = {
        statistic: mean_s if around.closed_loop else wait_quantile_s(mean_s, load, queue, probability)
        for statistic, probability in PROBABILITIES.items()
    }
    quantiles["mean"] = mean_s
    return quantiles


def _engine_load(parts: Prefilling, inputs: PoolInputs) -> Expr:
    """Share of time in which at least one rank of an engine computes."""
    return 1 - (1 - smaller(1, parts.load)) ** inputs.symbols.dp


def _used(inputs: PoolInputs, batch: Batch, step_s: Expr, busy: Expr) -> Utilisation:
    rates = (total(inputs.law, quantity, batch) / step_s * busy for quantity in _WORK)
    return utilisation(inputs.accelerator, inputs.arithmetic, *rates)
