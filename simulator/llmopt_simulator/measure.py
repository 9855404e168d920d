"""Metrics of one run, and the parameters that formulas take over from it.

A metric's name carries statistic and unit: `ttft_p95_s`, `itl_mean_s`, `throughput_tokens_per_s`. Latencies
are of the requests in the measured window; a request that was rejected waited for ever. A run whose
backlog grows without bound has no steady state, so its latencies are infinite and `saturated` is 1; its
throughput is the capacity that it reached.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmopt_problems.deployment import PoolDeployment
from llmopt_simulator.intervals import percentile
from llmopt_simulator.kernel import state as k
from llmopt_simulator.run import Run
from llmopt_simulator.service import PoolService

PERCENTS: Final = (50, 90, 95, 99)
"""Percentiles of every latency."""

LATENCIES: Final = ("itl", "ttft", "tpot", "e2e", "queueing")
"""The latencies: inter-token, first token, per output token, whole request, arrival to admission."""


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """A bound on one statistic of one latency, in seconds."""

    metric: str
    """`ttft`, `tpot`, `itl`, `e2e` or `queueing`."""
    statistic: str
    """`mean`, `p50`, `p90`, `p95` or `p99`."""
    at_most_s: float

    @property
    def key(self) -> str:
        """The metric's name."""
        return f"{self.metric}_{self.statistic}_s"


def metrics(run: Run, levels: Sequence[ServiceLevel] = ()) -> dict[str, float]:
    """Every metric of a run by name; `goodput_requests_per_s` and `slo_attainment` are those of `levels`.

    A request attains when it meets the bound of every level, whatever its statistic. Inter-token
    latencies are not kept by request, so an `itl` bound is held against the request's TPOT.
    """
    latencies = latency_table(run)
    values = {} if is_saturated(run) else _latency_metrics(run, latencies)
    if not values:
        values = {f"{name}_{statistic}_s": math.inf for name in LATENCIES for statistic in _statistics()}
    values |= _rates(run, latencies, levels)
    values |= _cache_metrics(run)
    values |= _pool_metrics(run)
    return values


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
    arrival, finish = run.column("arrival_s")[run.finished], np.sort(run.column("finish_s")[run.finished])
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


def itl_percentile(histogram: NDArray[np.int64], percent: float) -> float:
    """Percentile of a histogram of inter-token latencies: the centre of its bin, exact within 0.25%."""
    total = int(histogram.sum())
    if total == 0:
        return math.nan
    bin_ = int(np.searchsorted(np.cumsum(histogram), math.ceil(total * percent / 100.0)))
    return k.ITL_FLOOR_S * math.exp((bin_ + 0.5) / k.ITL_BINS_PER_E)


def _statistics() -> list[str]:
    return ["mean", *(f"p{percent}" for percent in PERCENTS)]


def _latency_metrics(run: Run, latencies: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    values = _itl_metrics(run)
    for name, all_values in latencies.items():
        sample = all_values[run.window.start : run.window.stop]
        sample = sample[~np.isnan(sample)]
        values[f"{name}_mean_s"] = float(np.mean(sample)) if len(sample) else math.nan
        values |= {f"{name}_p{percent}_s": percentile(sample, percent) for percent in PERCENTS}
    return values


def _itl_metrics(run: Run) -> dict[str, float]:
    window = run.window
    histogram = window.closes.itl - window.opens.itl
    tokens = int(histogram.sum())
    mean = (window.closes.itl_s - window.opens.itl_s) / tokens if tokens else math.nan
    return {"itl_mean_s": mean} | {f"itl_p{p}_s": itl_percentile(histogram, p) for p in PERCENTS}


def _rates(
    run: Run, latencies: Mapping[str, NDArray[np.float64]], levels: Sequence[ServiceLevel]
) -> dict[str, float]:
    window, finish = run.window, run.column("finish_s")
    good = np.all([_meets(latencies, level) for level in levels] or [run.finished], axis=0)
    inside = (finish > window.opens.time_s) & (finish <= window.closes.time_s)
    measured = slice(window.start, window.stop)
    tokens = window.totals()[:, k.DECODE_TOKENS].sum() + window.closes.prefilled - window.opens.prefilled
    return {
        "throughput_tokens_per_s": window.per_second(tokens),
        "throughput_requests_per_s": window.per_second(inside.sum()),
        "goodput_requests_per_s": window.per_second((inside & good).sum()),
        "slo_attainment": float(np.mean(good[measured])),
        "rejected_share": float(np.mean(~run.finished[measured])),
        "saturated": float(is_saturated(run)),
        "backlog_growth_per_s": backlog_growth(run),
    }


def _meets(latencies: Mapping[str, NDArray[np.float64]], level: ServiceLevel) -> NDArray[np.bool_]:
    values = latencies["tpot" if level.metric == "itl" else level.metric]
    return (values <= level.at_most_s) | np.isnan(values)


def _cache_metrics(run: Run) -> dict[str, float]:
    measured = np.zeros(len(run.finished), np.bool_)
    measured[run.window.start : run.window.stop] = True
    measured &= run.finished
    hits, inputs = run.hit_tokens[measured], run.column("input_tokens")[measured]
    return {
        "hit_rate": float(hits.sum() / inputs.sum()) if len(hits) else 0.0,
        "matched_tokens_mean": float(hits.mean()) if len(hits) else 0.0,
    }


def _pool_metrics(run: Run) -> dict[str, float]:
    """Utilisation, batch and KV use of every pool (names end in its role) and utilisation of the whole."""
    values: dict[str, float] = {}
    gpus = np.array([pool.gpus for pool in run.deployment.pools], np.float64)
    shares: dict[str, list[float]] = {}
    for number, (pool, service) in enumerate(zip(run.deployment.pools, run.service.pools, strict=True)):
        used = _utilisation(run, number, service)
        values |= {f"{name}_{pool.role}": share for name, share in used.items()}
        values |= _occupancy(run, number, pool, service)
        for name, share in used.items():
            shares.setdefault(name, []).append(share)
    return values | {name: float(np.average(parts, weights=gpus)) for name, parts in shares.items()}


def _utilisation(run: Run, number: int, service: PoolService) -> dict[str, float]:
    """Shares of an accelerator's peaks, averaged over the pool, and of time that engines were stepping.

    The step law counts one accelerator of each of `pp` stages, and an instance has `pp` engines: the sum
    over engines divided by their number is what one accelerator did.
    """
    window = run.window
    totals = window.totals()[run.state.engines["pool"] == number].mean(axis=0)
    return {
        "busy_share": window.per_second(totals[k.BUSY_S]),
        "compute_utilisation": window.per_second(totals[k.FLOPS]) / service.flops_per_s,
        "bandwidth_utilisation": window.per_second(totals[k.HBM_BYTES]) / service.hbm_bytes_per_s,
        "network_utilisation": window.per_second(totals[k.NETWORK_BYTES]) / service.network_bytes_per_s,
    }


def _occupancy(run: Run, number: int, pool: PoolDeployment, service: PoolService) -> dict[str, float]:
    ranks = run.state.ranks[run.state.engines["pool"][run.state.ranks["engine"]] == number]
    totals = run.window.totals()[run.state.engines["pool"] == number].sum(axis=0)
    batch = totals[k.BATCH_S] / totals[k.BUSY_S] / pool.layout.dp if totals[k.BUSY_S] > 0.0 else 0.0
    return {
        f"mean_batch_{pool.role}": float(batch),
        f"peak_batch_{pool.role}": float(ranks["peak_batch"].max()),
        f"peak_kv_tokens_{pool.role}": float(ranks["peak_pages"].max() * service.page_tokens),
    }
