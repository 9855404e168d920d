"""What the page shows beyond the result: one more run of the recommended deployment, and runs of its
neighbours.

The run repeats the problem's traffic under its first seed, so it is one of those that verified the
deployment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llmopt_calibration.step import layout_violations
from llmopt_optimizer.errors import DeploymentError
from llmopt_optimizer.loop.replicating import latency_levels, workload_source
from llmopt_optimizer.loop.service import PoolMemory, Workbench, pool_memory, service_model, workbench
from llmopt_optimizer.scenario import resolve
from llmopt_problems import Problem
from llmopt_problems.deployment import Deployment, PoolDeployment
from llmopt_problems.traffic import Workload
from llmopt_simulator import metrics, request_frame, simulate, time_series

LOADS = (0.25, 0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 2.0)
"""Multiples of the asked load at which the recommended deployment is simulated."""
MINUTE_S = 60.0
BIN_S = 0.5
MOST_BINS = 50_000


@dataclass(frozen=True, slots=True)
class PoolPicture:
    """Memory and use of one pool's accelerators."""

    role: str
    accelerator: str
    hbm_bytes: float
    memory: PoolMemory
    peak_kv_tokens: float
    shares: Mapping[str, float]
    """Of time or of peak: busy, compute, memory bandwidth, links."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A deployment one step away, simulated once."""

    change: str
    gpus: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one run, and its neighbours, say of the recommended deployment."""

    requests: pd.DataFrame
    """Measured requests: one row each, latencies in seconds."""
    minute: Mapping[str, NDArray[np.float64]]
    """Columns of `time_series` over one minute in the middle of the run."""
    pools: tuple[PoolPicture, ...]
    phases: Mapping[str, float]
    """Share of all requests' time in queue, prefill, transfer and decode."""
    loads: Mapping[float, Mapping[str, float]]
    """Metrics at multiples of the asked load; empty for a trace or a closed loop."""
    neighbours: tuple[Neighbour, ...]


def gather(problem: Problem, deployment: Deployment) -> Evidence:
    """Simulate what the page shows of `deployment`."""
    bench = workbench(resolve(problem))
    workload = workload_source(problem)(problem.verification.seed)
    levels = latency_levels(problem)

    def run_of(chosen: Deployment, work: Workload) -> Mapping[str, float]:
        return metrics(
            simulate(work, chosen, service_model(bench, chosen), problem.verification.seed), levels
        )

    run = simulate(workload, deployment, service_model(bench, deployment), problem.verification.seed)
    measured, frame = metrics(run, levels), request_frame(run)
    open_loop = workload.concurrency is None and workload.follows is None
    return Evidence(
        requests=frame[frame["measured"].astype(bool) & frame["served"].astype(bool)],
        minute=_minute(time_series(run, _bins(run.makespan_s))),
        pools=tuple(_picture(bench, pool, measured) for pool in deployment.pools),
        phases={name: measured[f"{name}_share"] for name in ("queue", "prefill", "transfer", "decode")},
        loads={load: run_of(deployment, _scaled(workload, load)) for load in LOADS} if open_loop else {},
        neighbours=tuple(
            Neighbour(change, changed.gpus, run_of(changed, workload))
            for change, changed in _neighbours(bench, deployment)
        ),
    )


def _bins(makespan_s: float) -> int:
    return int(min(MOST_BINS, max(1, round(makespan_s / BIN_S))))


def _minute(series: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """One minute from the middle, or all of a shorter run."""
    times = series["time_s"]
    start = max(0.0, (times[-1] - MINUTE_S) / 2)
    inside = (times >= start) & (times < start + MINUTE_S)
    return {name: column[inside] for name, column in series.items()}


def _scaled(workload: Workload, load: float) -> Workload:
    """The same requests, `load` times as fast."""
    requests = workload.requests
    return replace(workload, requests=replace(requests, arrival_s=requests.arrival_s / load))


def _picture(bench: Workbench, pool: PoolDeployment, measured: Mapping[str, float]) -> PoolPicture:
    suffix = "" if f"busy_share_{pool.role}" not in measured else f"_{pool.role}"
    names = {
        "busy": "busy_share",
        "compute": "compute_utilisation",
        "memory bandwidth": "bandwidth_utilisation",
        "links": "network_utilisation",
    }
    return PoolPicture(
        role=pool.role,
        accelerator=pool.accelerator,
        hbm_bytes=bench.scenario.site(pool.accelerator).accelerator.hbm_bytes,
        memory=pool_memory(bench.scenario, pool),
        peak_kv_tokens=measured.get(f"peak_kv_tokens_{pool.role}", float("nan")),
        shares={shown: measured[name + suffix] for shown, name in names.items()},
    )


def _neighbours(bench: Workbench, deployment: Deployment) -> Iterator[tuple[str, Deployment]]:
    """One instance more or less of each pool, half and twice its batch cap, where the accelerators allow."""
    for index, pool in enumerate(deployment.pools):
        changes = {
            f"{pool.role}: one instance less": replace(pool, instances=pool.instances - 1),
            f"{pool.role}: one instance more": replace(pool, instances=pool.instances + 1),
            f"{pool.role}: half the batch cap": replace(pool, batch_cap=pool.batch_cap // 2),
            f"{pool.role}: twice the batch cap": replace(pool, batch_cap=pool.batch_cap * 2),
        }
        for change, changed in changes.items():
            pools = (*deployment.pools[:index], changed, *deployment.pools[index + 1 :])
            if changed.instances and changed.batch_cap and _possible(bench, changed):
                yield change, replace(deployment, pools=pools)


def _possible(bench: Workbench, pool: PoolDeployment) -> bool:
    try:
        pool_memory(bench.scenario, pool)
    except DeploymentError:
        return False
    copies = bench.scenario.redundant_experts
    return not layout_violations(bench.scenario.model, pool.layout, redundant=copies)
