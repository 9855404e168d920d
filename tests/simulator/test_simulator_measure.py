"""Metrics, frozen parameters, intervals and verdicts against hand-made runs and exact statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from llmopt_problems.deployment import Deployment, Layout, PoolDeployment
from llmopt_simulator import (
    Interval,
    ServiceLevel,
    ServiceModel,
    SimulationError,
    SimulationOptions,
    frozen_parameters,
    metrics,
    replicate,
    replicate_until_decided,
    simulate,
    verdict,
)
from llmopt_simulator.intervals import mean_interval, percentile, student_t_quantile
from llmopt_simulator.invariants import check_invariants
from llmopt_simulator.measure import itl_percentile, latency_table

POOL = PoolDeployment("serve", "x", Layout(), 1, 100, 8)
DEPLOYMENT = Deployment("aggregated", (POOL,), prefix_cache=False)
ALL = SimulationOptions(warmup_fraction=0.0)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 12, 29, 100])
@pytest.mark.parametrize("probability", [0.6, 0.9, 0.975, 0.995])
def test_student_t_quantile(degrees: int, probability: float) -> None:
    assert student_t_quantile(probability, degrees) == pytest.approx(
        stats.t.ppf(probability, degrees), rel=1e-9
    )


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(3.0, 2.0, (4000, 5))
    hits = sum(i.low <= 3.0 <= i.high for i in (mean_interval(list(row), 0.95) for row in samples))
    assert 0.94 <= hits / 4000 <= 0.96


def test_percentile_is_an_order_statistic() -> None:
    values = np.array([5.0, 1.0, 3.0, np.inf])
    assert [percentile(values, p) for p in (25, 50, 75, 99)] == [1.0, 3.0, 5.0, math.inf]


def two_requests(make):
    """Prefill of 150 tokens in chunks of 100, the second chunk shared with 50 of the next request's 60."""
    service = ServiceModel((make.service(POOL, constant=1.0, n=0.01),))
    return simulate(make.workload([0.0, 0.5], [150, 60], [3, 1]), DEPLOYMENT, service, options=ALL)


def test_hand_made_run(make) -> None:
    """Steps: 100 tokens (2 s), 50 + 50 (2 s), a decode and the last 10 tokens (1.11 s), a decode (1.01 s)."""
    run = two_requests(make)
    np.testing.assert_allclose(run.column("admitted_s"), [0.0, 2.0])
    np.testing.assert_allclose(run.column("first_token_s"), [4.0, 5.11])
    np.testing.assert_allclose(run.column("finish_s"), [6.12, 5.11])
    table = latency_table(run)
    np.testing.assert_allclose(table["ttft"], [4.0, 4.61])
    np.testing.assert_allclose(table["tpot"], [1.06, np.nan])
    np.testing.assert_allclose(table["queueing"], [0.0, 1.5])


def test_metrics_of_the_hand_made_run(make) -> None:
    run = two_requests(make)
    levels = [ServiceLevel("ttft", "p95", 4.5), ServiceLevel("itl", "p95", 2.0)]
    values = metrics(run, levels)
    assert values["ttft_mean_s"] == pytest.approx(4.305)
    assert itl_percentile(run.state.itl, 99) == pytest.approx(1.11, rel=0.002)
    assert itl_percentile(run.state.itl, 50) == pytest.approx(1.01, rel=0.002)
    assert values["slo_attainment"] == 0.5
    assert values["busy_share"] <= 1.0
    frozen = frozen_parameters(run, values)
    assert frozen["ttft_tail_p99"] == pytest.approx(4.61 / 4.305)
    assert frozen["queue_wait_s"] == pytest.approx(0.75)


def steady(make, count: int = 400, gap_s: float = 1.0, outputs: int = 4):
    """Steps of 0.1 s, one request at a time: 100 tokens of prefill and three decodes of context 101 … 103."""
    service = ServiceModel((make.service(POOL, constant=0.1, K=1e-9, n=1e-9),))
    workload = make.workload(np.arange(count) * gap_s, 100, outputs)
    return simulate(workload, DEPLOYMENT, service)


def test_rates_and_utilisation_of_a_steady_run(make) -> None:
    run = steady(make)
    values = metrics(run)
    assert values["throughput_requests_per_s"] == pytest.approx(1.0, rel=0.01)
    assert values["throughput_tokens_per_s"] == pytest.approx(4.0, rel=0.01)
    assert values["busy_share_serve"] == pytest.approx(0.4, rel=0.01)
    flops_per_s = 100 * 1e-9 * (100 + 3 + 3 * 102)  # the test law's FLOP: 100 × seconds
    assert values["compute_utilisation"] == pytest.approx(flops_per_s / 1e3, rel=0.01)
    assert values["saturated"] == 0.0
    frozen = frozen_parameters(run, values)
    assert frozen["mean_decode_context"] == pytest.approx(102.0, rel=0.01)
    assert frozen["arrival_scv"] == pytest.approx(0.0, abs=1e-12)
    assert values["mean_batch_serve"] == pytest.approx(0.75, rel=0.01)


def test_a_run_that_falls_behind_reports_no_latency(make) -> None:
    values = metrics(steady(make, 2000, 0.02, 20))
    assert values["saturated"] == 1.0
    assert values["ttft_mean_s"] == math.inf
    assert values["backlog_growth_per_s"] > 5.0
    assert math.isfinite(values["throughput_tokens_per_s"])


def test_heavy_but_stable_traffic_is_not_saturated(make) -> None:
    pool = PoolDeployment("serve", "x", Layout(), 1, 1 << 15, 1)
    service = ServiceModel((make.service(pool, 1 << 40, p=1e-3),))
    flags = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        workload = make.workload(
            np.cumsum(rng.exponential(1.0, 2000)), np.ceil(rng.exponential(900, 2000)), 1
        )
        run = simulate(workload, Deployment("aggregated", (pool,), prefix_cache=False), service)
        flags.append(metrics(run)["saturated"])
    assert sum(flags) == 0


def test_hits_skip_compute(make) -> None:
    """Equal prompts of five blocks: after the first, all but the block with the last token hits."""
    from llmopt_problems.traffic.requests import Requests, Workload

    ids = np.tile(np.arange(5), 20)
    requests = Requests(
        np.arange(20) * 10.0, np.full(20, 50), np.full(20, 1), np.arange(21) * 5, ids.astype(np.int64), 10
    )
    service = ServiceModel((make.service(POOL, p=0.01),))
    run = simulate(Workload(requests), Deployment("aggregated", (POOL,)), service, options=ALL)
    np.testing.assert_array_equal(run.hit_tokens, [0] + [40] * 19)
    np.testing.assert_allclose(run.column("finish_s") - run.column("arrival_s"), [0.5] + [0.1] * 19)
    assert metrics(run)["hit_rate"] == pytest.approx(0.76)


def test_verdicts() -> None:
    interval = Interval(2.0, 1.0, 3.0)
    assert [verdict(interval, bound) for bound in (3.0, 2.5, 0.9)] == ["verified", "undecided", "violated"]
    assert verdict(Interval(math.nan, math.nan, math.nan), 1.0) == "undecided"
    assert verdict(mean_interval([math.inf] * 3, 0.95), 1.0) == "violated"
    assert verdict(mean_interval([1.0], 0.95), 1.5) == "undecided"


def exponential_source(make):
    def source(seed: int):
        rng = np.random.default_rng(seed)
        return make.workload(np.cumsum(rng.exponential(1.0, 400)), rng.integers(1, 80, 400), 3)

    return source


def test_evidence_decides_a_level(make) -> None:
    service = ServiceModel((make.service(POOL, constant=0.05, n=0.001),))
    source = exponential_source(make)
    levels = (ServiceLevel("ttft", "p95", 10.0), ServiceLevel("tpot", "mean", 0.001))
    evidence = replicate(source, DEPLOYMENT, service, levels=levels)
    assert list(evidence.verdicts.values()) == ["verified", "violated"]
    assert evidence.verdict == "violated"
    assert len(evidence.replications) == 5
    again = replicate(source, DEPLOYMENT, service, levels=levels)
    assert again.metrics.keys() == evidence.metrics.keys()
    assert all(
        again.metrics[name] == interval or math.isnan(interval.value)
        for name, interval in evidence.metrics.items()
    )


def test_replications_are_added_until_decided(make) -> None:
    service = ServiceModel((make.service(POOL, constant=0.05, n=0.001),))
    source = exponential_source(make)
    mean = replicate(source, DEPLOYMENT, service, replications=20).metrics["ttft_mean_s"]
    close = ServiceLevel("ttft", "mean", mean.value + 0.6 * (mean.high - mean.value))
    sure = ServiceLevel("ttft", "mean", 10.0 * mean.value)
    quick = replicate_until_decided(source, DEPLOYMENT, service, levels=[sure])
    slow = replicate_until_decided(source, DEPLOYMENT, service, levels=[close], most_replications=12)
    assert len(quick.replications) == 5
    assert len(slow.replications) > 5


def test_bad_inputs_are_named(make) -> None:
    service = ServiceModel((make.service(POOL, constant=0.1),))
    cases = [
        (make.workload([], 1, 1), "no requests"),
        (make.workload([1.0, 0.5], 1, 1), "request 1 arrives at 0.5"),
        (make.workload([-1.0], 1, 1), "negative"),
        (make.workload([0.0], 0, 1), "input_tokens = 0"),
        (make.workload([0.0], 1, 1, 0), "concurrency is 0"),
    ]
    for workload, words in cases:
        with pytest.raises(SimulationError, match=words):
            simulate(workload, DEPLOYMENT, service)


def test_a_step_that_takes_no_time_is_an_error(make) -> None:
    with pytest.raises(SimulationError, match="no duration that moves the clock"):
        simulate(make.workload([0.0], 10, 1), DEPLOYMENT, ServiceModel((make.service(POOL),)))


def test_invariants_notice_tampering(make) -> None:
    run = two_requests(make)
    for array, field in (("requests", "first_token_s"), ("ranks", "free_pages"), ("world", "request_s")):
        state = run.state._replace(**{array: getattr(run.state, array).copy()})
        getattr(state, array)[field][0] -= 5
        with pytest.raises(AssertionError, match=r"KV|pages conserved|Little"):
            check_invariants(state)
