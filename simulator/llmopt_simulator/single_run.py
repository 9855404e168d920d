"""Intervals from one long run, where there are no replications: a replayed trace, an endless simulation.

Neighbouring requests share queues and batches, so their latencies are not independent observations; the means
of long batches nearly are. Where even those are correlated the run is too short to say how sure it is.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmopt_simulator.intervals import Interval
from llmopt_simulator.measure import PERCENTS, latency_table
from llmopt_simulator.order_statistics import BATCHES, batch_correlation, batched_mean, batched_percentile
from llmopt_simulator.run import Run
from llmopt_simulator.saturation import is_saturated

MOST_CORRELATION: Final = 3.0 / math.sqrt(BATCHES)
"""Of neighbouring batch means: independent ones exceed it in one run of a thousand."""


def run_intervals(run: Run, confidence: float = 0.95) -> dict[str, Interval]:
    """Mean and percentiles of TTFT, TPOT, E2E and queueing by metric name, each with its interval.

    Over the measured requests in order of arrival. The whole line where the run is too short for an
    interval (correlated batch means); values are infinite in a saturated run.
    """
    measured = run.window.members
    found: dict[str, Interval] = {}
    for name, values in latency_table(run).items():
        sample = np.full(1, np.inf) if is_saturated(run) else values[measured]
        found |= _statistics(name, sample[~np.isnan(sample)], confidence)
    return found


def _statistics(name: str, sample: NDArray[np.float64], confidence: float) -> dict[str, Interval]:
    intervals = {f"{name}_mean_s": batched_mean(sample, confidence)} | {
        f"{name}_p{percent}_s": batched_percentile(sample, percent, confidence) for percent in PERCENTS
    }
    finite = sample[np.isfinite(sample)]
    if len(finite) and batch_correlation(finite) <= MOST_CORRELATION:
        return intervals
    return {key: Interval(interval.value, -math.inf, math.inf) for key, interval in intervals.items()}
