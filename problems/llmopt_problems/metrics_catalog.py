"""The metrics that service levels and objectives may name: one table for schema, optimizer and reports.

A metric is a name, the dimension of its numbers and the direction in which it is better. Latency metrics are
distributions over requests, so they need a statistic; the others are one number a deployment. `metric_key`
gives the name under which the number travels inside: metric, statistic and unit, such as `ttft_p95_s`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from .units import Dimension

Statistic = Literal["mean", "p50", "p90", "p95", "p99"]
MetricName = Literal[
    "ttft",
    "tpot",
    "itl",
    "e2e",
    "queueing",
    "throughput_tokens_per_s",
    "throughput_requests_per_s",
    "goodput",
    "cost_per_million_output_tokens",
    "cost_per_hour",
    "gpus",
    "power",
    "energy_per_output_token",
    "peak_memory",
    "memory_fraction",
    "compute_utilization",
    "bandwidth_utilization",
    "network_utilization",
]
Better = Literal["lower", "higher", "either"]

STATISTICS: tuple[Statistic, ...] = get_args(Statistic)


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """One metric."""

    name: MetricName
    needs_statistic: bool
    dimension: Dimension
    better: Better
    suffix: str
    """What `metric_key` appends so that the key carries its unit; empty when the name already does."""
    description: str


_TABLE = (
    MetricInfo("ttft", True, "time", "lower", "s", "Time to first token: arrival to first token."),
    MetricInfo(
        "tpot",
        True,
        "time",
        "lower",
        "s",
        "Time per output token: (E2E - TTFT) / (output tokens - 1), a request.",
    ),
    MetricInfo("itl", True, "time", "lower", "s", "Inter-token latency: gap between consecutive tokens."),
    MetricInfo("e2e", True, "time", "lower", "s", "End-to-end latency: arrival to last token."),
    MetricInfo("queueing", True, "time", "lower", "s", "Arrival to the start of the first prefill step."),
    MetricInfo(
        "throughput_tokens_per_s",
        False,
        "token_rate",
        "higher",
        "",
        "Output tokens a second of the deployment.",
    ),
    MetricInfo(
        "throughput_requests_per_s", False, "request_rate", "higher", "", "Requests finished a second."
    ),
    MetricInfo(
        "goodput",
        False,
        "request_rate",
        "higher",
        "requests_per_s",
        "Requests a second that meet every latency service level.",
    ),
    MetricInfo(
        "cost_per_million_output_tokens", False, "money", "lower", "", "Dollars for a million output tokens."
    ),
    MetricInfo("cost_per_hour", False, "price", "lower", "", "Dollars an hour for all accelerators."),
    MetricInfo("gpus", False, "count", "lower", "", "Accelerators in use."),
    MetricInfo("power", False, "power", "lower", "w", "Mean electrical power of all accelerators."),
    MetricInfo("energy_per_output_token", False, "energy", "lower", "j", "Joules of one output token."),
    MetricInfo("peak_memory", False, "memory", "lower", "bytes", "Largest memory use of any accelerator."),
    MetricInfo(
        "memory_fraction",
        False,
        "share",
        "lower",
        "",
        "Peak memory over capacity, of the fullest accelerator.",
    ),
    MetricInfo("compute_utilization", False, "share", "higher", "", "FLOP/s over the dense peak, mean."),
    MetricInfo(
        "bandwidth_utilization", False, "share", "higher", "", "Memory bytes/s over the peak bandwidth, mean."
    ),
    MetricInfo(
        "network_utilization",
        False,
        "share",
        "either",
        "",
        "Network bytes/s over the peak of the link, mean.",
    ),
)

METRICS: Mapping[str, MetricInfo] = MappingProxyType({info.name: info for info in _TABLE})
"""Every metric by its name."""


def metric_key(metric: str, statistic: Statistic | None = None) -> str:
    """The inner name of a metric: `ttft_p95_s`, `goodput_requests_per_s`, `gpus`.

    A metric that the catalog lacks is a problem's own, and its name is its key. Raises ValueError when a
    statistic is missing or one too many.
    """
    if metric not in METRICS:
        return metric
    info = METRICS[metric]
    if info.needs_statistic != (statistic is not None):
        raise ValueError(f"{metric} {'needs a' if info.needs_statistic else 'has no'} statistic")
    return "_".join(filter(None, (metric, statistic, info.suffix)))
