"""Run files: one deployment under one load, read like problem files and spelled out as problems."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from llmopt_problems.errors import ProblemError
from llmopt_problems.runs import (
    deployment_document,
    is_run,
    load_run,
    problem_of,
    warmup_fraction,
    workload_of,
)
from llmopt_problems.schema.run import RunSpec
from llmopt_problems.traffic import sample

LLAMA = ("model=Llama-3.1-8B", "accelerator=H100-SXM", "input_tokens=1000", "output_tokens=100")
RUN = (*LLAMA, "rate=4 req/s", "duration=100 s")
PAIR = ("prefill={tp: 1, instances: 3}", "decode={tp: 2, accelerator: H200-SXM}")


def test_a_file_and_overrides_say_the_same(tmp_path: Path) -> None:
    keys = {"model": "Llama-3.1-8B", "accelerator": "H100-SXM", "rate": "4 req/s", "duration_s": 100}
    lengths = {"input_tokens": 1000, "output_tokens": 100}
    (tmp_path / "run.json").write_text(json.dumps(keys | lengths))
    (tmp_path / "run.yaml").write_text(
        "".join(f"{key}: {value}\n" for key, value in (keys | lengths).items())
    )
    assert load_run(tmp_path / "run.json") == load_run(tmp_path / "run.yaml") == load_run(None, RUN)
    assert load_run(tmp_path / "run.yaml", ["rate=2 req/s"]).rate_per_s == 2.0
    assert is_run(tmp_path / "run.yaml")


def test_problems_are_no_runs(tmp_path: Path) -> None:
    (tmp_path / "problem.yaml").write_text("kind: deployment\nmodel: {name: x}\n")
    assert not is_run(tmp_path / "problem.yaml")
    assert not is_run("quickstart")


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        (RUN[1:], "missing-key"),
        ((*RUN, "modell=x"), "unknown-key"),
        ((*RUN, "concurrency=3"), "run-load"),
        (RUN[:4] + RUN[5:], "run-load"),
        (RUN[:5], "run-end"),
        ((*RUN, "requests=10"), "run-end"),
        ((*RUN, "warmup=100 s"), "run-warmup"),
        ((*RUN, "rate=4"), "unit-missing"),
        ((*RUN, "prefill={tp: 2}"), "run-pools"),
        ((*RUN, "transfer={bandwidth: 50 GB/s}"), "run-transfer"),
        ((*RUN, "prefill={tp: 2}", "decode={tpp: 2}"), "unknown-key"),
        ((*RUN[:2], *RUN[4:]), "run-lengths"),
        ((RUN[0], *RUN[2:]), "run-accelerator"),
        ((*LLAMA, "concurrency=4", "duration=10 s"), "run-closed-loop"),
        ((*LLAMA, "concurrency=4", "requests=10", "warmup=1 s"), "run-warmup"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_name_their_rule(overrides: tuple[str, ...], rule: str) -> None:
    with pytest.raises(ProblemError) as caught:
        load_run(None, overrides)
    assert caught.value.rule == rule
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ("model=Lama-3.1-8B", "known-model"),
        ("accelerator=H1000", "known-accelerator"),
        ("input_tokens=200000", "context-too-short"),
    ],
)
def test_what_no_catalog_has_or_nothing_can_hold_is_refused(changed: str, rule: str) -> None:
    with pytest.raises(ProblemError) as caught:
        problem_of(load_run(None, (*RUN, changed)))
    assert caught.value.rule == rule


def test_pools_inherit_what_the_run_says() -> None:
    run = load_run(None, (*RUN, *PAIR, "tp=4", "batch_cap=32", "transfer={bandwidth_gb_per_s: 50}"))
    assert deployment_document(run) == {
        "prefill": {"accelerator": "H100-SXM", "tp": 1, "instances": 3, "batch_cap": 32},
        "decode": {"accelerator": "H200-SXM", "tp": 2, "batch_cap": 32},
    }
    hardware = problem_of(run).hardware
    assert {offer.name: offer.count for offer in hardware.accelerators} == {"H100-SXM": 3, "H200-SXM": 2}
    assert hardware.kv_link is not None
    assert hardware.kv_link.bandwidth_bytes_per_s == 50e9


def test_a_run_by_time_is_the_beginning_of_a_longer_draw() -> None:
    run = load_run(None, (*LLAMA, "rate=40 req/s", "duration=100 s"))
    problem = problem_of(run)
    cut, longer = workload_of(run, problem, 5).requests, sample(problem.traffic, 6000, 5).requests
    assert len(cut) == np.sum(longer.arrival_s < 100)
    assert abs(len(cut) - 4000) < 5 * np.sqrt(4000)
    np.testing.assert_array_equal(cut.arrival_s, longer.arrival_s[: len(cut)])
    assert cut.block_offsets[-1] == len(cut.block_ids)


@pytest.mark.parametrize("warmup_s", [0.0, 10.0, 99.0])
def test_the_warm_up_cuts_what_arrives_before_it(warmup_s: float) -> None:
    run = load_run(None, (*RUN, f"warmup={warmup_s} s"))
    workload = workload_of(run, problem_of(run), 1)
    first = int(len(workload.requests) * warmup_fraction(run, workload))
    assert workload.requests.arrival_s[first] >= warmup_s
    assert first == 0 or workload.requests.arrival_s[first - 1] < warmup_s


@pytest.mark.parametrize(
    ("changed", "rule"),
    [("duration=1 ms", "run-empty"), ("rate=1000000 req/s", "run-size"), ("warmup=99.999 s", "run-warmup")],
)
def test_runs_without_a_measured_request_are_refused(changed: str, rule: str) -> None:
    run = load_run(None, (*RUN, changed))
    with pytest.raises(ProblemError) as caught:
        warmup_fraction(run, workload_of(run, problem_of(run), 1))
    assert caught.value.rule == rule


def test_every_key_of_a_run_is_described() -> None:
    schema = RunSpec.model_json_schema()
    assert all(entry.get("description") for entry in schema["properties"].values())
