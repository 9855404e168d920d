"""Series, timelines and tables of a run against counting by hand, and files that give the same run back."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest

from llmopt_problems.deployment import Deployment, Layout, PoolDeployment
from llmopt_problems.traffic.requests import Requests, Workload
from llmopt_simulator import KvTransfer, ServiceModel, SimulationError, SimulationOptions, simulate
from llmopt_simulator.export import read_requests, request_frame, write_requests
from llmopt_simulator.kernel import state as k
from llmopt_simulator.series import time_series
from llmopt_simulator.steps import logged_steps
from llmopt_simulator.timeline import timeline, write_timeline

PREFILL = PoolDeployment("prefill", "x", Layout(pp=2), 2, 100, 8)
DECODE = PoolDeployment("decode", "x", Layout(tp=2, dp=2), 1, 100, 8)
SPLIT = Deployment("disaggregated", (PREFILL, DECODE), prefix_cache=True)


@pytest.fixture(scope="module")
def run(make):
    rng = np.random.default_rng(4)
    count = 200
    ids = rng.integers(0, 6, 3 * count)
    requests = Requests(
        np.cumsum(rng.exponential(0.5, count)),
        rng.integers(31, 150, count),
        rng.integers(1, 20, count),
        np.arange(count + 1) * 3,
        np.sort(ids.reshape(count, 3), axis=1).ravel(),
        10,
        rng.integers(0, 2, count),
    )
    services = (
        make.service(PREFILL, 120, constant=0.1, n=0.01),  # the longest inputs never fit
        make.service(DECODE, 600, constant=0.02, K=1e-5),
    )
    service = ServiceModel(services, KvTransfer(0.05, 2.0, 400.0, 300.0))
    return simulate(Workload(requests), SPLIT, service, 3, SimulationOptions(warmup_fraction=0.2))


def test_the_log_holds_every_step(run) -> None:
    steps, totals = logged_steps(run), run.state.totals
    for e in range(len(run.state.engines)):
        own = steps[steps["engine"] == e]
        assert len(own) == totals[e, k.STEPS]
        assert np.all(own["start_s"][1:] >= own["end_s"][:-1])  # one step at a time
        assert np.sum(own["end_s"] - own["start_s"]) == pytest.approx(totals[e, k.BUSY_S])
        assert own["decodes"].sum() == totals[e, k.DECODE_TOKENS]
        assert own["prefill_tokens"].sum() == totals[e, k.PREFILL_TOKENS]
        assert own["context"].sum() == totals[e, k.CONTEXT_TOKENS]
        held = run.state.ranks["capacity_pages"][run.state.ranks["engine"] == e].sum()
        assert np.all((own["pages"] >= 0) & (own["pages"] <= held))


def test_series_integrate_to_the_run(run) -> None:
    """Every column's integral is a sum over requests or steps, whatever the bins."""
    for bins in (1, 7, 100):
        series = time_series(run, bins)
        width = run.makespan_s / bins
        totals = {name: values.sum() * width for name, values in series.items()}
        served = run.finished
        stays = {
            "waiting": ("admitted_s", "arrival_s"),
            "prefilling": ("prefilled_s", "admitted_s"),
            "transferring": ("first_token_s", "prefilled_s"),
            "decoding": ("finish_s", "first_token_s"),
        }
        for name, (end, begin) in stays.items():
            assert totals[name] == pytest.approx((run.column(end) - run.column(begin))[served].sum())
        assert totals["arrivals_per_s"] == pytest.approx(len(served))
        assert totals["completions_per_s"] == pytest.approx(served.sum())
        assert totals["output_tokens_per_s"] == pytest.approx(run.column("output_tokens")[served].sum())
        busy_s = run.state.totals[:, k.BUSY_S].sum()
        assert totals["busy_share"] * len(run.state.engines) == pytest.approx(busy_s)


def test_series_count_what_an_observer_counts(run) -> None:
    """Mean numbers over fine bins against looking at many moments."""
    series, moments = time_series(run, 20), np.linspace(0, run.makespan_s, 200_001)[:-1] + 1e-7
    begin, end = (run.column(name)[run.finished] for name in ("first_token_s", "finish_s"))
    seen = np.searchsorted(np.sort(begin), moments) - np.searchsorted(np.sort(end), moments)
    np.testing.assert_allclose(series["decoding"], seen.reshape(20, -1).mean(axis=1), atol=0.01)
    with pytest.raises(SimulationError, match="0 bins"):
        time_series(run, 0)


def check_trace(document: dict[str, object]) -> dict[str, int]:
    """The rules of the Trace Event Format that viewers depend on; returns how many events of each kind."""
    events = document["traceEvents"]
    assert isinstance(events, list)
    kinds: dict[str, int] = defaultdict(int)
    ends: dict[tuple[int, int], float] = {}
    open_: dict[tuple[str, int, int], list[tuple[str, float]]] = defaultdict(list)
    for event in events:
        kinds[event["ph"]] += 1
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name")
            assert isinstance(event["args"]["name"], str)
            continue
        assert event["ts"] >= 0.0
        assert round(event["ts"] * 1000) == pytest.approx(event["ts"] * 1000, abs=1e-3)  # nanoseconds
        if event["ph"] == "X":  # no two of a thread overlap
            thread = (event["pid"], event["tid"])
            assert event["dur"] >= 0.0
            assert round(event["ts"] * 1000) >= ends.get(thread, 0)
            ends[thread] = round(event["ts"] * 1000) + round(event["dur"] * 1000)
        elif event["ph"] == "C":
            assert all(isinstance(value, int) and value >= 0 for value in event["args"].values())
        else:  # nestable: the last that began ends first, under the same name
            stack = open_[(event["cat"], event["pid"], event["id"])]
            if event["ph"] == "b":
                stack.append((event["name"], event["ts"]))
            else:
                assert event["ph"] == "e"
                name, began = stack.pop()
                assert name == event["name"]
                assert began <= event["ts"]
    assert not any(open_.values())
    return kinds


def test_a_timeline_is_a_valid_chrome_trace(run, tmp_path) -> None:
    write_timeline(run, tmp_path / "run.json")
    document = json.loads((tmp_path / "run.json").read_text())
    kinds = check_trace(document)
    assert kinds["X"] == run.state.totals[:, k.STEPS].sum()
    assert kinds["b"] == kinds["e"] >= 2 * run.finished.sum()
    last = [event for event in document["traceEvents"] if event["ph"] == "C"][-1]
    assert last["args"] == {"waiting": 0, "running": 0}
    names = {e["args"]["name"] for e in document["traceEvents"] if e["name"] == "process_name"}
    assert names == {"requests", "prefill instance 0", "prefill instance 1", "decode instance 2"}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]  # nothing temporary is left


def test_part_of_a_timeline(run) -> None:
    part = list(timeline(run, 20.0, 30.0))
    check_trace({"traceEvents": part})
    steps = [event for event in part if event["ph"] == "X"]
    assert 0 < len(steps) < run.state.totals[:, k.STEPS].sum()
    assert all(event["ts"] < 30e6 and event["ts"] + event["dur"] >= 20e6 for event in steps)


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_request_tables_come_back_equal(run, tmp_path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    assert 0 < (~run.finished).sum() < 60  # some are rejected
    write_requests(run, tmp_path / f"requests{suffix}")
    pd.testing.assert_frame_equal(
        read_requests(tmp_path / f"requests{suffix}"), request_frame(run), check_exact=True
    )


def test_other_tables_are_refused(run, tmp_path) -> None:
    with pytest.raises(SimulationError, match=r"written as .csv, .json, .parquet, not '.xlsx'"):
        write_requests(run, tmp_path / "requests.xlsx")
