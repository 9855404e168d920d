"""The metrics that users name, from the few quantities that a serving mode provides.

`ServiceParts` is what an aggregated or a disaggregated deployment tells about itself before any spread;
every metric of `llmopt_problems.metrics_catalog` is then one line, the same for both modes. A latency
statistic is its formula times a frozen *spread*: the ratio that simulation measured around the last
proposals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sympy import Expr

from llmopt_optimizer.symbols import FrozenSymbols, attainment_symbol, spread_symbol
from llmopt_problems.deployment import Mode
from llmopt_problems.metrics_catalog import STATISTICS, MetricName, Statistic, metric_key

LATENCIES: tuple[MetricName, ...] = ("ttft", "tpot", "itl", "e2e", "queueing")
"""Metrics that have a spread symbol for each statistic."""


@dataclass(frozen=True, slots=True)
class ServiceParts:
    """A serving mode in its own quantities, seconds, dollars, bytes, watts."""

    request_rate_per_s: Expr
    ttft_s: Mapping[Statistic, Expr]
    queueing_s: Mapping[Statistic, Expr]
    itl_s: Mapping[Statistic, Expr]
    step_s: Expr
    """Mean time between two tokens of a decoding sequence."""
    gpus: Expr
    usd_per_hour: Expr
    power_w: Expr
    peak_memory_bytes: Expr
    memory_fraction: Expr
    compute_utilization: Expr
    bandwidth_utilization: Expr
    network_utilization: Expr


def latency_metrics(mode: Mode, parts: ServiceParts, frozen: FrozenSymbols) -> dict[str, Expr]:
    """Every statistic of every latency, keyed as `ttft_p95_s`."""
    e2e_s = parts.ttft_s["mean"] + frozen.decode_tokens * parts.step_s
    formulas: dict[MetricName, Mapping[Statistic, Expr]] = {
        "ttft": parts.ttft_s,
        "tpot": dict.fromkeys(STATISTICS, parts.step_s),
        "itl": parts.itl_s,
        "e2e": dict.fromkeys(STATISTICS, e2e_s),
        "queueing": parts.queueing_s,
    }
    return {
        metric_key(metric, statistic): spread_symbol(mode, metric, statistic) * formulas[metric][statistic]
        for metric in LATENCIES
        for statistic in STATISTICS
    }


def service_metrics(mode: Mode, parts: ServiceParts, frozen: FrozenSymbols) -> dict[str, Expr]:
    """Every metric of the catalog as an expression, keyed by `metric_key`."""
    output_tokens_per_s = parts.request_rate_per_s * (frozen.decode_tokens + 1)
    return latency_metrics(mode, parts, frozen) | {
        metric_key("throughput_tokens_per_s"): output_tokens_per_s,
        metric_key("throughput_requests_per_s"): parts.request_rate_per_s,
        metric_key("goodput"): parts.request_rate_per_s * attainment_symbol(mode),
        metric_key("cost_per_million_output_tokens"): parts.usd_per_hour / 3600 * 1e6 / output_tokens_per_s,
        metric_key("cost_per_hour"): parts.usd_per_hour,
        metric_key("gpus"): parts.gpus,
        metric_key("power"): parts.power_w,
        metric_key("energy_per_output_token"): parts.power_w / output_tokens_per_s,
        metric_key("peak_memory"): parts.peak_memory_bytes,
        metric_key("memory_fraction"): parts.memory_fraction,
        metric_key("compute_utilization"): parts.compute_utilization,
        metric_key("bandwidth_utilization"): parts.bandwidth_utilization,
        metric_key("network_utilization"): parts.network_utilization,
    }
