"""Whether a run ever was in a steady state.

Where requests come faster than they are served the backlog grows for ever, and every mean or percentile says
only how long the run was. Such a run reports the rate of that growth instead.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from llmopt_simulator.run import Run


def is_saturated(run: Run) -> bool:
    """Whether the backlog of an open loop grew over the second half of the arrivals beyond what chance does.

    In a steady system the backlog's change over m arrivals is random with a variance of about
    m (1 + c²), c² the squared variation of the gaps; saturated is a growth above three deviations and above
    1% of these arrivals. A closed loop cannot saturate.
    """
    return backlog_growth(run) > 0.0


def backlog_growth(run: Run) -> float:
    """Requests a second by which the backlog of a saturated open loop grows; 0 when it is not saturated."""
    if run.workload.concurrency is not None:
        return 0.0
    arrival, finish = (np.sort(run.column(name)[run.finished]) for name in ("arrival_s", "finish_s"))
    if run.workload.follows is not None:  # later, conversations end and none begins
        arrival = arrival[arrival <= run.window.closes.time_s]
    half = len(arrival) // 2
    if half < 10 or arrival[-1] <= arrival[half]:
        return 0.0
    backlog = np.arange(len(arrival)) - np.searchsorted(finish, arrival, side="right")
    quarter = half // 2
    growth = float(backlog[-quarter:].mean() - backlog[half : half + quarter].mean()) * 2.0
    noise = 3.0 * math.sqrt(half * (1.0 + squared_variation(np.diff(arrival))))
    if growth <= max(noise, 0.01 * half):
        return 0.0
    return growth / float(arrival[-1] - arrival[half])


def squared_variation(values: NDArray[np.float64]) -> float:
    """Variance over squared mean; 0 for fewer than two values or a mean of zero."""
    mean = float(np.mean(values)) if len(values) > 1 else 0.0
    return float(np.var(values)) / mean**2 if mean > 0.0 else 0.0
