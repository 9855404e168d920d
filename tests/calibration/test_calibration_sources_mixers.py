"""Tables of linear attention and of expert dispatch: kernels summed, the engine's choice, bytes by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from llmopt_calibration.sources import OperatorTables, read_family
from llmopt_calibration.sources.aiconfigurator import SYSTEMS
from llmopt_calibration.sources.measurements import Measurements

DEEPEP = {"hidden_size": [7168], "num_topk": [8], "num_experts": [256]}


def write(root: Path, system: str, operator: str, version: str, table: str, rows: dict[str, list]) -> None:
    folder = root / "systems" / "data" / system / operator / "sglang" / version
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(folder / f"{table}.parquet")


def read(root: Path, family: str, accelerator: str = "H200-SXM", engine: str = "sglang") -> Measurements:
    found = read_family(OperatorTables(root, "0"), accelerator, engine, family)
    assert found is not None
    return found


def gated(root: Path, phase: str, kernels: list[str], batch: int, length: int) -> None:
    count = len(kernels)
    rows = {
        "phase": [phase] * count,
        "kernel_source": kernels,
        "batch_size": [batch] * count,
        "seq_len": [length] * count,
        "num_k_heads": [2] * count,
        "head_k_dim": [128] * count,
        "num_v_heads": [8] * count,
        "head_v_dim": [128] * count,
        "latency": [0.001 * 2**n for n in range(count)],
    }
    write(root, SYSTEMS["H200-SXM"], "linear_attention", "0.5.14", "gdn_perf", rows)


def test_a_decode_of_linear_attention_is_convolution_and_recurrence(tmp_path: Path) -> None:
    gated(tmp_path, "generation", ["causal_conv1d_update", "fused_recurrent"], batch=4, length=1)
    data = read(tmp_path, "linear_attention_decode")
    assert data.seconds.tolist() == pytest.approx([3e-6])
    assert data.shape.iloc[0].to_dict() == {"sequences": 4, "tokens": 4, "state_bytes": 8 * 128 * 128 * 4}


def test_a_prefill_of_linear_attention_counts_prompts_of_a_chunk_or_more(tmp_path: Path) -> None:
    gated(tmp_path, "context", ["causal_conv1d_fn", "chunk_gated_delta_rule"], batch=2, length=100)
    data = read(tmp_path, "linear_attention_prefill")
    shape = data.shape.iloc[0]
    assert (shape["tokens"], shape["pairs"]) == (200, 2 * 100 * 101 / 2)
    assert shape["channels"] == 2 * 2 * 128 + 8 * 128
    gated(tmp_path, "context", ["causal_conv1d_fn", "chunk_gated_delta_rule"], batch=2, length=8)
    assert (
        read_family(OperatorTables(tmp_path, "0"), "H200-SXM", "sglang", "linear_attention_prefill") is None
    )


def test_half_a_measurement_is_none(tmp_path: Path) -> None:
    gated(tmp_path, "generation", ["causal_conv1d_update"], batch=4, length=1)
    assert read_family(OperatorTables(tmp_path, "0"), "H200-SXM", "sglang", "linear_attention_decode") is None


def exchanged(root: Path, accelerator: str) -> None:
    """Low-latency kernels up to 64 tokens, normal ones with two settings at 32 and at 128."""
    sizes = {name: value * 2 for name, value in DEEPEP.items()} | {"node_num": [1, 2]}
    low = sizes | {"num_token": [64, 64], "dispatch_avg_t_us": [20.0, 99.0], "combine_avg_t_us": [30.0, 99.0]}
    write(root, SYSTEMS[accelerator], "comm", "0.5.12", "wideep_deepep_ll_perf", low)
    sizes = {name: value * 3 for name, value in DEEPEP.items()} | {"node_num": [1] * 3}
    times = {
        f"{way}_{part}_us": [base, base, base - 5]
        for way in ("dispatch", "combine")
        for part, base in (("transmit", 50.0), ("notify", 5.0))
    }
    normal = sizes | {"num_token": [32, 128, 128]} | times
    write(root, SYSTEMS[accelerator], "comm", "0.5.12", "wideep_deepep_normal_perf", normal)


@pytest.mark.parametrize(("accelerator", "ranks"), [("H200-SXM", 8), ("GB200", 4)])
def test_tokens_reach_experts_by_the_kernel_that_holds_them(
    tmp_path: Path, accelerator: str, ranks: int
) -> None:
    """Beyond the low-latency buffers normal kernels run, by their best setting; other nodes are left out."""
    exchanged(tmp_path, accelerator)
    data = read(tmp_path, "expert_dispatch", accelerator)
    assert sorted(data.seconds) == pytest.approx([20e-6, 45e-6])
    assert set(data.shape["ranks"]) == {ranks}
    copies = ranks * (1 - (1 - 1 / ranks) ** 8)
    assert sorted(data.shape["message_bytes"]) == pytest.approx([64 * 7168 * copies, 128 * 7168 * copies])


def test_results_come_back_in_bf16(tmp_path: Path) -> None:
    exchanged(tmp_path, "H200-SXM")
    there, back = (read(tmp_path, f"expert_{way}") for way in ("dispatch", "combine"))
    assert (back.shape["message_bytes"] / there.shape["message_bytes"]).tolist() == [2.0, 2.0]
    assert back.seconds.min() == pytest.approx(30e-6)


def test_other_engines_dispatch_otherwise(tmp_path: Path) -> None:
    exchanged(tmp_path, "H200-SXM")
    assert read_family(OperatorTables(tmp_path, "0"), "H200-SXM", "trtllm", "expert_dispatch") is None
