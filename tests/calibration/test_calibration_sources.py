"""Readers turn tables into SI shapes, and count what they leave out; tried on tables written here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from llmopt_calibration.laws import law
from llmopt_calibration.sources import (
    Measurements,
    OperatorTables,
    Provenance,
    find_tables,
    read_family,
    readable_families,
)
from llmopt_calibration.sources.measurements import clean

PROVENANCE = Provenance("synthetic", "0", "none.parquet", "0")


def write(root: Path, operator: str, engine: str, version: str, table: str, rows: dict[str, Any]) -> None:
    folder = root / "systems/data/h200_sxm" / operator / engine / version
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(folder / f"{table}.parquet")


def read(root: Path, family: str, engine: str = "sglang") -> Measurements:
    found = read_family(OperatorTables(root, "1.2"), "H200-SXM", engine, family)
    assert found is not None
    return found


@pytest.mark.parametrize("family", sorted(readable_families()))
def test_every_table_serves_a_law(family: str) -> None:
    assert law(family).family == family


def test_gemm(tmp_path: Path) -> None:
    rows = {
        "gemm_dtype": ["fp8", "fp8", "fp8", "bfloat16"],
        "m": [8, 8, 16, 8],
        "n": [1024, 1024, 1024, 1024],
        "k": [512, 512, 512, 512],
        "latency": [0.010, 0.030, 0.040, 0.5],
    }
    write(tmp_path, "gemm", "sglang", "0.5.14", "gemm_perf", rows)
    data = read(tmp_path, "gemm_fp8")
    assert data.shape.to_dict("list") == {
        "tokens": [8.0, 16.0],
        "output_width": [1024.0, 1024.0],
        "input_width": [512.0, 512.0],
    }
    assert data.seconds.tolist() == pytest.approx([20e-6, 40e-6])  # ms to s, median of the repeated shape
    assert data.dropped["repeated shape"] == 1
    assert data.provenance.table == "systems/data/h200_sxm/gemm/sglang/0.5.14/gemm_perf.parquet"
    assert data.provenance.package_version == "1.2"
    assert len(data.provenance.sha256) == 64


def attention_rows(**changes: Any) -> dict[str, Any]:
    row = {
        "kernel_source": "fa3",
        "attn_dtype": "bfloat16",
        "kv_cache_dtype": "bfloat16",
        "batch_size": 4,
        "isl": 100,
        "step": 0,
        "window_size": 0,
        "num_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "latency": 0.5,
    }
    return {name: [value] for name, value in (row | changes).items()}


def test_prefill_counts_the_causal_triangle(tmp_path: Path) -> None:
    write(tmp_path, "attention", "sglang", "0.5.14", "context_attention_perf", attention_rows())
    data = read(tmp_path, "attention_prefill_bf16")
    assert data.shape.iloc[0].to_dict() == {
        "tokens": 400,
        "pairs": 4 * sum(range(1, 101)),
        "query_heads": 32,
        "kv_heads": 8,
        "head_dim": 128,
        "value_dim": 128,
    }
    assert data.seconds.tolist() == pytest.approx([0.5e-3])


def test_decode_counts_the_token_itself(tmp_path: Path) -> None:
    rows = attention_rows(isl=1, step=1023)
    write(tmp_path, "attention", "sglang", "0.5.14", "generation_attention_perf", rows)
    data = read(tmp_path, "attention_decode_bf16")
    assert data.shape.iloc[0]["sequences"] == 4
    assert data.shape.iloc[0]["context"] == 4096


def test_windows_and_odd_heads_are_left_out(tmp_path: Path) -> None:
    changes = [{}, {"window_size": 128}, {"head_dim": 512}, {"num_heads": 32, "num_key_value_heads": 1}]
    frames = [attention_rows(**change) for change in changes]
    rows = {name: [frame[name][0] for frame in frames] for name in frames[0]}
    write(tmp_path, "attention", "sglang", "0.5.14", "context_attention_perf", rows)
    assert len(read(tmp_path, "attention_prefill_bf16").seconds) == 1


def test_experts(tmp_path: Path) -> None:
    rows = {
        "kernel_source": ["triton"] * 3,
        "moe_dtype": ["fp8_block"] * 3,
        "num_tokens": [64, 64, 128],
        "hidden_size": [7168] * 3,
        "inter_size": [2048] * 3,
        "topk": [8] * 3,
        "num_experts": [256] * 3,
        "moe_tp_size": [4] * 3,
        "moe_ep_size": [8] * 3,
        "distribution": ["power_law_1.01", "balanced", "power_law_1.01"],
        "latency": [1.0, 7.0, 2.0],
    }
    write(tmp_path, "moe", "sglang", "0.5.14", "moe_perf", rows)
    data = read(tmp_path, "moe_fp8_block")
    assert data.shape["intermediate"].tolist() == [512, 512]
    assert data.shape["local_experts"].tolist() == [32, 32]
    assert data.seconds.tolist() == pytest.approx([1e-3, 2e-3])


def test_message_sizes_count_elements(tmp_path: Path) -> None:
    rows = {
        "kernel_source": ["vLLM_custom_graph", "vLLM_custom_eager"],
        "allreduce_dtype": ["bfloat16"] * 2,
        "num_gpus": [8, 8],
        "message_size": [4096, 4096],
        "latency": [0.01, 0.05],
    }
    write(tmp_path, "comm", "vllm", "0.24.0", "custom_allreduce_perf", rows)
    data = read(tmp_path, "all_reduce", "vllm")
    assert data.shape["message_bytes"].tolist() == [8192]
    assert data.seconds.tolist() == pytest.approx([10e-6])


def test_absorbed_products(tmp_path: Path) -> None:
    rows = {
        "op_name": ["mla_gen_pre", "mla_gen_post"],
        "bmm_dtype": ["bfloat16"] * 2,
        "num_tokens": [8, 8],
        "num_heads": [16, 16],
        "latency": [0.01, 0.02],
    }
    write(tmp_path, "mla_bmm", "sglang", "0.5.14", "mla_bmm_perf", rows)
    shape = read(tmp_path, "batched_gemm_bf16").shape
    assert set(zip(shape["input_width"], shape["output_width"], strict=True)) == {(128, 512), (512, 128)}


def test_nonsense_is_counted_by_reason() -> None:
    frame = pd.DataFrame(
        {"size": [1.0, 2, 3, 4, 5, 500, 1], "seconds": [1e-3, np.nan, 0.0, -1e-3, 50.0, 1e-3, 3e-3]}
    )
    data = clean("elementwise", frame, {"size": (1, 100)}, PROVENANCE)
    assert data.seconds.tolist() == pytest.approx([2e-3])
    assert data.dropped == {
        "not a number": 1,
        "zero or negative": 2,
        "longer than 10 s": 1,
        "outside the range": 1,
        "repeated shape": 1,
    }


def test_nothing_left_is_an_error_that_names_the_table() -> None:
    frame = pd.DataFrame({"size": [1.0], "seconds": [1e-3]})
    with pytest.raises(ValueError, match=r"none.parquet: no row for elementwise"):
        clean("elementwise", frame, {"size": (5, 6)}, PROVENANCE)


def test_a_missing_column_is_an_error_that_names_it(tmp_path: Path) -> None:
    write(tmp_path, "gemm", "sglang", "0.5.14", "gemm_perf", {"m": [1], "latency": [1.0]})
    with pytest.raises(ValueError, match=r"gemm_perf.parquet: lacks the columns .*gemm_dtype"):
        read(tmp_path, "gemm_bf16")


def test_absent_tables_and_unknown_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = OperatorTables(tmp_path, "1.2")
    assert read_family(tables, "H200-SXM", "sglang", "gemm_bf16") is None
    with pytest.raises(ValueError, match="no tables of TPU-v4 under sglang: known are H100-SXM"):
        read_family(tables, "TPU-v4", "sglang", "gemm_bf16")
    monkeypatch.setenv("LLMOPT_AICONFIGURATOR", str(tmp_path))
    assert find_tables() is None


def test_the_version_is_read_beside_the_package(tmp_path: Path) -> None:
    (tmp_path / "aiconfigurator_core/systems/data").mkdir(parents=True)
    (tmp_path / "aiconfigurator_core-0.9.1.dist-info").mkdir()
    tables = find_tables(tmp_path / "aiconfigurator_core")
    assert tables is not None
    assert tables.package_version == "0.9.1"


def test_static_fp8_scales_are_not_charged_for(tmp_path: Path) -> None:
    rows = {
        "gemm_dtype": ["fp8", "fp8"],
        "m": [8, 16],
        "n": [1024] * 2,
        "k": [512] * 2,
        "latency": [0.01, 0.02],
    }
    write(tmp_path, "gemm", "sglang", "0.5.14", "gemm_perf", rows)
    scales = {"m": [8], "k": [512], "latency": [0.004]}
    write(tmp_path, "quantize", "sglang", "0.5.14", "computescale_perf", scales)
    data = read(tmp_path, "gemm_fp8")
    assert data.seconds.tolist() == pytest.approx([6e-6, 20e-6])
    assert data.provenance.subtracted_table.endswith("quantize/sglang/0.5.14/computescale_perf.parquet")


def test_tables_that_measure_something_else_are_left_out(tmp_path: Path) -> None:
    rows = {"gemm_dtype": ["fp8_block"], "m": [8], "n": [1024], "k": [512], "latency": [0.01]}
    write(tmp_path, "gemm", "vllm", "0.24.0", "gemm_perf", rows)
    assert read_family(OperatorTables(tmp_path, "1.2"), "H200-SXM", "vllm", "gemm_fp8_block") is None
