"""Warm-up rule, percentile intervals and sequential replications against exact statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from llmopt_problems.deployment import Deployment, Layout, PoolDeployment
from llmopt_problems.traffic.requests import Workload
from llmopt_simulator import (
    ServiceModel,
    SimulationError,
    SimulationOptions,
    metrics,
    replicate_until_precise,
    run_intervals,
    simulate,
)
from llmopt_simulator.intervals import mean_interval, percentiles
from llmopt_simulator.order_statistics import (
    batch_correlation,
    batched_mean,
    batched_percentile,
    independent_percentile,
)
from llmopt_simulator.replication import look_confidence
from llmopt_simulator.warmup import mser


def mser_by_definition(values: np.ndarray, batch: int) -> int:
    """The cut of the smallest marginal standard error, by looking at every one."""
    means = [np.mean(values[i : i + batch]) for i in range(0, len(values) - batch + 1, batch)]
    count = len(means)
    errors = [np.sum((means[d:] - np.mean(means[d:])) ** 2) / (count - d) ** 2 for d in range(count // 2 + 1)]
    return int(np.argmin(errors)) * batch


@pytest.mark.parametrize("seed", range(20))
def test_mser_is_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(100, 400))
    start = -8.0 * np.exp(-np.arange(count) / rng.uniform(1, 60))
    values = start + rng.normal(5.0, 1.0, count)
    assert mser(values) == mser_by_definition(values, 5)


def test_mser_finds_a_known_transient_and_leaves_steady_data_alone() -> None:
    rng = np.random.default_rng(2)
    step = np.where(np.arange(2000) < 400, 0.0, 10.0) + rng.normal(0, 1, 2000)
    assert mser(step) == 400
    cuts = [mser(rng.normal(0, 1, 2000)) for _ in range(50)]
    assert np.median(cuts) < 100
    assert mser(np.arange(50.0)) == 0  # too short to say
    assert mser(np.arange(2000.0)) == 1000  # a trend has no steady part: half is the most


@pytest.mark.parametrize(("count", "percent"), [(1, 50), (20, 50), (59, 95), (200, 90), (3000, 99)])
def test_independent_percentile_ranks_are_those_of_the_binomial(count: int, percent: int) -> None:
    interval = independent_percentile(np.arange(1.0, count + 1.0), percent, 0.95)
    below = stats.binom(count, percent / 100.0)
    low = max((r for r in range(1, count + 1) if below.cdf(r - 1) <= 0.025), default=-math.inf)
    high = min((r for r in range(1, count + 1) if below.sf(r - 1) <= 0.025), default=math.inf)
    assert (interval.low, interval.high) == (low, high)


def test_percentile_ranks_are_exact() -> None:
    """No rounding of n·p/100 ever moves the rank: ⌈n·p/100⌉ in whole numbers."""
    for count in range(1, 1200):
        found = percentiles(np.arange(1.0, count + 1.0), (1, 7, 50, 90, 95, 99))
        assert found == [-(-count * p // 100) for p in (1, 7, 50, 90, 95, 99)]


def autoregressive(rng: np.random.Generator, count: int, rows: int) -> np.ndarray:
    """Normal with mean 0, variance 1 and correlation 0.8 of neighbours, shape (rows, count)."""
    noise = rng.normal(0.0, 1.0, (count, rows))
    values = np.empty_like(noise)
    values[0] = noise[0]
    for i in range(1, count):
        values[i] = 0.8 * values[i - 1] + 0.6 * noise[i]
    return values.T


@pytest.mark.parametrize("percent", [50, 90, 95])
def test_batched_percentiles_cover_dependent_data(percent: int) -> None:
    rng = np.random.default_rng(percent)
    truth = float(stats.norm.ppf(percent / 100.0))
    rows = autoregressive(rng, 8000, 1000)
    hits = sum(i.low <= truth <= i.high for i in (batched_percentile(row, percent, 0.95) for row in rows))
    naive = sum(
        i.low <= truth <= i.high for i in (independent_percentile(row, percent, 0.95) for row in rows[:200])
    )
    assert 930 <= hits <= 970
    assert naive < 170  # dependence matters: intervals for independent data cover far too seldom


def test_batched_means_cover_dependent_data_and_correlation_is_seen() -> None:
    rows = autoregressive(np.random.default_rng(7), 4000, 1000)
    intervals = [batched_mean(row, 0.95) for row in rows]
    assert 930 <= sum(i.low <= 0.0 <= i.high for i in intervals) <= 970
    assert abs(np.mean([batch_correlation(row) for row in rows])) < 0.1
    assert np.mean([batch_correlation(row[:80]) for row in rows]) > 0.3


def test_short_runs_have_no_interval() -> None:
    assert batched_percentile(np.arange(10.0), 95, 0.95).high == math.inf
    assert math.isnan(batch_correlation(np.arange(10.0)))
    assert independent_percentile(np.arange(10.0), 95, 0.95).high == math.inf


def test_looking_often_keeps_the_confidence() -> None:
    """Stop as soon as the interval is short: with the spent confidence it covers, with the plain one not."""
    spent, plain = (stopped_coverage(adjust) for adjust in (True, False))
    assert spent >= 0.95
    assert plain < 0.94


def stopped_coverage(adjust: bool, trials: int = 4000) -> float:
    rng = np.random.default_rng(3)
    hits = 0
    for row in rng.normal(1.0, 1.0, (trials, 320)):
        for look, count in enumerate((5, 10, 20, 40, 80, 160, 320), 1):
            interval = mean_interval(row[:count].tolist(), look_confidence(0.95, look) if adjust else 0.95)
            if interval.high - interval.low <= 0.8 * abs(interval.value):
                break
        hits += interval.low <= 1.0 <= interval.high
    return hits / trials


POOL = PoolDeployment("serve", "x", Layout(), 1, 1 << 15, 1)
QUEUE = Deployment("aggregated", (POOL,), "central_queue", prefix_cache=False)


def poisson_source(make, utilisation: float, count: int):
    def source(seed: int) -> Workload:
        rng = np.random.default_rng(seed)
        arrival_s = np.cumsum(rng.exponential(1.0 / utilisation, count))
        return make.workload(arrival_s, np.ceil(rng.exponential(1000, count)).astype(np.int64), 1)

    return source


def test_replications_stop_when_precise(make) -> None:
    service = ServiceModel((make.service(POOL, 1 << 40, p=1e-3),))
    source = poisson_source(make, 0.5, 2000)
    rough, fine = (
        replicate_until_precise(source, QUEUE, service, metric="ttft_p95_s", fraction=fraction)
        for fraction in (0.2, 0.05)
    )
    assert rough.precision("ttft_p95_s") <= 0.2
    assert fine.precision("ttft_p95_s") <= 0.05
    assert len(fine.replications) > len(rough.replications)
    assert fine.metrics["ttft_p95_s"].value == pytest.approx(math.log(20) / 0.5, rel=0.05)
    with pytest.raises(SimulationError, match="no metric is called 'ttft_p42_s'"):
        replicate_until_precise(source, QUEUE, service, metric="ttft_p42_s", fraction=0.05)


def test_a_saturated_system_ends_the_search_for_precision(make) -> None:
    service = ServiceModel((make.service(POOL, 1 << 40, p=1e-3),))
    evidence = replicate_until_precise(poisson_source(make, 1.5, 2000), QUEUE, service, fraction=0.01)
    assert len(evidence.replications) == 5
    assert evidence.metrics["ttft_p95_s"].value == math.inf
    assert evidence.metrics["backlog_growth_per_s"].value == pytest.approx(0.5, rel=0.2)


def test_the_rule_cuts_a_slow_start_and_windows_agree(make) -> None:
    """A batch that fills up: answers take some 300 seconds, so the first ones meet a small batch."""
    pool = PoolDeployment("serve", "x", Layout(), 1, 4096, 4096)
    service = ServiceModel((make.service(pool, constant=0.5, n=0.001),))
    deployment = Deployment("aggregated", (pool,), prefix_cache=False)
    rng = np.random.default_rng(1)
    workload = make.workload(np.cumsum(rng.exponential(1.0, 6000)), 10, 400)
    found = simulate(workload, deployment, service, options=SimulationOptions(warmup_fraction=None))
    assert found.window.start % 120 == 0  # one of the places, every 2%
    assert 0 < found.window.start <= 3000
    given = SimulationOptions(warmup_fraction=found.window.start / 6000)
    assert metrics(found) == pytest.approx(metrics(simulate(workload, deployment, service, options=given)))
    whole = simulate(workload, deployment, service, options=SimulationOptions(warmup_fraction=0.0))
    assert metrics(found)["e2e_mean_s"] > metrics(whole)["e2e_mean_s"]


def test_one_long_run_has_intervals_and_a_short_one_says_that_it_has_none(make) -> None:
    service = ServiceModel((make.service(POOL, 1 << 40, p=1e-3),))
    long, short, drowned = (
        simulate(poisson_source(make, utilisation, count)(5), QUEUE, service)
        for utilisation, count in ((0.5, 60_000), (0.95, 400), (1.5, 3000))
    )
    found, exact = run_intervals(long), {"p50": math.log(2) / 0.5, "p95": math.log(20) / 0.5, "mean": 2.0}
    for name, value in exact.items():
        interval = found[f"e2e_{name}_s"]
        assert interval.low <= value <= interval.high
        assert interval.high - interval.low < 0.15 * value
        assert interval.value == metrics(long)[f"e2e_{name}_s"]
    assert run_intervals(short)["e2e_p95_s"].high == math.inf
    assert run_intervals(drowned)["e2e_p95_s"].value == math.inf
