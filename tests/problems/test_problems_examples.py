"""The bundled problems load, are what the documents promise, and need nothing that is not shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmopt_problems import examples, load, load_any
from llmopt_problems.schema import TraceArrivals
from llmopt_problems.traces.synthesize import synthesize
from llmopt_problems.traffic import sample, traffic_summary


def test_the_bundled_problems_are_these() -> None:
    assert examples.names() == (
        "afd",
        "deepseek_r1_h200",
        "mixed_h200",
        "prefix_trace",
        "quickstart",
        "sizing_two_types",
    )
    with pytest.raises(KeyError):
        examples.path("nothing")


@pytest.mark.parametrize("name", examples.names())
def test_a_bundled_problem_loads_by_name(name: str) -> None:
    problem = load_any(name)
    assert problem == load_any(examples.path(name))
    assert problem.name == name


@pytest.mark.parametrize("name", ["afd", "deepseek_r1_h200", "prefix_trace", "quickstart"])
def test_a_bundled_deployment_can_be_drawn(name: str) -> None:
    problem = load(name)
    assert len(sample(problem.traffic, 50, problem.verification.seed).requests) == 50
    assert examples.path(name).read_text().startswith("# ")


def test_a_file_goes_before_a_bundled_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").write_text(
        examples.path("quickstart").read_text().replace("count: 16", "count: 4")
    )
    assert load("quickstart").hardware.accelerators[0].count == 4


def test_the_quickstart_asks_what_the_readme_says() -> None:
    problem = load("quickstart")
    offer = problem.hardware.accelerators[0]
    assert (problem.model.name, problem.model.weights, problem.model.kv_cache) == (
        "Llama-3.3-70B",
        "fp8",
        "fp8",
    )
    assert (offer.name, offer.count, offer.price_usd_per_h) == ("H200-SXM", 16, 3.5)
    assert {level.key: level.value for level in problem.slo} == {"ttft_p95_s": 2.0, "tpot_p95_s": 0.04}
    assert [goal.key for goal in problem.objectives] == ["cost_per_million_output_tokens", "tpot_p95_s"]
    summary = traffic_summary(problem.traffic)
    assert (summary.request_rate_per_s, summary.mean_input_tokens, summary.mean_output_tokens) == (
        6,
        4000,
        500,
    )
    assert summary.mean_shared_prefix_tokens == 496
    assert problem.limits.time_s == 600


def test_the_shipped_trace_is_what_the_generator_makes() -> None:
    shipped = examples.path("prefix_trace").with_suffix(".jsonl").read_text().splitlines()
    assert shipped == list(synthesize(1500, seed=1))


def test_the_prefix_trace_has_much_to_share() -> None:
    summary = traffic_summary(load("prefix_trace").traffic)
    assert 0.5 < summary.mean_shared_prefix_tokens / summary.mean_input_tokens < 0.8


def test_the_published_trace_takes_the_place_of_the_made_up_one(real_traces: Path) -> None:
    file = real_traces / "mooncake_conversation_trace.jsonl"
    problem = load("prefix_trace", [f"traffic.arrivals.file={file}"])
    assert isinstance(problem.traffic.arrivals, TraceArrivals)
    assert traffic_summary(problem.traffic).requests == 1500
