"""The names that a problem's own formulas may read, each with the range of its value in this problem.

Ranges are wide and finite: a latency lies between a microsecond and eleven days, a pool has no more
accelerators than there are. They serve to refuse formulas that divide by zero or have no bound.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..deployment import Role
from ..expressions.intervals import Interval
from ..metrics_catalog import METRICS, STATISTICS, metric_key
from .arrivals import ClosedLoop, TraceArrivals
from .resources import Hardware
from .search import Search
from .traffic import Traffic

ROLES: tuple[Role, ...] = ("serve", "prefill", "decode")
DECISIONS = ("tp", "pp", "ep", "dp", "instances", "chunk_tokens", "batch_cap", "gpus")
"""What a formula may read of a pool, as `decode_tp`; 0 where the deployment has no such pool."""
MOST_TOKENS = 1e9

_METRIC_RANGES: Mapping[str, Interval] = {
    "ttft": (1e-6, 1e6),
    "tpot": (1e-6, 1e6),
    "itl": (1e-6, 1e6),
    "e2e": (1e-6, 1e6),
    "queueing": (0.0, 1e6),
    "throughput_tokens_per_s": (1e-6, 1e12),
    "throughput_requests_per_s": (1e-6, 1e12),
    "goodput": (0.0, 1e12),
    "cost_per_million_output_tokens": (0.0, 1e15),
    "power": (1e-3, 1e12),
    "energy_per_output_token": (1e-12, 1e12),
    "peak_memory": (1.0, 1e15),
    "memory_fraction": (1e-6, 1.0),
    "compute_utilization": (0.0, 1.0),
    "bandwidth_utilization": (0.0, 1.0),
    "network_utilization": (0.0, 1.0),
}


def known_names(hardware: Hardware, search: Search, traffic: Traffic) -> dict[str, Interval]:
    """Range of every name that the formulas of a problem may read, their own names left out."""
    return _metrics(hardware) | _decisions(hardware, search) | _traffic(traffic)


def _metrics(hardware: Hardware) -> dict[str, Interval]:
    offers = hardware.accelerators
    ranges = {
        **_METRIC_RANGES,
        "gpus": (1.0, float(sum(offer.count for offer in offers))),
        "cost_per_hour": (
            min(offer.price_usd_per_h for offer in offers),
            sum(offer.count * offer.price_usd_per_h for offer in offers),
        ),
    }
    return {
        metric_key(info.name, statistic): ranges[info.name]
        for info in METRICS.values()
        for statistic in (STATISTICS if info.needs_statistic else (None,))
    }


def _decisions(hardware: Hardware, search: Search) -> dict[str, Interval]:
    gpus = float(sum(offer.count for offer in hardware.accelerators))
    tokens = {
        "chunk_tokens": float(max(search.chunk_tokens.values)),
        "batch_cap": float(max(search.batch_cap.values)),
    }
    modes = search.modes
    return {
        f"{role}_{name}": _decision(role, tokens.get(name, gpus), modes)
        for role in ROLES
        for name in DECISIONS
    }


def _decision(role: Role, most: float, modes: tuple[str, ...]) -> Interval:
    mode = "aggregated" if role == "serve" else "disaggregated"
    if mode not in modes:
        return 0.0, 0.0
    return (1.0, max(1.0, most)) if len(modes) == 1 else (0.0, most)


def _traffic(traffic: Traffic) -> dict[str, Interval]:
    lengths = {"input_tokens": (1.0, MOST_TOKENS), "output_tokens": (1.0, MOST_TOKENS)}
    arrivals = traffic.arrivals
    closed = isinstance(arrivals, ClosedLoop) or (
        isinstance(arrivals, TraceArrivals) and arrivals.concurrency is not None
    )
    load = {"concurrency": (1.0, 1e9)} if closed else {"request_rate_per_s": (1e-9, 1e12)}
    return lengths | load
