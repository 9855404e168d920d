"""Requests as arrays: what the simulator replays and traces are read into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """`n` requests in arrival order, as contiguous arrays.

    `block_ids[block_offsets[i]:block_offsets[i + 1]]` name the full blocks of `block_tokens` tokens at the
    head of request `i`'s input that other requests may share. Ids are chained: one id stands for a block and
    everything before it, so equal ids mean equal prefixes (as Mooncake's `hash_ids`). Input beyond those
    blocks is the request's own and never hits.
    """

    arrival_s: NDArray[np.float64]
    """Shape (n,), non-decreasing; ignored in a closed loop."""
    input_tokens: NDArray[np.int64]
    """Shape (n,), at least 1."""
    output_tokens: NDArray[np.int64]
    """Shape (n,), at least 1; the first is emitted by prefill."""
    block_offsets: NDArray[np.int64]
    """Shape (n + 1,)."""
    block_ids: NDArray[np.int64]
    """Dense non-negative ids, shape (block_offsets[-1],)."""
    block_tokens: int
    class_ids: NDArray[np.int64] | None = None
    """Class of each request, shape (n,), counted from 0 in the order of the problem file; None: one class."""

    def __len__(self) -> int:
        """Number of requests."""
        return len(self.arrival_s)


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """Requests and how they come: open loop at their arrival times, or closed loop, where users may think."""

    requests: Requests
    concurrency: int | None = None
    """Closed loop: that many users, each sending its next request when its last one ends."""
    think_s: NDArray[np.float64] | None = None
    """Seconds between the end of the answer that a request waits for and its own arrival, shape (n,); None:
    no time. In a closed loop a request waits for the one that its user sent before, the first of each user
    for time 0; in an open loop for the one that it `follows`.
    """
    follows: NDArray[np.int64] | None = None
    """Open loop: the earlier request, by index, whose answer a request waits for, shape (n,), or -1; None: no
    request waits. A request that waits arrives when that answer has ended and `think_s` is over; its
    `arrival_s` is what that would be if answers took no time, for those who replay without waiting.
    """
