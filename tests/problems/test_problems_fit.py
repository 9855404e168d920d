"""Rules that span model, hardware and traffic: what can never be answered is refused when it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmopt_problems import ProblemError, examples, load
from llmopt_problems.catalog import model
from llmopt_problems.fit import require_context
from llmopt_problems.traffic import traffic_summary

QUICKSTART = examples.path("quickstart").read_text()


def refusal(folder: Path, *changes: tuple[str, str]) -> ProblemError:
    text = QUICKSTART
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = folder / "problem.yaml"
    file.write_text(text)
    with pytest.raises(ProblemError) as caught:
        load(file)
    return caught.value


def test_a_model_larger_than_every_accelerator_is_refused(tmp_path: Path) -> None:
    small = ("name: H200-SXM, count: 16", "name: RTX-4090, count: 2")
    error = refusal(tmp_path, small)
    assert error.faults[0].rule == "model-too-large"
    assert error.faults[0].key == "hardware.accelerators"
    assert error.line == 1 + QUICKSTART[: QUICKSTART.index("- {name: H200-SXM")].count("\n")
    assert "73 GB" in str(error)
    assert "larger tp" in str(error)


def test_the_same_model_loads_where_tensor_parallelism_makes_room(tmp_path: Path) -> None:
    file = tmp_path / "problem.yaml"
    file.write_text(QUICKSTART.replace("name: H200-SXM, count: 16", "name: RTX-4090, count: 8"))
    assert load(file).hardware.accelerators[0].count == 8


def test_requests_longer_than_the_context_are_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, ("value: 4000", "value: 131000"))
    assert error.faults[0].rule == "context-too-short"
    assert "131500" in str(error)
    assert "131072" in str(error)


@pytest.mark.parametrize(
    ("experts", "rule"),
    [
        ("{popularity: zipf}", "experts-popularity"),
        ("{popularity: uniform, counts: [1, 2]}", "experts-popularity"),
        ("{popularity: uniform, redundant: 8}", "experts-redundant"),
        ("{popularity: measured, counts: [0, 0]}", "experts-counts"),
        ("{popularity: measured, counts: [1, 2, 3]}", "experts-counts"),
        ("{popularity: zipf, zipf_exponent: 3}", "experts-share"),
    ],
)
def test_experts_that_cannot_be_are_refused(experts: str, rule: str) -> None:
    with pytest.raises(ProblemError) as caught:
        load("deepseek_r1_h200", [f"search.experts={experts}"])
    assert caught.value.faults[0].rule == rule


def test_a_dense_model_has_no_experts() -> None:
    with pytest.raises(ProblemError) as caught:
        load("quickstart", ["search.experts={popularity: uniform}"])
    assert caught.value.faults[0].rule == "experts-none"


def test_a_trace_longer_than_the_context_is_refused() -> None:
    problem = load("prefix_trace")
    summary = traffic_summary(problem.traffic)
    require_context(problem, model("Qwen3-32B"), summary)
    with pytest.raises(ProblemError, match="context-too-short") as caught:
        require_context(problem, model("Llama-2-7B"), summary)
    assert str(caught.value.file).endswith("prefix_trace.jsonl")
