"""Classes of requests, phases of a request, stage loads, links and matched lengths."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from llmopt_problems.deployment import Deployment, Layout, PoolDeployment
from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator import (
    KvTransfer,
    ServiceLevel,
    ServiceModel,
    SimulationError,
    SimulationOptions,
    frozen_parameters,
    metrics,
    replicate,
    simulate,
)
from llmopt_simulator.frozen import MEANINGS
from llmopt_simulator.measure import latency_table
from llmopt_simulator.shares import MOMENTS, phases

SERVE = PoolDeployment("serve", "x", Layout(), 1, 100, 8)
AGGREGATED = Deployment("aggregated", (SERVE,), prefix_cache=False)
PREFILL = PoolDeployment("prefill", "x", Layout(), 2, 100, 8)
DECODE = PoolDeployment("decode", "x", Layout(), 1, 100, 8)
SPLIT = Deployment("disaggregated", (PREFILL, DECODE), prefix_cache=False)
ALL = SimulationOptions(warmup_fraction=0.0)


def classed(workload: Workload, ids: object) -> Workload:
    return replace(workload, requests=replace(workload.requests, class_ids=np.asarray(ids, np.int64)))


def random_workload(make, seed: int, count: int = 300) -> Workload:
    rng = np.random.default_rng(seed)
    workload = make.workload(
        np.cumsum(rng.exponential(1.0, count)), rng.integers(1, 150, count), rng.integers(1, 20, count)
    )
    return classed(workload, rng.integers(0, 3, count))


def split_run(make, seed: int = 1):
    services = (make.service(PREFILL, constant=0.1, n=0.01), make.service(DECODE, constant=0.02, K=1e-5))
    service = ServiceModel(services, KvTransfer(0.05, 2.0, 400.0, 300.0))
    return simulate(random_workload(make, seed), SPLIT, service, options=ALL)


def test_levels_of_a_class_judge_its_requests_only(make) -> None:
    """Steps of 1 s: TTFT 1 s and 1.5 s; class 1 is promised 1.2 s and class 0 is promised 2 s."""
    service = ServiceModel((make.service(SERVE, constant=1.0, n=1e-9),))
    arrival_s = np.array([0.0, 10.0, 20.5, 30.0, 40.0])
    workload = classed(make.workload(arrival_s, 10, 1), [0, 1, 0, 1, 1])
    late = make.workload([0.0, 10.0, 10.5, 30.0, 30.5], 10, 2)
    workload = replace(workload, requests=replace(late.requests, class_ids=workload.requests.class_ids))
    run = simulate(workload, AGGREGATED, service, options=ALL)
    np.testing.assert_allclose(latency_table(run)["ttft"], [1.0, 1.0, 1.5, 1.0, 1.5])
    levels = [ServiceLevel("ttft", "p95", 2.0, 0), ServiceLevel("ttft", "p95", 1.2, 1)]
    values = metrics(run, levels)
    assert values["slo_attainment"] == pytest.approx(4 / 5)
    assert values["class0_slo_attainment"] == 1.0
    assert values["class1_slo_attainment"] == pytest.approx(2 / 3)
    assert values["class0_ttft_mean_s"] == pytest.approx(1.25)
    assert values["class1_ttft_p95_s"] == pytest.approx(1.5)
    for name in ("throughput_requests_per_s", "goodput_requests_per_s"):
        assert values[name] == pytest.approx(values[f"class0_{name}"] + values[f"class1_{name}"])
    assert levels[1].key == "class1_ttft_p95_s"


def test_evidence_has_a_verdict_for_every_class(make) -> None:
    service = ServiceModel((make.service(SERVE, constant=0.1, n=1e-4),))
    levels = (ServiceLevel("ttft", "p95", 60.0, 0), ServiceLevel("ttft", "p95", 1e-3, 2))
    evidence = replicate(
        lambda seed: random_workload(make, seed), AGGREGATED, service, levels=levels, replications=3
    )
    assert [evidence.verdicts[level] for level in levels] == ["verified", "violated"]
    absent = (ServiceLevel("ttft", "p95", 60.0, 7),)
    evidence = replicate(
        lambda seed: random_workload(make, seed), AGGREGATED, service, levels=absent, replications=3
    )
    assert evidence.verdict == "undecided"  # nothing was seen of that class


def test_inter_token_latencies_of_a_class_are_refused() -> None:
    with pytest.raises(SimulationError, match="bound tpot"):
        ServiceLevel("itl", "p95", 0.1, 1)


@pytest.mark.parametrize("seed", range(5))
def test_phases_sum_to_the_whole_of_every_request(make, seed: int) -> None:
    """Exactly: differences of neighbouring moments telescope, and floats are fractions."""
    run = split_run(make, seed)
    columns = [run.column(name) for name in MOMENTS]
    spent = phases(run)
    e2e = latency_table(run)["e2e"]
    for i in range(len(e2e)):
        moments = [Fraction(float(column[i])) for column in columns]
        exact = [after - before for before, after in pairwise(moments)]
        assert all(part >= 0 for part in exact)
        assert float(sum(exact)) == e2e[i]
        for part, values in zip(exact, spent.values(), strict=True):
            assert float(part) == values[i]  # one rounding, of the difference itself
    values = metrics(run)
    assert sum(values[f"{name}_share"] for name in spent) == pytest.approx(1.0, abs=1e-12)
    assert values["transfer_share"] > 0.0


def test_an_aggregated_request_never_transfers(make) -> None:
    service = ServiceModel((make.service(SERVE, constant=0.1, n=1e-4),))
    run = simulate(random_workload(make, 3), AGGREGATED, service, options=ALL)
    assert not phases(run)["transfer"].any()


def test_stage_loads_and_link_use(make) -> None:
    """Busy time of each stage, and bytes over bandwidth, over the window."""
    run = split_run(make)
    values, seconds = metrics(run), run.window.seconds
    frozen = frozen_parameters(run, values)
    assert values["prefill_load"] == pytest.approx(values["busy_share_prefill"])
    assert values["decode_load"] == pytest.approx(values["busy_share_decode"])
    sent_by = run.window.closes.time_s
    tokens = run.column("input_tokens")[run.column("link_s") <= sent_by].sum()
    assert values["kv_link_utilisation_prefill"] == pytest.approx(2.0 * tokens / seconds / (2 * 400.0))
    assert values["kv_link_utilisation_decode"] == pytest.approx(2.0 * tokens / seconds / 300.0)
    assert frozen["kv_link_utilisation"] == max(
        values["kv_link_utilisation_prefill"], values["kv_link_utilisation_decode"]
    )
    assert set(frozen) == set(MEANINGS)


def test_mixed_steps_load_both_stages(make) -> None:
    service = ServiceModel((make.service(SERVE, constant=0.1, n=1e-4),))
    run = simulate(random_workload(make, 3), AGGREGATED, service, options=ALL)
    values = metrics(run)
    assert max(values["prefill_load"], values["decode_load"]) < values["busy_share"] <= 1.0
    assert values["prefill_load"] + values["decode_load"] > values["busy_share"]
    assert math.isnan(frozen_parameters(run, values)["kv_link_utilisation"])


def test_matched_lengths(make) -> None:
    """Requests in turns: one prompt shared by all (40 of its 50 tokens hit), one that nobody shares."""
    ids = [np.arange(5) if i % 2 == 0 else np.arange(5 + 5 * i, 10 + 5 * i) for i in range(40)]
    requests = Requests(
        np.arange(40) * 10.0, np.full(40, 50), np.full(40, 1), np.arange(41) * 5, np.concatenate(ids), 10
    )
    deployment = Deployment("aggregated", (SERVE,), "cache_aware", prefix_cache=True)
    service = ServiceModel((make.service(SERVE, p=0.01),))
    run = simulate(Workload(requests), deployment, service, options=SimulationOptions(warmup_fraction=0.5))
    frozen = frozen_parameters(run, metrics(run))
    assert frozen["hit_share"] == 0.5
    assert frozen["matched_tokens"] == 0.5 * frozen["matched_tokens_p90"]
    assert frozen["matched_tokens_p50"] == 0.0
    assert 40.0 <= frozen["matched_tokens_p99"] < 50.0


def test_a_window_counts_busy_time_inside_it_only(make) -> None:
    """Steps of 1 s back to back: whatever moment opens the window, its engine was busy all of it."""
    service = ServiceModel((make.service(SERVE, constant=1.0, K=1e-9),))
    arrival_s = np.array([0.0, 0.3, 4.6, 9.9])
    for share in (0.25, 0.5):
        options = SimulationOptions(warmup_fraction=share)
        run = simulate(make.workload(arrival_s, 10, 30), AGGREGATED, service, options=options)
        assert run.window.opens.time_s == arrival_s[run.window.start]
        values = metrics(run)
        assert values["busy_share"] == pytest.approx(1.0, abs=1e-12)
        assert values["decode_load"] <= 1.0 + 1e-12
