"""Results survive their files, appear whole or not at all, and read the same everywhere."""

import json
import math
import os
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from llmopt_optimizer.output import files, formatting, frames
from llmopt_optimizer.output.files import OutputError, prepare_directory, write_files
from llmopt_optimizer.output.record import NOT_RECORDED, read_result, result_text
from llmopt_optimizer.output.table import console_for, print_result
from llmopt_optimizer.result import (
    SIMULATED,
    Check,
    Estimate,
    FrozenParameter,
    Point,
    Relaxation,
    Result,
    Round,
    Status,
    Verdict,
)
from llmopt_problems.deployment import Deployment, Layout, PoolDeployment

COST, TPOT = "cost_per_million_output_tokens", "tpot_p95_s"


def serving(instances: int) -> Deployment:
    return Deployment(
        "aggregated", (PoolDeployment("serve", "H200-SXM", Layout(tp=4), instances, 2048, 128),)
    )


def split() -> Deployment:
    prefill = PoolDeployment("prefill", "H200-SXM", Layout(tp=4), 1, 8192, 16)
    decode = PoolDeployment("decode", "B200", Layout(tp=8, ep=8, dp=8), 1, 512, 256)
    return Deployment("disaggregated", (prefill, decode), "cache_aware", prefix_cache=False)


def point(deployment: Deployment, cost: float, verdict: Verdict = Verdict.VERIFIED) -> Point:
    return Point(
        deployment,
        predicted={COST: cost, TPOT: 0.031},
        simulated={COST: Estimate(cost * 1.01, cost, cost * 1.02), TPOT: Estimate(0.032, 0.0318, math.inf)},
        verdict=verdict,
        violated=() if verdict is Verdict.VERIFIED else ("p95 TPOT ≤ 20.0 ms",),
        binding=("p95 TPOT ≤ 40 ms", "GPUs ≤ 16"),
        bound=cost,
        gap=0.0,
    )


@pytest.fixture
def result() -> Result:
    return Result(
        problem_name="quickstart",
        status=Status.PROVEN,
        message="",
        objectives=(COST, TPOT),
        senses=("minimize", "minimize"),
        front=(point(serving(2), 0.87), point(split(), 1.2)),
        cut=(point(serving(1), 0.5, Verdict.VIOLATED),),
        rounds=(Round(1, 3, 3, 2, 0.1, 0.2, 0.3),),
        checks=(Check("re-evaluation", True, "14 of 14"),),
        relaxations=(Relaxation("p95 TTFT", 2.0, None, "s"),),
        frozen=(
            FrozenParameter("hit_tokens", 410.0, 390.0, 430.0, "tokens", "found in the cache", SIMULATED),
        ),
        provenance={"gemm": "measured"},
        space_size=12345,
        seconds=12.3,
        gap=0.0,
    )


def printed(result: Result) -> str:
    text = StringIO()
    print_result(result, console_for(text))
    return text.getvalue()


def test_result_document_reads_back_equal(result: Result, tmp_path: Path) -> None:
    write_files(tmp_path, {"result.json": result_text(result, {"name": "quickstart"}, "0.1.0")})
    assert read_result(tmp_path) == result
    assert read_result(tmp_path / "result.json") == result


def test_unknown_numbers_survive_as_strict_json(result: Result, tmp_path: Path) -> None:
    unknown = replace(result, gap=math.nan, front=(replace(result.front[0], bound=math.nan),))
    text = result_text(unknown, {}, "0.1.0")

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    json.loads(text, parse_constant=refuse)
    write_files(tmp_path, {"result.json": text})
    again = read_result(tmp_path)
    assert math.isnan(again.gap)
    assert math.isnan(again.front[0].bound)
    assert again.front[0].simulated[TPOT].high == math.inf


def test_documents_of_the_version_before_are_read(result: Result, tmp_path: Path) -> None:
    document = json.loads(result_text(result, {"name": "quickstart"}, "0.1.0"))
    for each in document["result"]["frozen"]:
        del each["unit"], each["source"]
    write_files(tmp_path, {"result.json": json.dumps(document | {"schema_version": 1})})
    (old,) = result.frozen
    assert read_result(tmp_path) == replace(result, frozen=(replace(old, unit="", source=NOT_RECORDED),))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "is not a result of llmopt"),
        ('{"schema_version": 3}', "schema_version"),
        ('{"schema_version": 1}', "llmopt_version"),
        ('{"schema_version": 1, "result": {"frozen": [3]}}', "llmopt_version"),
        ("\udcff", "cannot be read"),
        ("[]", "is not a result of llmopt"),
    ],
)
def test_damaged_documents_are_named(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "result.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(OutputError, match=expected):
        read_result(tmp_path)


def test_missing_document_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"result\.json: cannot be read"):
        read_result(tmp_path)


def test_pareto_rows_hold_the_verified_points_only(result: Result) -> None:
    table = pd.read_csv(StringIO(frames.front(result).to_csv(index=False)))
    assert list(table["status"]) == ["verified", "verified"]
    assert list(table["mode"]) == ["aggregated", "disaggregated"]
    assert list(table["gpus"]) == [8, 12]
    assert table.loc[0, "serve_tp"] == 4
    assert math.isnan(table.loc[0, "prefill_tp"])
    assert table.loc[1, "decode_accelerator"] == "B200"
    assert table.loc[0, f"predicted_{COST}"] == 0.87
    assert table.loc[0, f"simulated_{COST}_low"] == 0.87
    assert table.loc[0, f"simulated_{COST}_high"] == 0.87 * 1.02
    assert table.loc[0, "binding"] == "p95 TPOT ≤ 40 ms; GPUs ≤ 16"


def test_an_empty_front_is_a_header(result: Result) -> None:
    table = frames.front(replace(result, front=(), cut=()))
    assert len(table) == 0
    assert {"mode", "status", f"simulated_{COST}", "gap"} <= set(table.columns)


def test_long_metrics_pair_prediction_and_simulation(result: Result) -> None:
    table = frames.metrics(result).set_index(["deployment", "metric"])
    assert table.loc[(1, COST), "predicted"] == 0.87
    assert table.loc[(2, TPOT), "simulated"] == 0.032


def test_the_recommendation_comes_first_and_is_verified(result: Result) -> None:
    text = printed(result)
    recommended = text.index("2 instances serving, each TP 4 on 4 H200-SXM")
    assert recommended < text.index("Front:") < text.index("Refused by simulation") < text.index("Proof:")
    assert "p95 TPOT ≤ 20.0 ms, simulated 32.0 ms" in text


def test_nothing_is_recommended_without_a_verified_point(result: Result) -> None:
    text = printed(
        replace(result, status=Status.INFEASIBLE, front=(), conflicts=("GPUs ≤ 16", "p95 TTFT ≤ 2 s"))
    )
    assert "Recommended" not in text
    assert "These limits cannot hold together" in text
    assert "no value alone" in text


def test_piped_text_is_plain_and_narrow(result: Result) -> None:
    lines = printed(result).splitlines()
    assert max(map(len, lines)) <= 120
    assert not any("\x1b" in line or line != line.rstrip() for line in lines)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_number_is_cropped(result: Result, width: int) -> None:
    text = StringIO()
    print_result(result, Console(file=text, width=width, highlight=False))
    words = set(text.getvalue().split())
    assert {"0.879", "0.870", "1.21", "32.0", "31.0"} <= words
    assert "…" not in words


def test_a_number_is_printed_the_same_everywhere(result: Result) -> None:
    cost = formatting.metric_value(COST, result.front[0].simulated[COST].value)
    assert cost == "0.879 $/M tok"
    assert printed(result).count(cost) == 2  # in the recommendation and in the front


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ttft_p95_s", 1.9349, "1.93 s"),
        ("ttft_p95_s", 0.99999, "1.00 s"),
        ("tpot_mean_s", 0.0382, "38.2 ms"),
        ("tpot_mean_s", 0.00005, "50.0 µs"),
        ("e2e_p99_s", 150.0, "2.50 min"),
        (COST, 0.8721, "0.872 $/M tok"),
        ("gpus", 16.0, "16"),
        ("throughput_tokens_per_s", 12345.6, "12,346 tok/s"),
        ("goodput_requests_per_s", 5.999, "6.00 req/s"),
        ("peak_memory_bytes", 1.234e11, "123 GB"),
        ("compute_utilization", 0.4567, "45.7%"),
        ("power_w", 700.0, "700 W"),
        ("ttft_p95_s", math.nan, "–"),
        ("hit_rate", 0.125, "12.5%"),
    ],
)
def test_metric_values(name: str, value: float, expected: str) -> None:
    assert formatting.metric_value(name, value) == expected


@pytest.mark.parametrize(
    ("name", "label"),
    [
        (TPOT, "p95 TPOT"),
        (COST, "cost per million output tokens"),
        ("gpus", "GPUs"),
        ("e2e_mean_s", "mean E2E"),
    ],
)
def test_metric_labels(name: str, label: str) -> None:
    assert formatting.metric_label(name) == label


@given(st.floats(min_value=1e-4, max_value=1e14))
def test_numbers_keep_three_digits(value: float) -> None:
    shown = float(formatting.number(value).replace(",", ""))
    assert shown == pytest.approx(value, rel=0.0051)


def test_files_replace_older_ones_together(tmp_path: Path) -> None:
    write_files(tmp_path, {"a": "old", "b": "old"})
    write_files(tmp_path, {"a": "new", "b": "new"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "new"


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt(), MemoryError()])
def test_a_failure_in_the_middle_keeps_the_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    write_files(tmp_path, {"a": "old", "b": "old"})
    calls = iter([None, error])

    def failing_sync(descriptor: int) -> None:
        problem = next(calls)
        if problem is not None:
            raise problem

    monkeypatch.setattr(files.os, "fsync", failing_sync)
    with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
        write_files(tmp_path, {"a": "new", "b": "new"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "old"


def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_files(tmp_path, {"ours": ""})
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="out: cannot be written to"):
        prepare_directory(tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        prepare_directory(tmp_path)
