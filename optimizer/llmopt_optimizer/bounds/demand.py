"""What drawn requests demand of whatever serves them, before anything is known of the deployment.

A `Demand` is one replication's workload reduced to its measured requests: the prompt tokens that even an
infinite prefix cache leaves to compute, the decode steps, and the time in which they come. Replications
draw different requests, so every bound is taken over several of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator.answers import answer_blocks
from llmopt_simulator.options import SimulationOptions

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """The measured requests of one workload, arrays of shape (m,)."""

    input_tokens: Ints
    computed_tokens: Ints
    """Of the input, what no earlier request could have left in a cache; at least 1."""
    decode_steps: Ints
    """Output tokens after the first, which prefill emits."""
    span_s: float | None
    """From the first of them to the last; None where arrivals wait for answers."""
    warmup_requests: int
    concurrency: int | None
    rejects: bool = False
    """Whether a full queue may turn requests away: those that are served may be any of them."""


def demand_of(
    workload: Workload, *, prefix_cache: bool, in_order: bool = True, rejects: bool = False
) -> Demand:
    """The demand of a workload under the default options of a run; `in_order` where ranks serve requests in
    the order in which they come, `rejects` where their queues are limited.
    """
    requests, options = workload.requests, SimulationOptions()
    count = len(requests)
    start = min(int(count * (options.warmup_fraction or 0.0)), count - 1)
    stop = count - (workload.concurrency or 0)
    stop = stop if stop > start + 1 else count
    fixed = workload.concurrency is None and workload.follows is None
    hits = _most_hits(workload, in_order) if prefix_cache else 0
    measured = slice(start, stop)
    return Demand(
        input_tokens=requests.input_tokens[measured],
        computed_tokens=(requests.input_tokens - hits)[measured],
        decode_steps=requests.output_tokens[measured] - 1,
        span_s=float(requests.arrival_s[stop - 1] - requests.arrival_s[start]) if fixed else None,
        warmup_requests=start,
        concurrency=workload.concurrency,
        rejects=rejects,
    )


def _most_hits(workload: Workload, in_order: bool) -> Ints:
    """Tokens that a cache could hold of every request, shape (n,): its leading blocks that others have too.

    Only earlier requests count where requests come in order; where answers are kept for the next turn, every
    block may be one. One token is always computed.
    """
    requests = workload.requests
    counts = np.diff(requests.block_offsets)
    limit = (requests.input_tokens - 1) // max(1, requests.block_tokens)
    known = (
        counts
        if answer_blocks(workload)[1].any()
        else _leading_blocks(requests, counts, in_order and _comes_in_order(workload))
    )
    return np.asarray(np.minimum(known, limit) * requests.block_tokens, dtype=np.int64)


def _comes_in_order(workload: Workload) -> bool:
    return workload.follows is None and workload.think_s is None


def _leading_blocks(requests: Requests, counts: Ints, in_order: bool) -> Ints:
    """Of every request, how many of its first blocks belong to another one as well."""
    owner = np.repeat(np.arange(len(requests)), counts)
    first, size = np.full(int(requests.block_ids.max(initial=-1)) + 1, len(requests)), len(requests)
    np.minimum.at(first, requests.block_ids, owner)
    if in_order:
        seen = first[requests.block_ids] < owner
    else:
        seen = np.bincount(requests.block_ids, minlength=len(first))[requests.block_ids] > 1
    unseen = np.where(seen, size + len(seen), np.arange(len(seen)))
    leading = np.full(size, size + len(seen))
    np.minimum.at(leading, owner, unseen)
    return np.asarray(np.minimum(leading - requests.block_offsets[:-1], counts), dtype=np.int64)


def smallest_sum(values: Ints | Floats, share: float) -> float:
    """Sum of the smallest `share` of the values, at least: what any such share of the requests demands."""
    kept = max(0, ceil(len(values) * share))
    return float(np.sort(values)[:kept].sum())


def quantile(values: Sequence[float] | Floats | Ints, share: float) -> float:
    """The smallest value that at least `share` of all do not exceed, as the simulator takes percentiles."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if not len(ordered):
        return 0.0
    return float(ordered[max(ceil(len(ordered) * round(100 * share) / 100) - 1, 0)])
