"""Runs as files of SGLang's and vLLM's benchmarks: read back by the readers of real ones, numbers by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmopt_problems.deployment import Deployment, KvGrowth, Layout, PoolDeployment, Scheduling
from llmopt_problems.schema import TraceArrivals, Traffic
from llmopt_problems.traffic import Workload, sample
from llmopt_simulator import KvTransfer, Run, ServiceModel, SimulationError, simulate
from llmopt_simulator.benchmarks import REJECTED, sglang_result, vllm_result, write_sglang, write_vllm
from llmopt_simulator.tokens import token_times

POOL = PoolDeployment("serve", "any", Layout(), instances=2, chunk_tokens=128, batch_cap=8)
PAIR = (
    PoolDeployment("prefill", "any", Layout(pp=2), 1, 128, 8),
    PoolDeployment("decode", "any", Layout(tp=2, dp=2), 1, 128, 8),
)
LENGTH = {"distribution": "uniform", "min": 1, "max": 90}
OPEN = {
    "arrivals": {"process": "poisson", "rate": "9 req/s"},
    "input_tokens": LENGTH,
    "output_tokens": LENGTH,
}
LOOP = OPEN | {"arrivals": {"process": "closed_loop", "concurrency": 9}}


def served(make: Any, traffic: dict[str, Any], pool: PoolDeployment = POOL, kv_tokens: int = 600) -> Run:
    service = ServiceModel((make.service(pool, kv_tokens, page=16, constant=5e-3, n=1e-4),))
    return simulate(workload(traffic), Deployment("aggregated", (pool,)), service, 2)


def workload(traffic: dict[str, Any]) -> Workload:
    return sample(Traffic.model_validate(traffic), 200, 3)


def disaggregated(make: Any) -> Run:
    services = tuple(make.service(pool, 6000, page=16, constant=5e-3, n=1e-4) for pool in PAIR)
    service = ServiceModel(services, KvTransfer(0.01, 2.0, 4000.0, 3000.0))
    return simulate(workload(OPEN), Deployment("disaggregated", PAIR), service, 2)


@pytest.fixture(params=["open", "loop", "prefill first", "disaggregated"])
def run(request: pytest.FixtureRequest, make: Any) -> Run:
    prefill_first = replace(POOL, scheduling=Scheduling(mixing="prefill_first"))
    runs: dict[str, Callable[[], Run]] = {
        "open": lambda: served(make, OPEN),
        "loop": lambda: served(make, LOOP),
        "prefill first": lambda: served(make, OPEN, prefill_first),
        "disaggregated": lambda: disaggregated(make),
    }
    return runs[request.param]()


def test_every_token_has_its_time(run: Run) -> None:
    """The simulator's own histogram of inter-token latencies, counted while it ran, has the same bins."""
    times = token_times(run)
    first, last = run.column("first_token_s"), run.column("finish_s")
    for i, found in enumerate(times):
        assert len(found) == run.column("output_tokens")[i]
        assert (found[0], found[-1]) == (first[i], last[i])
        assert np.all(np.diff(found) > 0)
    gaps = np.concatenate([np.diff(found) for found in times])
    assert len(gaps) == run.state.itl.sum()
    assert gaps.sum() == pytest.approx(float(run.state.world["itl_s"][0]), rel=1e-9)


def test_what_is_written_reads_back_as_the_traffic(run: Run, tmp_path: Path) -> None:
    write_sglang(run, tmp_path / "run.jsonl", "m")
    write_vllm(run, tmp_path / "run.json", "m")
    arrival = run.column("arrival_s")
    order = np.argsort(arrival, kind="stable")
    for name, kind, extra in (("run.jsonl", "sglang", {"rate": "1 req/s"}), ("run.json", "vllm", {})):
        section = {"process": "trace", "file": str(tmp_path / name), "format": kind, **extra}
        again = sample(Traffic(arrivals=TraceArrivals.model_validate(section)), 10**6, 1).requests
        np.testing.assert_array_equal(again.input_tokens, run.column("input_tokens")[order])
        np.testing.assert_array_equal(again.output_tokens, run.column("output_tokens")[order])
    np.testing.assert_allclose(again.arrival_s, arrival[order] - arrival.min(), atol=1e-12)


def test_the_numbers_are_those_of_the_tools(run: Run) -> None:
    sglang, vllm = sglang_result(run, "m"), vllm_result(run, "m")
    ttft = run.column("first_token_s") - run.column("arrival_s")
    e2e = run.column("finish_s") - run.column("arrival_s")
    several = run.column("output_tokens") > 1
    tpot = ((e2e - ttft) / np.maximum(run.column("output_tokens") - 1, 1))[several]
    duration = run.column("finish_s").max() - run.column("arrival_s").min()
    for found, name in ((sglang, "e2e_latency"), (vllm, "e2el")):
        assert found["mean_ttft_ms"] == pytest.approx(1e3 * ttft.mean())
        assert found["p99_tpot_ms"] == pytest.approx(1e3 * np.percentile(tpot, 99))
        assert found[f"std_{name}_ms"] == pytest.approx(1e3 * e2e.std())
        assert found["mean_itl_ms"] == pytest.approx(1e3 * run.state.world["itl_s"][0] / run.state.itl.sum())
        assert found["duration"] == pytest.approx(duration)
        assert found["output_throughput"] == pytest.approx(run.column("output_tokens").sum() / duration)
        assert [len(itls) + 1 for itls in found["itls"]] == found["output_lens"]
        assert found["max_concurrency"] == run.workload.concurrency
        assert math.isinf(found["request_rate"]) == (run.workload.concurrency is not None)
    # Little: mean requests in the system over the whole run.
    assert sglang["concurrency"] == pytest.approx(e2e.sum() / duration)
    under_way = [
        np.sum((run.column("arrival_s") < t + 1) & (run.column("finish_s") >= t))
        for t in run.column("arrival_s").min() + np.arange(math.ceil(duration))
    ]
    assert vllm["max_concurrent_requests"] == max(under_way)


def test_rejected_requests_are_failures(make: Any) -> None:
    run = served(make, OPEN, kv_tokens=130)  # the longest never fit
    failed = ~run.finished
    assert 0 < failed.sum() < len(failed)
    found = vllm_result(run, "m")
    assert found["failed"] == failed.sum()
    assert [error == REJECTED for error in found["errors"]] == failed.tolist()
    assert all(t == 0 for t, bad in zip(found["ttfts"], failed, strict=True) if bad)
    json.loads(json.dumps(found, allow_nan=False))


def test_tokens_are_not_guessed(make: Any) -> None:
    growing = replace(POOL, scheduling=Scheduling(growth=KvGrowth()))
    run = served(make, LOOP, growing, kv_tokens=260)
    assert run.column("retractions").any()
    with pytest.raises(SimulationError, match="retracted"):
        token_times(run)


def test_a_run_that_served_nothing_is_no_benchmark(make: Any) -> None:
    with pytest.raises(SimulationError, match="nothing was served"):
        sglang_result(served(make, OPEN | {"input_tokens": LENGTH | {"min": 40}}, kv_tokens=16), "m")
