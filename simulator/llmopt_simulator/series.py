"""Time series of a run: what happened in each of equal bins of time.

A state (waiting, decoding, …) is an interval of a request's life, so its mean number over a bin is a sum of
overlaps: exact, no sampling. Tokens count in the bin in which they come out, at the end of their step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmopt_simulator.errors import SimulationError
from llmopt_simulator.kernel import state as k
from llmopt_simulator.run import Run
from llmopt_simulator.shares import MOMENTS
from llmopt_simulator.steps import logged_steps

Column = NDArray[np.float64]


def time_series(run: Run, bins: int = 100) -> dict[str, Column]:
    """Columns of shape (bins,) over equal bins from 0 to the end of the run.

    `time_s` (start of the bin); mean numbers `waiting`, `prefilling`, `transferring`, `decoding` and
    `running` (prefilling and decoding); `kv_pages` in use by engines that are stepping (mean over time) and
    `busy_share` of all engines; rates `arrivals_per_s`, `completions_per_s`, `input_tokens_per_s` (computed),
    `output_tokens_per_s`. Repeats the run for its steps. Raises `SimulationError` for fewer than one bin.
    """
    if bins < 1:
        raise SimulationError(f"a time series of {bins} bins: give 1 or more")
    edges = np.linspace(0.0, run.makespan_s, bins + 1)
    width = edges[1] if edges[1] > 0.0 else 1.0
    columns = {"time_s": edges[:-1]} | _states(run, edges, width)
    columns["running"] = columns["prefilling"] + columns["decoding"]
    return columns | _requests(run, edges, width) | _steps(run, edges, width)


def _states(run: Run, edges: Column, width: float) -> dict[str, Column]:
    moments = [run.column(name)[run.finished] for name in MOMENTS]
    names = ("waiting", "prefilling", "transferring", "decoding")
    return {
        name: _integral(edges, begin, end) / width
        for name, begin, end in zip(names, moments[:-1], moments[1:], strict=True)
    }


def _requests(run: Run, edges: Column, width: float) -> dict[str, Column]:
    return {
        "arrivals_per_s": _count(edges, run.column("arrival_s")) / width,
        "completions_per_s": _count(edges, run.column("finish_s")[run.finished]) / width,
    }


def _steps(run: Run, edges: Column, width: float) -> dict[str, Column]:
    steps = logged_steps(run)
    begin, end = steps["start_s"], steps["end_s"]
    first_tokens = _count(edges, run.column("first_token_s")[run.finished])
    return {
        "kv_pages": _integral(edges, begin, end, steps["pages"]) / width,
        "busy_share": _integral(edges, begin, end) / width / len(run.state.engines),
        "input_tokens_per_s": _count(edges, end, steps["prefill_tokens"]) / width,
        "output_tokens_per_s": (_count(edges, end, steps["made"]) + first_tokens) / width,
    }


def _count(edges: Column, moments: Column, weights: k.Records | None = None) -> Column:
    """Sum of weights (1 each) of the moments in every bin; the last bin includes its end."""
    return np.asarray(np.histogram(moments, edges, weights=weights)[0], np.float64)


def _integral(edges: Column, begin: Column, end: Column, weights: k.Records | None = None) -> Column:
    """Integral over every bin of the number of intervals [begin, end) that hold, each with its weight.

    Up to time t an interval has contributed (t − begin)⁺ − (t − end)⁺.
    """
    weight = np.ones(len(begin)) if weights is None else np.asarray(weights, np.float64)
    return np.diff(_ramps(edges, begin, weight) - _ramps(edges, end, weight))


def _ramps(times: Column, starts: Column, weight: Column) -> Column:
    """Σ weight · (t − start)⁺ at every time, from sorted starts and running sums."""
    order = np.argsort(starts, kind="stable")
    number = np.concatenate([[0.0], np.cumsum(weight[order])])
    moment = np.concatenate([[0.0], np.cumsum((weight * starts)[order])])
    passed = np.searchsorted(starts[order], times, side="right")
    return np.asarray(times * number[passed] - moment[passed])
