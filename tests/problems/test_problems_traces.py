"""Trace readers: fixtures line by line, every broken line at its place, and the published traces."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmopt_problems import ProblemError
from llmopt_problems.schema import TraceArrivals, Traffic
from llmopt_problems.traces import mooncake
from llmopt_problems.traces.synthesize import synthesize
from llmopt_problems.traffic import sample, traffic_summary
from llmopt_problems.traffic.replay import read_trace
from llmopt_problems.traffic.reuse import infinite_cache_hits

MOONCAKE = """\
{"timestamp": 1000, "input_length": 1100, "output_length": 5, "hash_ids": [70, 9, 33]}
{"timestamp": 1500, "input_length": 1024, "output_length": 6, "hash_ids": [70, 12]}

{"timestamp": 3000, "input_length": 300, "output_length": 7, "hash_ids": [50]}
{"timestamp": 4000, "input_length": 1600, "output_length": 8, "hash_ids": [70, 12, 80, 81]}
"""
AZURE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:18:04.0319600,110,27
"""


def trace(path: Path, text: str, kind: str, **options: Any) -> TraceArrivals:
    """The trace section for a file of this text."""
    path.write_text(text, encoding="utf-8")
    data = {"process": "trace", "file": str(path), "format": kind} | options
    return TraceArrivals.model_validate(data)


def test_mooncake_rows_become_requests(tmp_path: Path) -> None:
    requests = read_trace(trace(tmp_path / "t", MOONCAKE, "mooncake"))
    np.testing.assert_array_equal(requests.arrival_s, [0.0, 0.5, 2.0, 3.0])
    assert requests.input_tokens.tolist() == [1100, 1024, 300, 1600]
    assert requests.output_tokens.tolist() == [5, 6, 7, 8]
    # 1100 tokens fill two blocks of 512, 300 none, 1600 three; ids in order of first appearance.
    assert requests.block_offsets.tolist() == [0, 2, 4, 4, 7]
    assert requests.block_ids.tolist() == [0, 1, 0, 2, 0, 2, 3]
    assert requests.block_tokens == 512
    assert infinite_cache_hits(requests).tolist() == [0, 512, 0, 1024]


def test_azure_rows_become_requests(tmp_path: Path) -> None:
    requests = read_trace(trace(tmp_path / "t", AZURE, "azure"))
    np.testing.assert_allclose(requests.arrival_s, [0.0, 0.052, 60.052], atol=1e-6)
    assert requests.input_tokens.tolist() == [4808, 3180, 110]
    assert requests.output_tokens.tolist() == [10, 8, 27]
    assert len(requests.block_ids) == 0


def test_skip_limit_and_speedup(tmp_path: Path) -> None:
    requests = read_trace(trace(tmp_path / "t", MOONCAKE, "mooncake", skip=1, limit=2, speedup=3.0))
    np.testing.assert_allclose(requests.arrival_s, [0.0, 0.5])
    assert requests.output_tokens.tolist() == [6, 7]
    assert requests.block_ids.tolist() == [0, 1]


def test_a_limit_stops_the_reading(tmp_path: Path) -> None:
    broken_later = MOONCAKE + "broken\n" * 3
    assert len(read_trace(trace(tmp_path / "t", broken_later, "mooncake", limit=4))) == 4
    with pytest.raises(ProblemError):
        read_trace(trace(tmp_path / "t", broken_later, "mooncake"))


GOOD = '{"timestamp": 1, "input_length": 9, "output_length": 5, "hash_ids": [1]}'


@pytest.mark.parametrize(
    ("line", "rule", "column"),
    [
        (GOOD.replace("9,", "9;"), "trace-json", GOOD.index("9,") + 2),
        ("[1]", "trace-json", 1),
        ("[" * 100_000, "trace-json", 1),
        (GOOD.replace("9,", "9" * 5000 + ","), "trace-json", 1),
        (GOOD.replace('"input_length"', '"inputs"'), "trace-column", 1),
        (GOOD.replace("9,", "-9,"), "trace-range", GOOD.index('"input') + 1),
        (GOOD.replace("9,", "0,"), "trace-range", GOOD.index('"input') + 1),
        (GOOD.replace("5,", "5.5,"), "trace-number", GOOD.index('"output') + 1),
        (GOOD.replace("5,", "true,"), "trace-number", GOOD.index('"output') + 1),
        (GOOD.replace(" 1,", " -1,"), "trace-time", GOOD.index('"time') + 1),
        (GOOD.replace(" 1,", " NaN,"), "trace-time", GOOD.index('"time') + 1),
        (GOOD.replace("[1]", '["a"]'), "trace-blocks", GOOD.index('"hash') + 1),
        (GOOD.replace(" 1,", " 0,"), "trace-unsorted", 1),
    ],
)
def test_a_broken_mooncake_line_is_found(tmp_path: Path, line: str, rule: str, column: int) -> None:
    section = trace(tmp_path / "t", f"{GOOD}\n{GOOD}\n{line}\n", "mooncake")
    with pytest.raises(ProblemError) as caught:
        read_trace(section)
    error = caught.value
    assert (error.file, error.line, error.column) == (str(tmp_path / "t"), 3, column)
    assert error.rule == rule
    assert error.remedy


@pytest.mark.parametrize(
    ("text", "rule", "line", "column"),
    [
        (AZURE.replace("ContextTokens", "Prompt"), "trace-column", 1, 1),
        ("", "trace-column", 1, 1),
        (AZURE.splitlines()[0], "trace-empty", 1, 1),
        (AZURE.replace(",3180,", ",many,"), "trace-number", 3, 29),
        (AZURE.replace(",3180,", ",-4,"), "trace-range", 3, 29),
        (AZURE.replace(",3180,8", ",3180"), "trace-column", 3, 1),
        (AZURE.replace("18:17:04.", "25:17:04."), "trace-time", 3, 1),
        (AZURE.replace("18:17:04.", "17:17:04."), "trace-unsorted", 3, 1),
    ],
)
def test_a_broken_azure_line_is_found(tmp_path: Path, text: str, rule: str, line: int, column: int) -> None:
    section = trace(tmp_path / "t", text, "azure")
    with pytest.raises(ProblemError) as caught:
        read_trace(section)
    assert (caught.value.rule, caught.value.line, caught.value.column) == (rule, line, column)


def test_an_empty_slice_and_one_without_duration_are_refused(tmp_path: Path) -> None:
    for options, rule in (({"skip": 4}, "trace-empty"), ({"limit": 1}, "trace-duration")):
        section = trace(tmp_path / "t", MOONCAKE, "mooncake", **options)
        with pytest.raises(ProblemError) as caught:
            traffic_summary(Traffic(arrivals=section))
        assert caught.value.rule == rule


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["mooncake", "azure"]), st.integers(0, 200), st.integers(0, 30), st.binary(max_size=8))
def test_any_bytes_in_a_trace_are_read_or_refused(
    tmp_path: Path, kind: str, start: int, cut: int, junk: bytes
) -> None:
    content = (MOONCAKE if kind == "mooncake" else AZURE).encode()
    section = trace(tmp_path / "t", "", kind)
    section.file.write_bytes(content[:start] + junk + content[start + cut :])
    try:
        requests = read_trace(section)
    except ProblemError:
        return
    assert np.all(np.diff(requests.arrival_s) >= 0)


def test_a_trace_is_replayed_whatever_the_seed(tmp_path: Path) -> None:
    traffic = Traffic(arrivals=trace(tmp_path / "t", MOONCAKE, "mooncake"))
    first, other = sample(traffic, 3, seed=1).requests, sample(traffic, 3, seed=2).requests
    assert len(first) == 3
    assert first.arrival_s.tobytes() == other.arrival_s.tobytes()
    assert len(sample(traffic, 100, seed=1).requests) == 4


def test_the_summary_of_a_trace_is_that_of_its_requests(tmp_path: Path) -> None:
    summary = traffic_summary(Traffic(arrivals=trace(tmp_path / "t", MOONCAKE, "mooncake")))
    assert summary.request_rate_per_s == pytest.approx(1.0)
    assert summary.mean_input_tokens == pytest.approx((1100 + 1024 + 300 + 1600) / 4)
    assert summary.second_moment_output_tokens == pytest.approx((25 + 36 + 49 + 64) / 4)
    assert summary.mean_input_output_product == pytest.approx((5500 + 6144 + 2100 + 12800) / 4)
    assert summary.mean_shared_prefix_tokens == pytest.approx((512 + 1024) / 4)
    assert (summary.max_input_tokens, summary.max_output_tokens, summary.requests) == (1600, 8, 4)


def _hits(rows: Iterator[dict[str, Any]]) -> Iterator[int]:
    """An independent count: whole prefixes as tuples in a set."""
    seen: set[tuple[int, ...]] = set()
    for row in rows:
        full = row["hash_ids"][: row["input_length"] // 512]
        prefixes = [tuple(full[: k + 1]) for k in range(len(full))]
        yield 512 * sum(1 for _ in itertools.takewhile(seen.__contains__, prefixes))
        seen.update(prefixes)


def test_the_published_conversation_trace(real_traces: Path) -> None:
    file = real_traces / "mooncake_conversation_trace.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    section = TraceArrivals.model_validate({"process": "trace", "file": str(file), "format": "mooncake"})
    requests = read_trace(section)
    assert len(requests) == len(rows) == 12031
    assert requests.input_tokens.sum() == sum(row["input_length"] for row in rows)
    assert requests.arrival_s[-1] == pytest.approx((rows[-1]["timestamp"] - rows[0]["timestamp"]) / 1000)
    short = read_trace(section.model_copy(update={"limit": 400}))
    assert infinite_cache_hits(short).tolist() == list(_hits(iter(rows[:400])))


@pytest.mark.parametrize(("name", "count"), [("code", 8819), ("conv", 19366)])
def test_the_published_azure_traces(real_traces: Path, name: str, count: int) -> None:
    file = real_traces / f"AzureLLMInferenceTrace2023_{name}.csv"
    table = np.loadtxt(file, delimiter=",", skiprows=1, usecols=(1, 2), dtype=np.int64)
    section = TraceArrivals.model_validate({"process": "trace", "file": str(file), "format": "azure"})
    requests = read_trace(section)
    assert len(requests) == count
    np.testing.assert_array_equal(requests.input_tokens, table[:, 0])
    np.testing.assert_array_equal(requests.output_tokens, table[:, 1])


def test_a_made_up_trace_is_deterministic_and_sound(tmp_path: Path) -> None:
    lines = list(synthesize(300, seed=4))
    assert lines == list(synthesize(300, seed=4))
    assert lines != list(synthesize(300, seed=5))
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 300
    assert all(len(row["hash_ids"]) == -(-row["input_length"] // mooncake.BLOCK_TOKENS) for row in rows)
    # Chained ids: what stands before an id is always the same.
    parents: dict[int, int] = {}
    for row in rows:
        for before, block in itertools.pairwise([-1, *row["hash_ids"]]):
            assert parents.setdefault(block, before) == before
    requests = read_trace(trace(tmp_path / "t", "\n".join(lines), "mooncake"))
    assert infinite_cache_hits(requests).tolist() == list(_hits(iter(rows)))
