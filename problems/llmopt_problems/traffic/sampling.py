"""Requests drawn from a traffic description: one random stream a purpose, all from one seed."""

from __future__ import annotations

from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from ..schema.traffic import (
    ClosedLoop,
    DeterministicArrivals,
    GammaArrivals,
    Length,
    PoissonArrivals,
    SharedPrefix,
    TraceArrivals,
    Traffic,
)
from .lengths import length_law
from .replay import read_trace
from .requests import Requests, Workload

BLOCK_TOKENS = 16
"""Block of shared prefixes in synthetic traffic: a KV page of vLLM, and a common page size of SGLang."""

Ints = NDArray[np.int64]


def sample(traffic: Traffic, count: int, seed: int, block_tokens: int = BLOCK_TOKENS) -> Workload:
    """`count` requests of `traffic`; the same seed gives the same bytes.

    Arrivals, input lengths, output lengths and prefixes have streams of their own: changing one leaves the
    others as they were. A trace is replayed as it is, whatever the seed, in its own blocks: its first `count`
    requests, or all when it has fewer. Raises ValueError for `count` below 1, ProblemError for a bad trace.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if isinstance(traffic.arrivals, TraceArrivals):
        limit = min(count, traffic.arrivals.limit or count)
        return Workload(read_trace(traffic.arrivals.model_copy(update={"limit": limit})))
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(4)]
    inputs = _lengths(traffic.input_tokens, streams[1], count)
    offsets, ids = _blocks(traffic.shared_prefix, inputs, streams[3], block_tokens)
    outputs = _lengths(traffic.output_tokens, streams[2], count)
    arrival_s = np.cumsum(_gaps(traffic.arrivals, streams[0], count))
    concurrency = traffic.arrivals.concurrency if isinstance(traffic.arrivals, ClosedLoop) else None
    return Workload(Requests(arrival_s, inputs, outputs, offsets, ids, block_tokens), concurrency)


def _gaps(
    arrivals: PoissonArrivals | GammaArrivals | DeterministicArrivals | ClosedLoop,
    rng: np.random.Generator,
    count: int,
) -> NDArray[np.float64]:
    """Seconds before each request; zeros in a closed loop, whose users start at once."""
    match arrivals:
        case PoissonArrivals():
            return rng.exponential(1 / arrivals.rate_per_s, count)
        case GammaArrivals():
            # Gamma of shape k has cv = 1/√k.
            shape = arrivals.cv**-2
            return rng.gamma(shape, 1 / (shape * arrivals.rate_per_s), count)
        case DeterministicArrivals():
            return np.full(count, 1 / arrivals.rate_per_s)
        case ClosedLoop():
            return np.zeros(count)
        case _:
            assert_never(arrivals)


def _lengths(length: Length | None, rng: np.random.Generator, count: int) -> Ints:
    assert length is not None, "the schema requires lengths without a trace"
    return length_law(length).draw(rng, count)


def _blocks(
    prefix: SharedPrefix | None, inputs: Ints, rng: np.random.Generator, block_tokens: int
) -> tuple[Ints, Ints]:
    """Offsets and ids of the shared blocks: group g owns the ids g·n … g·n + n − 1, in order."""
    count = len(inputs)
    if prefix is None:
        return np.zeros(count + 1, np.int64), np.zeros(0, np.int64)
    groups = rng.integers(prefix.groups, size=count)
    shares = rng.random(count) < prefix.share
    blocks = np.where(shares, np.minimum(inputs, prefix.tokens) // block_tokens, 0)
    offsets = np.concatenate(([0], np.cumsum(blocks)))
    position = np.arange(offsets[-1]) - np.repeat(offsets[:-1], blocks)
    return offsets, np.repeat(groups * (prefix.tokens // block_tokens), blocks) + position
