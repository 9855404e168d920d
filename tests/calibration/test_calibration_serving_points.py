"""The reader of serving points: what a row means, and every kind of nonsense refused with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from llmopt_calibration.sources.serving_points import (
    PointError,
    ServingPoint,
    read_serving_points,
)
from llmopt_problems.deployment import Layout

DEV_POINTS = Path(__file__).parents[3] / "shared" / "data" / "serving_points_dev.csv"

AGGREGATED = {
    "id": "one",
    "tier": "A",
    "mode": "agg",
    "model_canon": "DeepSeek-R1-0528",
    "model_path": "deepseek-ai/DeepSeek-R1",
    "system": "b200_sxm",
    "backend": "trtllm",
    "precision": "fp8",
    "isl": "1024",
    "osl": "8192",
    "isl_mean": "921.6",
    "osl_mean": "7372.8",
    "concurrency": "64.0",
    "gpus": "8",
    "tp": "1",
    "attn_dp": "8",
    "moe_tp": "1",
    "moe_ep": "8",
    "ttft_ms": "250",
    "tpot_ms": "20",
}
DISAGGREGATED = AGGREGATED | {
    "mode": "disagg",
    **{f"prefill_{name}": "1" for name in ("pp_size", "attention_dp_size", "moe_ep_size")},
    **{f"decode_{name}": "1" for name in ("tp_size", "pp_size", "moe_tp_size")},
    "prefill_tp_size": "4",
    "prefill_moe_tp_size": "4",
    "prefill_num_workers": "3",
    "decode_attention_dp_size": "16",
    "decode_moe_ep_size": "16",
    "decode_num_workers": "2",
}


def read(tmp_path: Path, *rows: Mapping[str, str]) -> tuple[ServingPoint | PointError, ...]:
    names = list(rows[0])
    lines = [",".join(names), *(",".join(row[name] for name in names) for row in rows)]
    file = tmp_path / "points.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_serving_points(file).rows


def point(tmp_path: Path, row: Mapping[str, str]) -> ServingPoint:
    (found,) = read(tmp_path, row)
    assert isinstance(found, ServingPoint), found
    return found


def test_an_aggregated_row_in_the_terms_of_the_catalog(tmp_path: Path) -> None:
    found = point(tmp_path, AGGREGATED)
    assert (found.model, found.accelerator, found.engine) == ("DeepSeek-R1", "B200", "trtllm")
    assert found.pair == ("DeepSeek-R1-0528", "B200")
    assert found.kind == "moe"
    assert found.concurrency == 64
    assert (found.ttft_s, found.tpot_s) == (0.25, 0.02)
    (pool,) = found.pools
    assert (pool.role, pool.instances, pool.layout) == ("serve", 1, Layout(tp=8, ep=8, dp=8))


def test_lengths_are_uniform_from_four_fifths_of_the_nominal_length(tmp_path: Path) -> None:
    found = point(tmp_path, AGGREGATED)
    assert (found.shortest_input, found.longest_input) == (819, 1024)
    assert (found.shortest_output, found.longest_output) == (6554, 8192)
    nominal = point(tmp_path, AGGREGATED | {"isl_mean": "1024.0"})
    assert (nominal.shortest_input, nominal.longest_input) == (1024, 1024)


def test_a_disaggregated_row_has_two_pools_of_workers(tmp_path: Path) -> None:
    found = point(tmp_path, DISAGGREGATED)
    prefill, decode = found.pools
    assert (prefill.role, prefill.instances, prefill.layout) == ("prefill", 3, Layout(tp=4))
    assert (decode.role, decode.instances, decode.layout) == ("decode", 2, Layout(tp=16, ep=16, dp=16))
    assert found.kind == "disagg"
    assert found.accelerators == 3 * 4 + 2 * 16


def test_a_row_that_cuts_fp8_blocks_dispatches_tokens_to_experts(tmp_path: Path) -> None:
    """Experts of DeepSeek-R1 are 2048 wide: 32 ranks would hold half a block each: no pool is as stated."""
    decode = {"decode_attention_dp_size": "32", "decode_moe_tp_size": "32", "decode_moe_ep_size": "1"}
    prefill = {"prefill_tp_size": "1", "prefill_attention_dp_size": "4", "prefill_moe_tp_size": "4"}
    found = point(tmp_path, DISAGGREGATED | prefill | decode | {"backend": "sglang"})
    assert [pool.layout for pool in found.pools] == [Layout(tp=4, ep=4, dp=4), Layout(tp=32, ep=32, dp=32)]


def test_a_row_whose_slices_are_whole_blocks_means_what_it_says(tmp_path: Path) -> None:
    tables = {"backend": "sglang", "decode_moe_tp_size": "16", "decode_moe_ep_size": "1"}
    assert point(tmp_path, DISAGGREGATED | tables).pools[1].layout == Layout(tp=16, ep=1, dp=16)


@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        ({"precision": "fp8"}, "fp8_block"),
        ({"precision": "fp4"}, "fp4"),
        ({"precision": ""}, "fp8_block"),
        ({"precision": "bf16"}, "bf16"),
        ({"precision": "fp8", "model_canon": "Llama-3.3-70B"}, "fp8"),
        ({"precision": "", "model_canon": "Llama-3.1-8B"}, "bf16"),
    ],
)
def test_the_checkpoint_decides_what_fp8_and_nothing_mean(
    tmp_path: Path, changes: dict[str, str], weights: str
) -> None:
    assert point(tmp_path, AGGREGATED | changes).weights == weights


def test_instances_are_the_gpus_over_the_world_size(tmp_path: Path) -> None:
    assert point(tmp_path, AGGREGATED | {"gpus": "32"}).pools[0].instances == 4


def test_a_row_without_measurements_is_a_point_to_predict(tmp_path: Path) -> None:
    found = point(tmp_path, AGGREGATED | {"ttft_ms": "", "tpot_ms": ""})
    assert (found.ttft_s, found.tpot_s) == (None, None)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("tpot_ms", "0.02", "check its unit"),
        ("tpot_ms", "0", "check its unit"),
        ("tpot_ms", "-3", "check its unit"),
        ("ttft_ms", "inf", "not a number"),
        ("ttft_ms", "fast", "not a number"),
        ("concurrency", "", "missing"),
        ("concurrency", "0", "whole number"),
        ("concurrency", "2.5", "whole number"),
        ("isl", "-1", "whole number"),
        ("isl_mean", "9216", "check its unit"),
        ("isl_mean", "100", "check its unit"),
        ("backend", "llama.cpp", "none of"),
        ("mode", "both", "none of"),
        ("precision", "fp3", "none of"),
        ("system", "b9000", "not in the catalog"),
        ("moe_ep", "4", "layout"),
        ("gpus", "12", "multiple"),
    ],
)
def test_nonsense_is_refused_with_its_reason(tmp_path: Path, column: str, value: str, reason: str) -> None:
    (found,) = read(tmp_path, AGGREGATED | {column: value})
    assert isinstance(found, PointError)
    assert reason in str(found)


def test_an_unknown_model_is_named(tmp_path: Path) -> None:
    (found,) = read(tmp_path, AGGREGATED | {"model_canon": "GPT-9", "model_path": "acme/GPT-9"})
    assert "acme/GPT-9" in str(found)


def test_a_repeated_id_counts_once_and_refusals_are_counted(tmp_path: Path) -> None:
    rows = [AGGREGATED, AGGREGATED, AGGREGATED | {"id": "two"}, AGGREGATED | {"id": "three", "isl": ""}]
    read(tmp_path, *rows)
    table = read_serving_points(tmp_path / "points.csv")
    assert [found.id for found in table.points] == ["one", "two"]
    assert sorted(table.refused.values()) == [1, 1]
    assert len(table.sha256) == 64


@pytest.mark.parametrize("text", ["id,tier\none,A\n", ",".join(AGGREGATED) + "\n"])
def test_a_file_of_another_kind_is_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"other\.csv"):
        read_serving_points(file)


@pytest.mark.skipif(
    not DEV_POINTS.is_file(), reason="no ../shared/data/serving_points_dev.csv beside the checkout"
)
def test_every_reliable_row_of_the_development_points_is_a_point() -> None:
    table = read_serving_points(DEV_POINTS)
    refused = [
        tier for tier, row in zip(table.frame["tier"], table.rows, strict=True) if isinstance(row, PointError)
    ]
    assert set(refused) <= {"C"}
    assert sum(point.tier == "A" for point in table.points) == 777
    assert all(point.ttft_s and point.tpot_s for point in table.points if point.tier == "A")
