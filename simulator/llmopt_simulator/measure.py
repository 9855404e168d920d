"""Metrics of one run.

A metric's name carries statistic and unit: `ttft_p95_s`, `itl_mean_s`, `throughput_tokens_per_s`. Latencies
are of the requests in the measured window; a request that was rejected waited for ever. A run whose
backlog grows without bound has no steady state, so its latencies are infinite and `saturated` is 1; its
throughput is the capacity that it reached. Where requests have classes, every class has its own latencies,
throughput, goodput and attainment too: `class0_ttft_p95_s`, ….
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmopt_simulator.intervals import percentiles
from llmopt_simulator.kernel import state as k
from llmopt_simulator.levels import LatencyTable, ServiceLevel, attained, class_ids, class_prefix, classes
from llmopt_simulator.pools import pool_metrics, stage_loads
from llmopt_simulator.run import Run
from llmopt_simulator.saturation import backlog_growth
from llmopt_simulator.shares import phase_shares

PERCENTS: Final = (50, 90, 95, 99)
"""Percentiles of every latency."""

LATENCIES: Final = ("itl", "ttft", "tpot", "e2e", "queueing")
"""The latencies: inter-token, first token, per output token, whole request, arrival to admission."""


def metrics(run: Run, levels: Sequence[ServiceLevel] = ()) -> dict[str, float]:
    """Every metric of a run by name; goodput and attainment are those of `levels`."""
    latencies, growth = latency_table(run), backlog_growth(run)
    saturated = growth > 0.0
    good = attained(run.workload.requests, run.finished, latencies, levels)
    everyone = np.ones(len(good), np.bool_)
    values = _itl_metrics(run, saturated) | _latency_metrics(run, latencies, everyone, saturated)
    values |= _rates(run, good, everyone) | _run_metrics(run, growth)
    ids = class_ids(run.workload.requests)
    for number in classes(run.workload.requests, levels):
        members = ids == number
        own = _latency_metrics(run, latencies, members, saturated) | _rates(run, good, members)
        values |= {class_prefix(number) + name: value for name, value in own.items()}
    return values | _cache_metrics(run) | pool_metrics(run) | stage_loads(run)


def latency_table(run: Run) -> dict[str, NDArray[np.float64]]:
    """`ttft`, `tpot`, `e2e` and `queueing` of every request in seconds, shape (n,).

    Infinite for rejected requests; `tpot` is NaN for requests with a single output token.
    """
    first, finish, arrival = run.column("first_token_s"), run.column("finish_s"), run.column("arrival_s")
    after_first = run.column("output_tokens") - 1.0
    tpot = np.divide(finish - first, after_first, out=np.full(len(first), np.nan), where=after_first > 0)
    table = {"ttft": first - arrival, "tpot": tpot, "e2e": finish - arrival}
    table["queueing"] = run.column("admitted_s") - arrival
    return {name: np.where(run.finished, values, np.inf) for name, values in table.items()}


def itl_percentile(histogram: NDArray[np.int64], percent: float) -> float:
    """Percentile of a histogram of inter-token latencies: the centre of its bin, exact within 0.2%."""
    total = int(histogram.sum())
    if total == 0:
        return math.nan
    bin_ = int(np.searchsorted(np.cumsum(histogram), math.ceil(total * percent / 100.0)))
    edges = (np.array([bin_, bin_ + 1]) + k.ITL_FIRST_BIN << k.ITL_BIN_BITS).view(np.float64)
    return float(edges.mean())


def _statistics() -> list[str]:
    return ["mean", *(f"p{percent}" for percent in PERCENTS)]


def _latency_metrics(
    run: Run, latencies: LatencyTable, members: NDArray[np.bool_], saturated: bool
) -> dict[str, float]:
    if saturated:
        return {f"{name}_{statistic}_s": math.inf for name in latencies for statistic in _statistics()}
    values = {}
    for name, all_values in latencies.items():
        measured = run.window.members
        sample = all_values[measured][members[measured]]
        sample = sample[~np.isnan(sample)]
        values[f"{name}_mean_s"] = float(np.mean(sample)) if len(sample) else math.nan
        found = zip(PERCENTS, percentiles(sample, PERCENTS), strict=True)
        values |= {f"{name}_p{percent}_s": value for percent, value in found}
    return values


def _itl_metrics(run: Run, saturated: bool) -> dict[str, float]:
    if saturated:
        return {f"itl_{statistic}_s": math.inf for statistic in _statistics()}
    window = run.window
    histogram = window.closes.itl - window.opens.itl
    tokens = int(histogram.sum())
    mean = (window.closes.itl_s - window.opens.itl_s) / tokens if tokens else math.nan
    return {"itl_mean_s": mean} | {f"itl_p{p}_s": itl_percentile(histogram, p) for p in PERCENTS}


def _rates(run: Run, good: NDArray[np.bool_], members: NDArray[np.bool_]) -> dict[str, float]:
    window, finish = run.window, run.column("finish_s")
    inside = members & (finish > window.opens.time_s) & (finish <= window.closes.time_s)
    measured = np.zeros(len(members), np.bool_)
    measured[window.members] = members[window.members]
    counted = bool(measured.any())
    return {
        "throughput_requests_per_s": window.per_second(inside.sum()),
        "goodput_requests_per_s": window.per_second((inside & good).sum()),
        "slo_attainment": float(np.mean(good[measured])) if counted else math.nan,
        "rejected_share": float(np.mean(~run.finished[measured])) if counted else math.nan,
    }


def _run_metrics(run: Run, growth: float) -> dict[str, float]:
    """What only the whole run has: its token rate, its state, what was cut and where time went."""
    window = run.window
    tokens = window.totals()[:, k.DECODE_TOKENS].sum() + window.closes.prefilled - window.opens.prefilled
    shares = {name: math.nan if growth > 0.0 else share for name, share in phase_shares(run).items()}
    return shares | {
        "throughput_tokens_per_s": window.per_second(tokens),
        "saturated": float(growth > 0.0),
        "backlog_growth_per_s": growth,
        "warmup_requests": float(window.start),
        "measured_requests": float(window.stop - window.start),
    }


def _cache_metrics(run: Run) -> dict[str, float]:
    measured = np.zeros(len(run.finished), np.bool_)
    measured[run.window.members] = True
    measured &= run.finished
    hits, inputs = run.hit_tokens[measured], run.column("input_tokens")[measured]
    loaded = run.host_hit_tokens[measured]
    return {
        "hit_rate": float(hits.sum() / inputs.sum()) if len(hits) else 0.0,
        "host_hit_rate": float(loaded.sum() / inputs.sum()) if len(hits) else 0.0,
        "matched_tokens_mean": float(hits.mean()) if len(hits) else 0.0,
    }
