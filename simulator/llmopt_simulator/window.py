"""The measured part of a run: which requests count, and the sums between two moments.

Metrics ask for a steady system. The first requests meet an empty one and are cut (a given share, or what
MSER-5 finds); the window closes when the last request arrives, because after that nothing new competes.
Sums over steps are taken as differences between the two moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmopt_problems.traffic.requests import Workload
from llmopt_simulator.kernel import state as k
from llmopt_simulator.warmup import mser

PLACES: Final = 25
"""Places where a window may open that a rule looks for: every 2% of the requests, up to half of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The sums of a run at one moment."""

    time_s: float
    arrived: int
    """Requests that have come."""
    totals: NDArray[np.float64]
    """Shape (engines, TOTALS): columns as in `kernel.state`."""
    itl: NDArray[np.int64]
    """Shape (ITL_BINS,)."""
    itl_s: float
    prefilled: int
    moved_bytes: float
    near_bytes: float
    """Of KV transfers that have entered their links."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Arrivals number `start` … `stop - 1` count for latencies, the sums between two moments for rates."""

    start: int
    stop: int
    members: slice | NDArray[np.intp]
    """Indexes of these requests, in order of arrival."""
    opens: Snapshot
    closes: Snapshot

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.closes.time_s - self.opens.time_s

    def per_second(self, quantity: float) -> float:
        """A rate over the window; 0 when no time passed because nothing could be served."""
        return float(quantity) / self.seconds if self.seconds > 0.0 else 0.0

    def totals(self) -> NDArray[np.float64]:
        """The totals of every engine inside the window, shape (engines, TOTALS)."""
        return self.closes.totals - self.opens.totals


def pauses(workload: Workload, warmup_fraction: float | None) -> tuple[int, ...]:
    """Numbers of the requests before whose arrival the sums are kept: where a window may open, and the close.

    A given warm-up opens at one place. For a rule that reads the whole run, `PLACES` of the first half are
    kept. In a closed loop the last requests are cut too: once a user has no next request the
    concurrency falls, so the last `concurrency` requests see an emptier system.
    """
    count = len(workload.requests)
    stop = count - (workload.concurrency or 0)
    if warmup_fraction is None:
        starts = sorted({count * place // (2 * PLACES) for place in range(PLACES + 1)})
    else:
        starts = [min(int(count * warmup_fraction), count - 1)]
    return (*starts, stop if stop > starts[-1] + 1 else count)


def last_in_sequence(workload: Workload) -> int:
    """The last request before which a run can pause.

    In an open loop, the last that follows no other: after it conversations go on, but none begins.
    """
    if workload.concurrency is not None or workload.follows is None:
        return len(workload.requests) - 1
    return int(np.flatnonzero(workload.follows < 0)[-1])


def members(workload: Workload, requests: k.Records, start: int, stop: int) -> slice | NDArray[np.intp]:
    """Indexes of arrivals number `start` … `stop - 1`: requests come in order, but for those who think."""
    if workload.follows is None and workload.think_s is None:
        return slice(start, stop)
    return np.argsort(requests["arrival_s"], kind="stable")[start:stop]


def found_start(requests: k.Records, moments: Sequence[Snapshot]) -> Snapshot:
    """The first of `moments` at or after the cut that MSER-5 finds in TTFT and in E2E latency.

    Both are series over the requests in order of arrival; requests that were never served say nothing.
    """
    order = np.argsort(requests["arrival_s"], kind="stable")
    served = np.flatnonzero(requests["status"][order] == k.FINISHED)
    series = [(requests[end] - requests["arrival_s"])[order][served] for end in ("first_token_s", "finish_s")]
    cut = max(mser(values) for values in series)
    number = int(served[cut]) if cut else 0
    return next((moment for moment in moments if moment.arrived >= number), moments[-1])


def snapshot(state: k.State, time_s: float) -> Snapshot:
    """The sums up to now; steps in progress count with the time that they have taken."""
    world = state.world[0]
    totals = state.totals + _in_progress(state, time_s)
    sums = float(world["itl_s"]), int(world["prefilled"])
    moved = float(world["moved_bytes"]), float(world["near_bytes"])
    return Snapshot(time_s, int(world["arrived"]), totals, state.itl.copy(), *sums, *moved)


def _in_progress(state: k.State, time_s: float) -> NDArray[np.float64]:
    """Busy time of the steps that are under way: without it a window could hold more of it than time."""
    totals = np.zeros_like(state.totals)
    for e in np.flatnonzero(state.engines["busy"]) if time_s < np.inf else ():
        engine = state.engines[e]
        done = engine["run_done"]
        elapsed_s = time_s - (engine["run_start_s"] if done == 0 else state.run_ends_s[e, done - 1])
        totals[e, k.BUSY_S] = elapsed_s
        totals[e, k.BATCH_S] = elapsed_s * engine["decodes"]
        totals[e, k.PREFILL_S] = elapsed_s * (engine["prefill"] > 0)
        totals[e, k.DECODE_S] = elapsed_s * (engine["decodes"] > 0)
    return totals


def empty_snapshot(state: k.State) -> Snapshot:
    """The sums before anything has happened."""
    return Snapshot(0.0, 0, np.zeros_like(state.totals), np.zeros_like(state.itl), 0.0, 0, 0.0, 0.0)
