"""Where a request's time goes: waiting, prefill, KV transfer, decode.

Four moments cut the life of a request, each phase ends where the next begins, so the phases of a request sum
to its E2E latency. What a phase holds: *queue*, arrival to admission; *prefill*, admission to the end of its
prefill, other requests' work in the same steps included; *transfer*, to the first token on the decode
side, waiting for room there included (nothing in aggregated serving); *decode*, first token to last.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmopt_simulator.run import Run

MOMENTS: Final = ("arrival_s", "admitted_s", "prefilled_s", "first_token_s", "finish_s")
"""Moments of a request in order, as columns of a run."""

PHASES: Final = ("queue", "prefill", "transfer", "decode")
"""What lies between one moment and the next."""


def phases(run: Run) -> dict[str, NDArray[np.float64]]:
    """Seconds that every request spent in each phase, shape (n,); NaN for rejected requests."""
    moments = [np.where(run.finished, run.column(name), np.nan) for name in MOMENTS]
    return {name: moments[i + 1] - moments[i] for i, name in enumerate(PHASES)}


def phase_shares(run: Run) -> dict[str, float]:
    """Share of the measured requests' time that each phase took: `queue_share`, …; they sum to 1."""
    measured = run.window.members
    seconds = {name: float(np.nansum(values[measured])) for name, values in phases(run).items()}
    total = math.fsum(seconds.values())  # Python's own sum differs between its versions
    return {f"{name}_share": spent / total if total > 0.0 else np.nan for name, spent in seconds.items()}
