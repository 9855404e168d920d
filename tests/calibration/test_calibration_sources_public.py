"""Published formats: Vidur's profiles, logs of nccl-tests, results of serving benchmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from llmopt_calibration.coefficients import load
from llmopt_calibration.fitting import law_function
from llmopt_calibration.laws import law
from llmopt_calibration.sources import SourceError, Wanted, read_source, read_sources
from llmopt_calibration.sources.nccl_tests import read_nccl_tests
from llmopt_calibration.sources.serving_benchmarks import parse_server, read_serving_benchmarks
from llmopt_calibration.sources.serving_points import PointError, ServingPoint
from llmopt_problems import catalog

H100 = Wanted(catalog.accelerator("H100-SXM"), "vllm")
APEX = Path(__file__).parents[2].parent / "shared/data/collectives_apex.csv"
DENSE = {"n_head": 32, "n_kv_head": 8, "n_embd": 4096, "n_expanded_embd": 14336, "vocab_size": 128256}


def stats(operator: str, ms: float) -> dict[str, float]:
    return {f"time_stats.{operator}.{name}": ms for name in ("min", "max", "mean", "median", "std")}


def write_csv(path: Path, *rows: dict[str, Any]) -> Path:
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_vidur_dense_layers_are_products_and_kernels(tmp_path: Path) -> None:
    times = {"attn_pre_proj": 0.05, "attn_post_proj": 0.03, "mlp_up_proj": 0.2, "mlp_down_proj": 0.1}
    kernels = {"input_layernorm": 0.010, "mlp_act": 0.012, "add": 0.006, "attn_rope": 0.009}
    row = DENSE | {"use_gated_mlp": True, "num_tokens": 512, "num_tensor_parallel_workers": 2}
    for operator, ms in (times | kernels).items():
        row |= stats(operator, ms)
    found = {data.family: data for data in read_source(write_csv(tmp_path / "mlp.csv", row), H100)}
    shapes = found["gemm_bf16"].shape.assign(ms=found["gemm_bf16"].seconds * 1e3)
    assert {tuple(shape) for shape in shapes.round(9).to_numpy().tolist()} == {
        (512, 3072, 4096, 0.05),  # 32 query and 16 KV heads of 128, by two
        (512, 4096, 2048, 0.03),
        (512, 14336, 4096, 0.2),  # gate and up, by two
        (512, 4096, 7168, 0.1),
    }
    moved = dict(
        zip(found["elementwise"].seconds.round(9), found["elementwise"].shape["bytes_moved"], strict=True)
    )
    assert moved == {10e-6: 2 * 2 * 512 * 4096, 12e-6: 3 * 2 * 512 * 7168, 6e-6: 3 * 2 * 512 * 4096}
    assert found["gemm_bf16"].provenance.package == "vidur"


def attention_row(**changes: Any) -> dict[str, Any]:
    row = {
        "n_embd": 8192,
        "n_q_head": 64,
        "n_kv_head": 8,
        "num_tensor_parallel_workers": 2,
        "batch_size": 4,
        "prefill_chunk_size": 0,
        "kv_cache_size": 1023,
        "is_prefill": False,
    }
    return row | changes


def test_vidur_attention_counts_the_cache_and_the_token_itself(tmp_path: Path) -> None:
    decode = attention_row() | stats("attn_decode", 0.02)
    prefill = attention_row(batch_size=1, prefill_chunk_size=100, kv_cache_size=60, is_prefill=True)
    prefill |= stats("attn_prefill", 0.05)
    rounded = attention_row(batch_size=1) | stats("attn_decode", 0.002)
    path = write_csv(tmp_path / "attention.csv", decode, prefill, rounded)
    found = {data.family: data for data in read_source(path, H100)}
    heads = {"query_heads": 32, "kv_heads": 4, "head_dim": 128, "value_dim": 128}
    assert found["attention_decode_bf16"].shape.iloc[0].to_dict() == {"sequences": 4, "context": 4096} | heads
    pairs = sum(60 + i for i in range(1, 101))
    assert found["attention_prefill_bf16"].shape.iloc[0].to_dict() == {"tokens": 100, "pairs": pairs} | heads
    assert found["attention_decode_bf16"].dropped["below the timer's resolution"] == 1


def test_vidur_collectives_count_bytes(tmp_path: Path) -> None:
    row = {"num_workers": 8, "size": 2097152, "collective": "all_reduce", "devices_per_node": 8}
    path = write_csv(tmp_path / "all_reduce.csv", row | stats("all_reduce", 0.039))
    (data,) = read_source(path, H100)
    assert data.shape.iloc[0].to_dict() == {"message_bytes": 2097152, "ranks": 8, "nodes": 1}
    across = {"num_workers": 2, "size": 1048576, "collective": "send_recv", "devices_per_node": 1}
    (data,) = read_source(write_csv(tmp_path / "send.csv", across | stats("send_recv", 0.054)), H100)
    assert data.family == "send"
    assert data.shape.iloc[0].to_dict() == {"message_bytes": 1048576, "nodes": 2}


def test_vidur_tables_of_another_layout_are_named(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "odd.csv", stats("mlp_up_proj", 1.0) | {"num_tokens": 1})
    with pytest.raises(SourceError, match=r"odd\.csv: lacks the columns n_head, n_kv_head"):
        read_source(path, H100)


RANKS = "\n".join(
    f"#  Rank  {rank} Group  0 Pid   18{rank} on   worker-0 device  {rank} [0x8d] NVIDIA H100 80GB HBM3"
    for rank in range(8)
)
HEADER = """
#                                                          out-of-place                    in-place
#     size       count     type  redop   root    time  algbw  busbw #wrong    time  algbw  busbw #wrong
#      (B)  (elements)                           (us) (GB/s) (GB/s)           (us) (GB/s) (GB/s)
"""


def log_row(size: int, count: int, kind: str, reduction: str, us: float, factor: float) -> str:
    def one(time: float) -> str:
        speed = size / time * 1e-3
        return f"{time:.2f} {speed:.2f} {round(speed, 2) * factor:.2f} 0"

    return f"{size:>12} {count:>12} {kind:>8} {reduction:>6} -1 {one(us)} {one(1.02 * us)}"


def write_log(path: Path, *rows: str, command: str = "$ all_reduce_perf -b 8 -e 1G -f 2 -g 8\n") -> Path:
    path.write_text(
        f"{command}nccl-tests version NCCL version 2.27.3\n{RANKS}\n#{HEADER}" + "\n".join(rows) + "\n"
    )
    return path


def test_an_all_reduce_log_is_bytes_and_seconds(tmp_path: Path) -> None:
    rows = (log_row(2**e, 2 ** (e - 2), "float", "sum", 30 + 2**e / 2e5, 1.75) for e in (20, 24, 28))
    (data,) = read_source(write_log(tmp_path / "run.log", *rows), H100)
    assert data.family == "all_reduce"
    assert data.shape.iloc[0].to_dict() == {"message_bytes": 2**20, "ranks": 8, "nodes": 1}
    us = 30 + 2**20 / 2e5
    assert data.seconds[0] == pytest.approx(1.01 * us * 1e-6, rel=1e-3)  # the median of both buffers
    assert data.provenance.package_version == "NCCL 2.27.3"
    assert data.provenance.device == "NVIDIA H100 80GB HBM3"
    assert read_sources([tmp_path / "run.log"], H100)["all_reduce"].seconds.shape == (3,)


def test_gathers_count_one_ranks_elements(tmp_path: Path) -> None:
    row = log_row(2**20, 2**15, "float", "none", 40, 7 / 8)
    (data,) = read_nccl_tests(write_log(tmp_path / "g.log", row, command="all_gather_perf -g 8\n"))
    assert data.family == "all_gather"
    assert data.shape["message_bytes"].tolist() == [2**20]
    with pytest.raises(SourceError, match=r"does not say which test wrote it \(all_gather, alltoall fit\)"):
        read_nccl_tests(write_log(tmp_path / "u.log", row, command=""))


def test_rows_that_do_not_hold_together_are_counted(tmp_path: Path) -> None:
    good = log_row(2**20, 2**18, "float", "sum", 40, 1.75)
    elements = log_row(2**18, 2**18, "float", "sum", 40, 1.75)  # elements given as bytes
    other_ranks = log_row(2**22, 2**20, "float", "sum", 60, 1.5)  # bus bandwidth of four ranks
    empty = log_row(0, 0, "float", "sum", 5, 1.75)
    (data,) = read_nccl_tests(write_log(tmp_path / "r.log", good, elements, other_ranks, empty))
    assert data.shape["message_bytes"].tolist() == [2**20]
    assert data.dropped["size, count, time and bandwidth disagree"] == 3
    with pytest.raises(SourceError, match="in no row do size, count, time and bandwidths agree"):
        read_nccl_tests(write_log(tmp_path / "n.log", elements))


def test_a_log_without_ranks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text(HEADER + log_row(2**20, 2**18, "float", "sum", 40, 1.75))
    with pytest.raises(SourceError, match="fewer than two ranks"):
        read_source(path, H100)


def bench(**changes: Any) -> dict[str, Any]:
    run = {
        "backend": "sglang",
        "dataset_name": "random",
        "request_rate": float("inf"),
        "max_concurrency": 16,
        "random_input_len": 1024,
        "random_output_len": 256,
        "completed": 160,
        "total_input_tokens": 160 * 922,
        "total_output_tokens": 160 * 230,
        "mean_ttft_ms": 120.0,
        "mean_tpot_ms": 9.5,
    }
    return run | changes


SERVER = parse_server("system=H200-SXM,tp=8,model_path=Llama-3.3-70B,precision=fp8")


def test_sglang_runs_are_points(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    runs = [bench(), bench(max_concurrency=64, mean_ttft_ms=0.0)]
    path.write_text("\n".join(json.dumps(run) for run in runs))
    point, refused = read_serving_benchmarks(path, SERVER).rows
    assert isinstance(point, ServingPoint)
    assert (point.model, point.accelerator, point.engine) == ("Llama-3.3-70B", "H200-SXM", "sglang")
    assert (point.pools[0].layout.tp, point.concurrency, point.weights) == (8, 16, "fp8")
    assert (point.shortest_input, point.longest_input, point.longest_output) == (820, 1024, 256)
    assert (point.ttft_s, point.tpot_s) == (pytest.approx(0.12), pytest.approx(9.5e-3))
    assert isinstance(refused, PointError)
    assert "ttft_ms is not from 0.1" in str(refused)


def test_a_vllm_run_is_a_point_of_constant_lengths(tmp_path: Path) -> None:
    run = bench(backend="vllm", model_id="Llama-3.3-70B", request_rate="inf", date="20260102-030405")
    for name in ("dataset_name", "random_input_len", "random_output_len"):
        del run[name]
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run, indent=1))
    (point,) = read_serving_benchmarks(path, parse_server("system=H200-SXM,tp=4")).points
    assert (point.engine, point.shortest_input, point.longest_input) == ("vllm", 922, 922)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"max_concurrency": None}, "no max_concurrency"),
        ({"request_rate": 4.0}, "request_rate is finite"),
        ({"dataset_name": "sharegpt"}, "dataset sharegpt: lengths are not random"),
        ({"completed": 0}, "no request was completed"),
        ({"backend": "lmdeploy"}, "backend '' is none of"),
        ({"mean_tpot_ms": -1.0}, "tpot_ms is not from"),
    ],
)
def test_runs_that_are_no_closed_loop_are_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps(bench(**changes)))
    (error,) = read_serving_benchmarks(path, SERVER).rows
    assert isinstance(error, PointError)
    assert says in str(error)


@pytest.mark.parametrize(
    ("text", "says"), [("tp=8", "needs its accelerator"), ("system=H200,x=1", "'x=1' is no")]
)
def test_a_server_is_told_in_known_columns(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_server(text)


def test_a_file_that_is_no_benchmark_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for text, says in (('{"a": 1}', "holds something else"), ("{", "is no JSON")):
        path.write_text(text)
        with pytest.raises(SourceError, match=says):
            read_serving_benchmarks(path, SERVER)


@pytest.mark.skipif(not APEX.is_file(), reason="measured collectives are not in this checkout")
def test_independent_nccl_measurements_agree_with_the_shipped_laws() -> None:
    """NCCL on H100 by others (APEX) against laws fitted to NVIDIA's tables: a median within a quarter."""
    frame = pd.read_csv(APEX)
    rows = frame[(frame["gpu"] == "H100-SXM-80GB") & (frame["dtype"] == "half") & (frame["size_kb"] >= 1024)]
    for operation, family in (("all_gather", "all_gather"), ("reduce_scatter", "reduce_scatter")):
        part = rows[rows["op"] == operation]
        shape = np.array([part["size_kb"] * 1024.0, part["gpus_per_node"], np.ones(len(part))], dtype=float)
        values = load("H100-SXM", "vllm").family(family).values
        numbers = np.array([values[item.symbol.name] for item in law(family).coefficients])
        predicted = law_function(law(family), H100.accelerator)(shape, numbers)
        ratio = predicted / (part["time_us"].to_numpy(float) * 1e-6)
        assert 0.75 < np.median(ratio) < 1.33, (family, np.median(ratio))
