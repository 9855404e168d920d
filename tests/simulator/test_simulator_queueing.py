"""Simulated waits against the closed forms of queueing theory.

A prefill of p tokens that takes c·p seconds, with one output token and a batch of one, is a server whose
service time is c times the input length; a central queue before k instances makes k servers with one queue.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from llmopt_problems.deployment import Deployment, Layout, PoolDeployment
from llmopt_problems.traffic.requests import Workload
from llmopt_simulator import Interval, ServiceModel, SimulationOptions, replicate

TOKENS = 1000
"""Mean input: exponential lengths are rounded up to whole tokens, so their mean is known exactly."""

REPLICATIONS = 30


def geometric_mean_tokens() -> tuple[float, float]:
    """Mean and second moment of ceil(X), X exponential with mean TOKENS: a geometric length."""
    p = 1.0 - math.exp(-1.0 / TOKENS)
    return 1.0 / p, (2.0 - p) / p**2


def erlang_c(servers: int, load: float) -> float:
    """Probability of waiting in M/M/c at offered load a = λ/μ (Kleinrock, volume 1, equation 3.40)."""
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
    return blocked / (1.0 - load / servers * (1.0 - blocked))


def simulated_wait(make, servers: int, rate: float, constant_service: bool, count: int) -> Interval:
    pool = PoolDeployment("serve", "x", Layout(), servers, 1 << 15, 1)
    service = ServiceModel((make.service(pool, 1 << 40, p=1.0 / TOKENS),))

    def source(seed: int) -> Workload:
        rng = np.random.default_rng(seed)
        arrival_s = np.cumsum(rng.exponential(1.0 / rate, count))
        lengths = np.ceil(rng.exponential(TOKENS, count)).astype(np.int64)
        return make.workload(arrival_s, TOKENS if constant_service else lengths, 1)

    deployment = Deployment("aggregated", (pool,), "central_queue", prefix_cache=False)
    options = SimulationOptions(warmup_fraction=0.2)
    evidence = replicate(
        source, deployment, service, options, replications=REPLICATIONS, confidence=0.99, seed=7
    )
    return evidence.metrics["queueing_mean_s"]


@pytest.mark.parametrize(("utilisation", "count"), [(0.5, 20_000), (0.9, 100_000)])
def test_mm1_wait(make, utilisation: float, count: int) -> None:
    """Pollaczek–Khinchine with the moments of the rounded lengths: W = λ E[S²] / (2 (1 − ρ))."""
    mean, second = (moment / TOKENS**power for power, moment in enumerate(geometric_mean_tokens(), 1))
    rate = utilisation / mean
    exact = rate * second / (2.0 * (1.0 - utilisation))
    interval = simulated_wait(make, 1, rate, False, count)
    assert interval.low <= exact <= interval.high
    assert exact == pytest.approx(utilisation / (1.0 - utilisation), rel=2e-3)  # the M/M/1 form
    assert interval.high - interval.low < 0.12 * exact


@pytest.mark.parametrize(("utilisation", "count"), [(0.5, 20_000), (0.9, 100_000)])
def test_md1_wait(make, utilisation: float, count: int) -> None:
    """W = ρ / (2 μ (1 − ρ))."""
    exact = utilisation / (2.0 * (1.0 - utilisation))
    interval = simulated_wait(make, 1, utilisation, True, count)
    assert interval.low <= exact <= interval.high
    assert interval.high - interval.low < 0.12 * exact


@pytest.mark.parametrize("servers", [2, 5])
@pytest.mark.parametrize(("utilisation", "count"), [(0.5, 40_000), (0.9, 100_000)])
def test_mmc_wait(make, servers: int, utilisation: float, count: int) -> None:
    """W = C(c, a) / (c μ − λ), with μ of the rounded lengths."""
    mean = geometric_mean_tokens()[0] / TOKENS
    rate = utilisation * servers / mean
    exact = erlang_c(servers, utilisation * servers) / (servers / mean - rate)
    interval = simulated_wait(make, servers, rate, False, count)
    assert interval.low <= exact <= interval.high
    assert interval.high - interval.low < 0.2 * exact
