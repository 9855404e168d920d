"""The measured part of a run: which requests count, and the sums between two moments.

Metrics ask for a steady system. The first requests meet an empty one and are cut; the window closes when
the last request arrives, because after that nothing new competes. Sums over steps are taken as differences
between the two moments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmopt_problems.traffic.requests import Workload
from llmopt_simulator.kernel import state as k


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The sums of a run at one moment."""

    time_s: float
    totals: NDArray[np.float64]
    """Shape (engines, TOTALS): columns as in `kernel.state`."""
    itl: NDArray[np.int64]
    """Shape (ITL_BINS,)."""
    itl_s: float
    prefilled: int


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Requests `start` … `stop - 1` count for latencies, the sums between `opens` and `closes` for rates."""

    start: int
    stop: int
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


def measured_range(workload: Workload, warmup_fraction: float) -> tuple[int, int]:
    """Numbers of the first request that counts and of the first one after them.

    In a closed loop the last requests are cut too: once a user has no next request the concurrency falls,
    so the last `concurrency` requests see an emptier system.
    """
    count = len(workload.requests)
    start = min(int(count * warmup_fraction), count - 1)
    stop = count - (workload.concurrency or 0)
    return start, (stop if stop > start + 1 else count)


def snapshot(state: k.State, time_s: float) -> Snapshot:
    """The sums up to now."""
    world = state.world[0]
    return Snapshot(
        time_s, state.totals.copy(), state.itl.copy(), float(world["itl_s"]), int(world["prefilled"])
    )


def empty_snapshot(state: k.State) -> Snapshot:
    """The sums before anything has happened."""
    return Snapshot(0.0, np.zeros_like(state.totals), np.zeros_like(state.itl), 0.0, 0)
