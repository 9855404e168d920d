"""What simulation says of one deployment, in the words of the metric catalog.

The simulator knows requests and steps; money, power and memory are added here from the same expressions
that the optimizer uses, with simulated utilisation and occupancy in place of predicted ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from sympy import symbols

from llmopt_optimizer.core.lowering import Function, compile_expressions
from llmopt_optimizer.formulation.class_metrics import class_levels, class_number
from llmopt_optimizer.formulation.own_metrics import own_estimates
from llmopt_optimizer.loop.service import Workbench
from llmopt_optimizer.metrics.resources import Utilisation, power_law_w
from llmopt_optimizer.metrics.service import LATENCIES
from llmopt_optimizer.result import Estimate
from llmopt_optimizer.scenario import Scenario
from llmopt_problems import Problem
from llmopt_problems.deployment import Deployment, PoolDeployment
from llmopt_problems.metrics_catalog import STATISTICS, metric_key
from llmopt_problems.speculation import Speculation
from llmopt_simulator import Evidence, Interval
from llmopt_simulator.levels import class_prefix

_POWER = symbols("idle_w peak_w compute bandwidth network", nonnegative=True)
"""What an accelerator's power is made of: its idle and peak power, and its utilisations."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One simulated deployment."""

    deployment: Deployment
    metrics: Mapping[str, Estimate]
    """By `metric_key`, or by the name of a metric of the problem's own."""
    frozen: Mapping[str, Estimate]
    """By name of the simulator's frozen parameters."""
    memory: Mapping[str, Mapping[str, float]]
    """Bytes on the fullest accelerator of each role: weights, activations, reserve, states, KV cache."""
    replications: int
    saturated: bool
    """The backlog grew without bound, so latencies are infinite and throughput is what was reached."""


def observation(bench: Workbench, deployment: Deployment, evidence: Evidence) -> Observation:
    """The evidence of a simulated deployment, completed with what its accelerators cost and draw."""
    scenario = bench.scenario
    measured = {name: _estimate(interval) for name, interval in _intervals(scenario, evidence).items()}
    saturated = measured["saturated"].value > 0
    memory: dict[str, Mapping[str, float]] = {
        pool.role: _memory(bench, pool, deployment.pools[-1].speculation, measured)
        for pool in deployment.pools
    }
    fixed = _fixed_metrics(scenario, deployment, memory)
    rate = _output_rate(scenario, measured, saturated=saturated)
    power = _power(scenario, deployment, measured)
    metrics = _measured_metrics(measured) | {
        key: Estimate(value, value, value) for key, value in fixed.items()
    }
    metrics[metric_key("power")] = power
    usd_per_s = fixed[metric_key("cost_per_hour")] / 3600
    metrics[metric_key("cost_per_million_output_tokens")] = _ratio(
        Estimate(usd_per_s * 1e6, usd_per_s * 1e6, usd_per_s * 1e6), rate
    )
    metrics[metric_key("energy_per_output_token")] = _ratio(power, rate)
    metrics |= _class_latencies(scenario.problem, measured)
    metrics |= own_estimates(scenario.problem, scenario.traffic, deployment, metrics)
    frozen = {name: _estimate(interval) for name, interval in evidence.frozen.items()}
    return Observation(deployment, metrics, frozen, memory, len(evidence.replications), saturated)


def _class_latencies(problem: Problem, measured: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """What was measured of classes, under the keys of the service levels that ask for it."""
    asked = [(level, class_number(problem, level)) for level in class_levels(problem)]
    return {
        level.key: measured[class_prefix(number) + metric_key(level.metric, level.statistic)]
        for level, number in asked
        if number is not None
    }


def _intervals(scenario: Scenario, evidence: Evidence) -> Mapping[str, Interval]:
    """Intervals over replications; the replay of a trace is the traffic itself and has no sampling error."""
    if scenario.traffic.requests is None:
        return evidence.metrics
    return {name: Interval(value, value, value) for name, value in evidence.replications[0].items()}


def _estimate(interval: Interval) -> Estimate:
    return Estimate(interval.value, interval.low, interval.high)


def _measured_metrics(measured: Mapping[str, Estimate]) -> dict[str, Estimate]:
    latencies = [metric_key(metric, statistic) for metric in LATENCIES for statistic in STATISTICS]
    rates = ["throughput_tokens_per_s", "throughput_requests_per_s", "goodput_requests_per_s"]
    utilisations = {
        f"{part}_utilization": measured[f"{part}_utilisation"] for part in ("compute", "bandwidth", "network")
    }
    extra = {name: measured[name] for name in ("hit_rate", "slo_attainment", "busy_share")}
    return {key: measured[key] for key in (*latencies, *rates)} | utilisations | extra


def _output_rate(scenario: Scenario, measured: Mapping[str, Estimate], *, saturated: bool) -> Estimate:
    """Output tokens a second: where an open loop keeps up, of all that it does not reject, else measured."""
    offered, rejected = scenario.traffic.request_rate_per_s, measured["rejected_share"]
    if offered is None or saturated:
        return measured["throughput_tokens_per_s"]
    tokens = offered * scenario.traffic.mean_output_tokens
    shares = (1.0 - min(1.0, max(0.0, share)) for share in (rejected.value, rejected.high, rejected.low))
    return Estimate(*(tokens * share for share in shares))


def _ratio(above: Estimate, below: Estimate) -> Estimate:
    return Estimate(
        _quotient(above.value, below.value),
        _quotient(above.low, below.high),
        _quotient(above.high, below.low),
    )


def _quotient(above: float, below: float) -> float:
    return above / below if below > 0.0 else math.inf


def _fixed_metrics(
    scenario: Scenario, deployment: Deployment, memory: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    peaks = {pool.role: sum(memory[pool.role].values()) for pool in deployment.pools}
    sites = {pool.role: scenario.site(pool.accelerator) for pool in deployment.pools}
    return {
        metric_key("gpus"): float(deployment.gpus),
        metric_key("cost_per_hour"): sum(
            pool.gpus * sites[pool.role].usd_per_gpu_hour for pool in deployment.pools
        ),
        metric_key("peak_memory"): max(peaks.values()),
        metric_key("memory_fraction"): max(
            peak / sites[role].accelerator.hbm_bytes for role, peak in peaks.items()
        ),
    }


def _memory(
    bench: Workbench,
    pool: PoolDeployment,
    speculation: Speculation | None,
    measured: Mapping[str, Estimate],
) -> dict[str, float]:
    terms = bench.memory(pool, speculation)
    held = measured[f"peak_kv_tokens_{pool.role}"].value
    return {
        "weights": terms.weights,
        "activations": terms.activations,
        "reserve": terms.reserve,
        "states": terms.states,
        "kv_cache": held * terms.kv_bytes_per_token,
    }


def _power(scenario: Scenario, deployment: Deployment, measured: Mapping[str, Estimate]) -> Estimate:
    def total(end: str) -> float:
        return sum(pool.gpus * _pool_power(scenario, pool, measured, end) for pool in deployment.pools)

    return Estimate(total("value"), total("low"), total("high"))


def _pool_power(
    scenario: Scenario, pool: PoolDeployment, measured: Mapping[str, Estimate], end: str
) -> float:
    accelerator = scenario.site(pool.accelerator).accelerator
    parts = (f"{part}_utilisation_{pool.role}" for part in ("compute", "bandwidth", "network"))
    numbers = (
        accelerator.idle_watts,
        accelerator.peak_watts,
        *(getattr(measured[part], end) for part in parts),
    )
    return float(_power_law()(dict(zip(_POWER, map(np.asarray, numbers), strict=True)), ())[0])


@cache
def _power_law() -> Function:
    """The law of an accelerator's power as a function of the numbers `_POWER`."""
    idle, peak, *used = _POWER
    return compile_expressions((power_law_w(idle, peak, Utilisation(*used)),))
