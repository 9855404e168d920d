"""The other trace formats: fixtures value by value, every broken one at its place, and the project's own."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from llmopt_problems import ProblemError
from llmopt_problems.schema import TraceArrivals, Traffic
from llmopt_problems.traces import documents, sharegpt
from llmopt_problems.traffic import Requests, Workload, sample, save, traffic_summary
from llmopt_problems.traffic.replay import read_trace, replay

BURSTGPT = """\
Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45.5,ChatGPT,1087,0,1087,Conversation log
118,GPT-4,417,276,693,API log
"""
VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,395,112\n0.75,1030,403\n"
BENCHMARK = {
    "completed": 3,
    "input_lens": [100, 200, 300, 400],
    "output_lens": [10, 20, 0, 40],
    "errors": ["", "", "timeout", ""],
    "start_times": [7.5, 7.0, 8.0, 9.0],
}
SHAREGPT = [
    {"id": "a", "conversations": [{"from": "human", "value": "x" * 41}, {"from": "gpt", "value": "y" * 8}]},
    {"id": "b", "conversations": [{"from": "human", "value": "only one"}]},
    {"id": "c", "conversations": [{"from": "human", "value": ""}, {"from": "gpt", "value": "y"}]},
    {
        "id": "d",
        "conversations": [
            {"from": "human", "value": "hello", "tokens": 3},
            {"from": "gpt", "value": "there", "tokens": 5},
            {"from": "human", "value": "more"},
        ],
    },
]


def section(path: Path, text: str | bytes, kind: str, **options: Any) -> TraceArrivals:
    """The trace section for a file of this text."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return TraceArrivals.model_validate({"process": "trace", "file": str(path), "format": kind} | options)


def fault(arrivals: TraceArrivals) -> tuple[str, int | None, int | None]:
    """Rule, line and column of what is wrong with a trace."""
    with pytest.raises(ProblemError) as caught:
        replay(arrivals)
    assert caught.value.file == str(arrivals.file)
    assert caught.value.remedy
    return caught.value.rule, caught.value.line, caught.value.column


def test_burstgpt_rows_become_requests_and_failures_do_not(tmp_path: Path) -> None:
    requests = read_trace(section(tmp_path / "t.csv", BURSTGPT, "burstgpt"))
    assert requests.arrival_s.tolist() == [0.0, 113.0]
    assert requests.input_tokens.tolist() == [472, 417]
    assert requests.output_tokens.tolist() == [18, 276]


def test_vidur_rows_become_requests(tmp_path: Path) -> None:
    requests = read_trace(section(tmp_path / "t.csv", VIDUR, "vidur"))
    assert requests.arrival_s.tolist() == [0.0, 0.25]
    assert requests.input_tokens.tolist() == [395, 1030]
    assert requests.output_tokens.tolist() == [112, 403]


def test_azure_of_2024_has_time_zones(tmp_path: Path) -> None:
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,2162,5\n"
    text += "2024-05-10 00:00:01.009930+00:00,2399,6\n"
    assert read_trace(section(tmp_path / "t.csv", text, "azure")).arrival_s.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("kind", ["sglang", "vllm"])
@pytest.mark.parametrize("indent", [None, 2])
def test_benchmark_results_become_requests(tmp_path: Path, kind: str, indent: int | None) -> None:
    requests = read_trace(section(tmp_path / "t.json", json.dumps(BENCHMARK, indent=indent) + "\n", kind))
    assert requests.arrival_s.tolist() == [0.0, 0.5, 2.0]
    assert requests.input_tokens.tolist() == [200, 100, 400]
    assert requests.output_tokens.tolist() == [20, 10, 40]


UNTIMED = json.dumps({key: value for key, value in BENCHMARK.items() if key != "start_times"})


def test_results_without_times_need_a_rate_or_users(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    poisson = Traffic(arrivals=section(file, UNTIMED, "sglang", rate="4 req/s"))
    drawn, again, other = (sample(poisson, 10, seed).requests for seed in (1, 1, 2))
    assert drawn.arrival_s.tobytes() == again.arrival_s.tobytes() != other.arrival_s.tobytes()
    assert drawn.input_tokens.tolist() == other.input_tokens.tolist() == [100, 200, 400]
    summary = traffic_summary(poisson)
    assert (summary.request_rate_per_s, summary.arrival_scv, summary.basis) == (4.0, 1.0, "recorded")
    users = Traffic(arrivals=section(file, UNTIMED, "sglang", concurrency=2))
    assert sample(users, 10, 1).concurrency == 2
    summary = traffic_summary(users)
    assert (summary.concurrency, summary.request_rate_per_s, summary.arrival_scv) == (2, None, None)
    assert fault(section(file, UNTIMED, "sglang")) == ("trace-timing", 1, 1)
    assert fault(section(file, json.dumps(BENCHMARK), "vllm", rate="4 req/s")) == ("trace-timing", 1, 1)


def test_sharegpt_tokens_are_counted_or_estimated(tmp_path: Path) -> None:
    file, text = tmp_path / "t.json", json.dumps(SHAREGPT)
    arrivals = section(file, text, "sharegpt", rate="2 req/s", characters_per_token=4.0)
    requests = read_trace(arrivals)
    assert requests.input_tokens.tolist() == [11, 3]
    assert requests.output_tokens.tolist() == [2, 5]
    assert traffic_summary(Traffic(arrivals=arrivals)).basis == "estimated"
    counted = section(file, json.dumps(SHAREGPT[3:]), "sharegpt", rate="2 req/s")
    assert read_trace(counted).input_tokens.tolist() == [3]
    assert traffic_summary(Traffic(arrivals=counted)).basis == "recorded"
    assert fault(section(file, text, "sharegpt", rate="2 req/s"))[0] == "trace-estimate"


def test_long_lists_are_read_one_value_at_a_time(tmp_path: Path) -> None:
    many = [
        {"id": i, "conversations": [{"value": "q" * (i % 3000)}, {"value": "a\n\\é" * 9}]} for i in range(400)
    ]
    file = tmp_path / "t.json"
    for text in (json.dumps(many), json.dumps(many, indent=1), "\n".join(map(json.dumps, many))):
        file.write_text(text)
        found = list(documents.values(file, "fix it"))
        assert [value for _, value in found] == many
    assert [place.line for place, _ in found] == list(range(1, 401))
    file.write_text(json.dumps(many, indent=1) + "\n\n")
    lines = file.read_text().splitlines()
    for place, _ in documents.values(file, "fix it"):
        assert lines[place.line - 1][place.column - 1] == "{"


def test_a_broken_list_is_found_far_into_the_file(tmp_path: Path) -> None:
    good = json.dumps(SHAREGPT[3])
    text = "[\n" + f"{good},\n" * 1500 + '{"conversations": oops}\n]'
    arrivals = section(tmp_path / "t.json", text, "sharegpt", rate="2 req/s")
    assert len(text) > 2**17
    assert fault(arrivals) == ("trace-json", 1502, 19)
    assert len(read_trace(arrivals.model_copy(update={"limit": 1500}))) == 1500


@pytest.mark.parametrize(
    ("text", "rule", "line", "column"),
    [
        ("", "trace-empty", 1, 1),
        ("[]", "trace-empty", 1, 1),
        ("[1]", "trace-column", 1, 2),
        ('[{"conversations": 3}]', "trace-column", 1, 2),
        ('[{"conversations": [{"value": 3}, {"value": "x"}]}]', "trace-column", 1, 2),
        ('[{"conversations": []} {"conversations": []}]', "trace-json", 1, 24),
        ('[\n{"conversations": []},\n', "trace-json", 3, 1),
        ('[{"conversations": [{"value": "x", "tokens": 0}, {"value": "x"}]}]', "trace-range", 1, 2),
    ],
)
def test_a_broken_sharegpt_file_is_found(
    tmp_path: Path, text: str, rule: str, line: int, column: int
) -> None:
    assert fault(section(tmp_path / "t", text, "sharegpt", rate="2 req/s")) == (rule, line, column)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"input_lens": None}, "trace-column"),
        ({"output_lens": [1, 2, 3]}, "trace-column"),
        ({"output_lens": [10, 0, 0, 40]}, "trace-range"),
        ({"input_lens": [100, -2, 300, 400]}, "trace-range"),
        ({"input_lens": [100, 2.5, 300, 400]}, "trace-number"),
        ({"start_times": [1, 2, 3, "x"]}, "trace-time"),
        ({"start_times": [1, 2, 3, float("inf")]}, "trace-time"),
        ({"errors": ["failed"] * 4}, "trace-empty"),
    ],
)
def test_a_broken_benchmark_result_is_found(tmp_path: Path, changes: dict[str, Any], rule: str) -> None:
    assert fault(section(tmp_path / "t", json.dumps(BENCHMARK | changes), "vllm")) == (rule, 1, 1)


def test_a_benchmark_file_holds_one_run(tmp_path: Path) -> None:
    line = json.dumps(BENCHMARK)
    assert fault(section(tmp_path / "t", f"{line}\n{line}\n", "sglang")) == ("trace-runs", 2, 1)
    assert fault(section(tmp_path / "t", "", "sglang")) == ("trace-json", 1, 1)


@pytest.mark.parametrize(
    ("kind", "text", "rule", "line", "column"),
    [
        ("burstgpt", BURSTGPT.replace("Model", "M").replace("Request tokens", "R"), "trace-column", 1, 1),
        ("burstgpt", BURSTGPT.replace(",18,", ",-1,"), "trace-range", 2, 15),
        ("burstgpt", BURSTGPT.replace("118,", "noon,"), "trace-time", 4, 1),
        ("burstgpt", BURSTGPT.replace("118,", "1,"), "trace-unsorted", 4, 1),
        ("vidur", VIDUR.replace("1030", "1e3"), "trace-number", 3, 6),
        ("vidur", VIDUR.replace("0.75", "-0.75"), "trace-time", 3, 1),
        ("vidur", VIDUR.replace("0.75", "nan"), "trace-time", 3, 1),
        ("vidur", VIDUR.splitlines()[0], "trace-empty", 1, 1),
    ],
)
def test_a_broken_table_is_found(
    tmp_path: Path, kind: str, text: str, rule: str, line: int, column: int
) -> None:
    assert fault(section(tmp_path / "t", text, kind)) == (rule, line, column)


def test_packed_traces_are_unpacked(tmp_path: Path) -> None:
    packed = section(tmp_path / "t.csv.gz", gzip.compress(VIDUR.encode()), "vidur")
    assert read_trace(packed).input_tokens.tolist() == [395, 1030]
    assert (
        fault(section(tmp_path / "t.csv.gz", gzip.compress(VIDUR.encode())[:-9], "vidur"))[0]
        == "file-readable"
    )
    assert fault(section(tmp_path / "t.csv.gz", VIDUR, "vidur"))[0] == "file-readable"


LENGTH = {"distribution": "lognormal", "mean": 90.0, "cv": 1.0, "max": 300}
CHAT = {
    "turns": {"distribution": "uniform", "min": 1, "max": 4},
    "think_time": "1 s",
    "max_input_tokens": 900,
}
LENGTHS = {"input_tokens": LENGTH, "output_tokens": LENGTH}
DESCRIBED = {
    "single": {"arrivals": {"process": "weibull", "rate": "7 req/s", "cv": 2.0}} | LENGTHS,
    "loop": {"arrivals": {"process": "closed_loop", "concurrency": 3, "think_time": "2 s"}} | LENGTHS,
    "chat": {
        "arrivals": {"process": "poisson", "rate": "7 req/s"},
        "classes": [
            {"name": "talk", "share": 0.5, "conversation": CHAT, "shared_prefix": {"tokens": 40}} | LENGTHS,
            {"name": "code", "share": 0.5} | LENGTHS,
        ],
    },
}


def _arrays(workload: Workload) -> dict[str, bytes | None]:
    requests = workload.requests
    arrays = {name: getattr(requests, name) for name in Requests.__slots__ if name != "block_tokens"}
    arrays |= {"think_s": workload.think_s, "follows": workload.follows}
    return {name: None if array is None else array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("kind", DESCRIBED)
@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_a_saved_workload_is_read_back_to_the_last_bit(tmp_path: Path, kind: str, ending: str) -> None:
    drawn = sample(Traffic.model_validate(DESCRIBED[kind]), 300, 6)
    file = tmp_path / f"t.{ending}"
    save(drawn, file, ["talk", "code"] if kind == "chat" else [])
    arrivals = TraceArrivals.model_validate({"process": "trace", "file": str(file), "format": "llmopt"})
    found = replay(arrivals)
    assert _arrays(found.workload) == _arrays(drawn)
    assert found.workload.concurrency == drawn.concurrency
    assert found.workload.requests.block_tokens == drawn.requests.block_tokens
    assert found.class_names == (("talk", "code") if kind == "chat" else ())
    assert _arrays(sample(Traffic(arrivals=arrivals), 300, 99)) == _arrays(drawn)
    before = file.read_bytes()
    save(found.workload, file, found.class_names)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_part_of_a_saved_workload_may_be_read(tmp_path: Path) -> None:
    drawn = sample(Traffic.model_validate(DESCRIBED["chat"]), 300, 6)
    file = tmp_path / "t.jsonl"
    save(drawn, file)
    data = {
        "process": "trace",
        "file": str(file),
        "format": "llmopt",
        "skip": 100,
        "limit": 150,
        "speedup": 2.0,
    }
    part = replay(TraceArrivals.model_validate(data)).workload
    assert drawn.follows is not None
    assert part.follows is not None
    expected = np.where(drawn.follows[100:250] >= 100, drawn.follows[100:250] - 100, -1)
    np.testing.assert_array_equal(part.follows, expected)
    times = drawn.requests.arrival_s[100:250]
    np.testing.assert_allclose(part.requests.arrival_s, (times - times[0]) / 2)
    np.testing.assert_array_equal(part.requests.input_tokens, drawn.requests.input_tokens[100:250])


HEADER = '{"format": "llmopt-workload", "version": 1, "block_tokens": 16, "columns": ["follows"]}'
ROW = '{"arrival_s": 0.5, "input_tokens": 40, "output_tokens": 2, "blocks": [0, 1], "follows": -1}'


@pytest.mark.parametrize(
    ("text", "rule", "line", "column"),
    [
        ("", "trace-json", 1, 1),
        ("{}", "trace-header", 1, 1),
        (HEADER.replace('version": 1', 'version": 2'), "trace-version", 1, 1),
        (HEADER.replace("follows", "fellows"), "trace-header", 1, 1),
        (HEADER.replace("16", "0"), "trace-range", 1, 1),
        (HEADER, "trace-empty", 1, 1),
        (f"{HEADER}\n{ROW}\n{ROW[:-1]}", "trace-json", 3, len(ROW)),
        (f"{HEADER}\n{ROW.replace('follows', 'leads')}", "trace-column", 2, 1),
        (f"{HEADER}\n{ROW.replace('-1', '0')}", "trace-number", 2, ROW.index('"follows') + 1),
        (f"{HEADER}\n{ROW.replace('[0, 1]', '[0, 1, 2]')}", "trace-blocks", 2, ROW.index('"blocks') + 1),
        (f"{HEADER}\n{ROW.replace('[0, 1]', '[0, -1]')}", "trace-blocks", 2, ROW.index('"blocks') + 1),
        (f"{HEADER}\n{ROW.replace('40', '0')}", "trace-range", 2, ROW.index('"input') + 1),
        (f"{HEADER}\n{ROW.replace('0.5', '-0.5')}", "trace-time", 2, 2),
        (f"{HEADER}\n{ROW}\n{ROW.replace('0.5', '0.4')}", "trace-unsorted", 3, 1),
    ],
)
def test_a_broken_saved_workload_is_found(
    tmp_path: Path, text: str, rule: str, line: int, column: int
) -> None:
    assert fault(section(tmp_path / "t", text, "llmopt")) == (rule, line, column)


FUZZ = {
    "burstgpt": BURSTGPT,
    "vidur": VIDUR,
    "vllm": json.dumps(BENCHMARK),
    "sharegpt": json.dumps(SHAREGPT),
    "llmopt": f"{HEADER}\n{ROW}\n{ROW}\n",
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(FUZZ)), st.integers(0, 300), st.integers(0, 30), st.binary(max_size=8))
def test_any_bytes_are_read_or_refused(tmp_path: Path, kind: str, start: int, cut: int, junk: bytes) -> None:
    content = FUZZ[kind].encode()
    options = {"rate": "2 req/s", "characters_per_token": 4.0} if kind == "sharegpt" else {}
    arrivals = section(tmp_path / "t", content[:start] + junk + content[start + cut :], kind, **options)
    try:
        requests = read_trace(arrivals)
    except ProblemError:
        return
    assert np.all(np.diff(requests.arrival_s) >= 0)
    assert requests.input_tokens.min() >= 1
    assert requests.output_tokens.min() >= 1


def test_options_that_do_not_fit_a_trace_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="either at a rate or from a closed loop"):
        section(tmp_path / "t", UNTIMED, "sglang", rate="1 req/s", concurrency=3)
    with pytest.raises(ValidationError, match="count tokens"):
        section(tmp_path / "t", UNTIMED, "sglang", characters_per_token=4.0)


@pytest.mark.parametrize("run", ["s1", "s4"])
def test_vidur_runs_replay(real_traces: Path, run: str) -> None:
    file = real_traces.parent / "vidur_runs" / run / "trace_in.csv"
    table = np.loadtxt(file, delimiter=",", skiprows=1)
    data = {"process": "trace", "file": str(file), "format": "vidur"}
    requests = read_trace(TraceArrivals.model_validate(data))
    np.testing.assert_array_equal(requests.arrival_s, table[:, 0] - table[0, 0])
    np.testing.assert_array_equal(requests.input_tokens, table[:, 1])
    np.testing.assert_array_equal(requests.output_tokens, table[:, 2])


def test_the_remedy_for_sharegpt_is_itself_readable(tmp_path: Path) -> None:
    text = sharegpt.REMEDY.removeprefix("write ").replace(", …]", "]").replace("…", "words")
    arrivals = section(tmp_path / "t", text, "sharegpt", rate="2 req/s", characters_per_token=4.0)
    assert len(read_trace(arrivals)) == 1
