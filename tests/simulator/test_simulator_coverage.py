"""Reported 95% intervals hold the true value in 95 of 100 cases: queues whose percentiles theory knows."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from queueing import formulas as theory
from queueing import systems
from queueing.systems import TOKENS, Proof

from llmopt_simulator import Interval, SimulationOptions, replicate, simulate
from llmopt_simulator.measure import latency_table
from llmopt_simulator.order_statistics import batched_mean, batched_percentile

CUT = SimulationOptions(warmup_fraction=0.2)
UTILISATION = 0.5
MEAN_S = theory.geometric(TOKENS).mean_s / TOKENS


def sojourn(share: float) -> float:
    return theory.mm1_sojourn_percentile(UTILISATION / MEAN_S, MEAN_S, share)


SOJOURNS = {"mean": MEAN_S / (1.0 - UTILISATION)} | {f"p{p}": sojourn(p / 100) for p in (50, 90, 95, 99)}
"""What theory says of the time in M/M/1."""


def of_replications(proof: Proof, seed: int) -> dict[str, Interval]:
    """Student-t over five replications."""
    evidence = replicate(proof.source, proof.deployment, proof.service, CUT, replications=5, seed=seed)
    return {name: evidence.metrics[f"e2e_{name}_s"] for name in SOJOURNS}


def of_one_run(proof: Proof, seed: int) -> dict[str, Interval]:
    """Order statistics with batch means of one long run."""
    run = simulate(proof.source(seed), proof.deployment, proof.service, seed, CUT)
    values = latency_table(run)["e2e"][run.window.members]
    percentiles = {
        name: batched_percentile(values, int(name[1:]), 0.95) for name in SOJOURNS if name != "mean"
    }
    return {"mean": batched_mean(values, 0.95)} | percentiles


Report = Callable[[Proof, int], dict[str, Interval]]


def coverage(report: Report, proof: Proof, cases: int) -> dict[str, float]:
    """Share of cases in which the interval holds the true value, by statistic."""
    reports = [report(proof, 1000 + case) for case in range(cases)]
    return {
        name: sum(found[name].low <= exact <= found[name].high for found in reports) / cases
        for name, exact in SOJOURNS.items()
    }


@pytest.mark.parametrize(("report", "count"), [(of_replications, 800), (of_one_run, 8000)])
def test_intervals_cover(report: Report, count: int) -> None:
    """100 cases: coverage below 0.86 has a chance of 1 in 7,000 when the truth is 0.95."""
    found = coverage(report, systems.mm1(UTILISATION, count), 100)
    assert all(share >= 0.86 for share in found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize(("report", "count"), [(of_replications, 5000), (of_one_run, 40_000)])
def test_intervals_cover_in_a_thousand_cases(report: Report, count: int) -> None:
    found = coverage(report, systems.mm1(UTILISATION, count), 1000)
    print(report.__name__, found)
    assert all(0.93 <= share <= 0.97 for share in found.values()), found


@pytest.mark.slow
def test_waits_of_several_servers_cover() -> None:
    """M/M/4 at 0.7: P(W > t) = C e^(−(cμ − λ) t), so p90 and p95 of the wait are known."""
    servers, utilisation = 4, 0.7
    rate = utilisation * servers / MEAN_S
    waiting, decay = theory.erlang_c(servers, utilisation * servers), servers / MEAN_S - rate
    exact = {f"p{p}": math.log(waiting / (1.0 - p / 100)) / decay for p in (90, 95)}
    proof = systems.mmc(utilisation, 10_000, servers)
    hits = dict.fromkeys(exact, 0)
    for case in range(1000):
        evidence = replicate(proof.source, proof.deployment, proof.service, CUT, replications=5, seed=case)
        for name, value in exact.items():
            interval = evidence.metrics[f"queueing_{name}_s"]
            hits[name] += interval.low <= value <= interval.high
    print(hits)
    assert all(930 <= count <= 970 for count in hits.values()), hits
