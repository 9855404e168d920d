"""One function a kind of operator table: its columns as the shape symbols of a law, in SI units.

Every reader has the same signature, (path, precision) to a frame with the law's shape columns and
`seconds`. Units of the tables: latency in ms, `message_size` in elements of the named type, sequence
lengths in tokens a sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from llmopt_calibration.sources.aiconfigurator import read_table

DTYPES = {
    "bf16": ("bfloat16", "half"),
    "fp8": ("fp8",),
    "fp8_block": ("fp8_block",),
    "int4": ("int4_wo",),
    "fp4": ("nvfp4", "w4a16_mxfp4"),
}
"""Precision of a law to its names in the tables, the preferred one first."""
MLA_KEY_DIM, MLA_VALUE_DIM, MLA_LATENT_DIM, MLA_ROPE_DIM, MLA_NOPE_DIM = 192, 128, 512, 64, 128
"""The tables measure DeepSeek-V3's widths only (its config.json)."""
HEAD_DIMS = (64, 128, 256)
"""Widths of the catalog's models; others (192, 512) run kernels of their own."""
LARGEST_GROUP = 16
"""Query heads a KV head, the most of the catalog's models; kernels change beyond it."""
SHORTEST_PROMPT = 64
"""Shorter prompts fill no tile of a prefill kernel; decode has its own law."""
LEAST_KERNEL_SHARE = 0.5
"""Rows that a kernel needs, as a share of the most measured one's, to be thought an engine's choice."""
OTHER_BACKENDS = ("deepgemm",)
"""Expert kernels that a table measures and the engine does not run by itself: TensorRT-LLM's own fp8 kernels
on Blackwell (moe backend TRTLLM) are in the table of SGLang, which calls them through FlashInfer.
"""
ROUTING = "power_law_1.01"
"""Routing that the MoE laws are fitted to: skewed as routers are, not the ideal even split."""


def gemm(path: Path, precision: str) -> pd.DataFrame:
    """GEMM: m, n, k."""
    frame = read_table(path, ("gemm_dtype", "m", "n", "k", "latency"))
    rows = _of_precision(frame, "gemm_dtype", precision)
    names = {"m": "tokens", "n": "output_width", "k": "input_width"}
    return _with_seconds(rows.rename(columns=names)[[*names.values(), "latency"]])


def scale_table(gemm_table: Path) -> Path:
    """Where the times of finding dynamic scales lie, of the engine and version of a GEMM table."""
    engine, version = gemm_table.parts[-3:-1]
    return gemm_table.parents[3] / "quantize" / engine / version / "computescale_perf.parquet"


def static_fp8_gemm(path: Path, precision: str) -> pd.DataFrame:
    """GEMM with static activation scales, as FP8 checkpoints carry them.

    The GEMM table quantizes its input dynamically; the time of finding the scale, which the table
    `quantize/…/computescale_perf` gives, is subtracted.
    """
    dynamic = gemm(path, precision)
    scales = scale_table(path)
    if not scales.is_file():
        return dynamic
    frame = read_table(scales, ("m", "k", "latency")).groupby(["m", "k"]).median().reset_index()
    keys = {"m": "tokens", "k": "input_width"}
    merged = dynamic.merge(frame.rename(columns=keys), how="left", on=list(keys.values()))
    scale_s = merged.pop("latency").fillna(0.0) * 1e-3
    return merged.assign(seconds=merged["seconds"] - scale_s)


def attention_prefill(path: Path, precision: str) -> pd.DataFrame:
    """Causal attention of `batch_size` prompts of `isl` tokens without a window, by the engine's main kernel.

    The fp8 cache is read by fp8 attention where the table has it, else by bf16 attention.
    """
    rows = _attention_rows(path, precision)
    rows = rows[rows["isl"] >= SHORTEST_PROMPT]
    tokens = rows["batch_size"] * rows["isl"]
    return _with_seconds(
        pd.DataFrame(
            {
                "tokens": tokens,
                "pairs": tokens * (rows["isl"] + 1) / 2,
                **_head_columns(rows),
                "latency": rows["latency"],
            }
        )
    )


def attention_decode(path: Path, precision: str) -> pd.DataFrame:
    """One token each of `batch_size` sequences behind `step` cached tokens and itself."""
    rows = _attention_rows(path, precision)
    context = rows["batch_size"] * (rows["step"] + rows["isl"])
    return _with_seconds(
        pd.DataFrame(
            {
                "sequences": rows["batch_size"],
                "context": context,
                **_head_columns(rows),
                "latency": rows["latency"],
            }
        )
    )


def _attention_rows(path: Path, precision: str) -> pd.DataFrame:
    columns = ("kernel_source", "attn_dtype", "kv_cache_dtype", "batch_size", "isl", "step", "window_size")
    frame = read_table(path, (*columns, "num_heads", "num_key_value_heads", "head_dim", "latency"))
    rows = _of_precision(frame[frame["window_size"] == 0], "kv_cache_dtype", precision)
    rows = rows[rows["head_dim"].isin(HEAD_DIMS)]
    rows = rows[rows["num_heads"] <= LARGEST_GROUP * rows["num_key_value_heads"]]
    rows = _main_kernel(rows)
    same = rows["attn_dtype"] == rows["kv_cache_dtype"]
    return rows[same] if same.any() else rows


def _of_precision(frame: pd.DataFrame, column: str, precision: str) -> pd.DataFrame:
    """Rows of the first name of `precision` that the table knows; none when it knows none of them."""
    present = set(frame[column])
    name = next((name for name in DTYPES[precision] if name in present), None)
    return frame[frame[column] == name]


def _main_kernel(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the kernel that measured most of them; other kernels serve special shapes."""
    counts = rows["kernel_source"].value_counts()
    return rows if counts.empty else rows[rows["kernel_source"] == counts.idxmax()]


def _chosen_kernels(rows: pd.DataFrame, shape: list[str]) -> pd.DataFrame:
    """The rows of the kernels that an engine chooses among itself.

    Kernels of one shape: the one that is fastest on most shapes, among those with half as many rows as any,
    since engines choose by measuring. Kernels of one model that share no shape: all of them, since the
    engine chose by layout.
    """
    main = _fastest_kernel(rows, shape)
    model = [name for name in shape if name in ("hidden_size", "inter_size", "topk", "num_experts")]
    others = rows[_listed(rows, main, model) & ~_listed(rows, main, shape)]
    return main if others.empty else pd.concat([main, others])


def _listed(rows: pd.DataFrame, among: pd.DataFrame, names: list[str]) -> pd.Series:
    """Whether the values of `names` in a row are those of some row of `among`."""
    known = pd.MultiIndex.from_frame(among[names].drop_duplicates())
    return pd.Series(pd.MultiIndex.from_frame(rows[names]).isin(known), index=rows.index)


def _fastest_kernel(rows: pd.DataFrame, shape: list[str]) -> pd.DataFrame:
    """The rows of the kernel that is fastest on most shapes, among those with half as many rows as any."""
    counts = rows["kernel_source"].value_counts()
    measured = counts[counts >= LEAST_KERNEL_SHARE * counts.max()].index if len(counts) else counts.index
    if len(measured) < 2:
        return _main_kernel(rows)
    known = rows[rows["kernel_source"].isin(measured)]
    times = known.pivot_table(
        index=shape, columns="kernel_source", values="latency", aggfunc="median"
    ).dropna()
    return (
        _main_kernel(rows) if times.empty else rows[rows["kernel_source"] == times.idxmin(axis=1).mode()[0]]
    )


def _head_columns(rows: pd.DataFrame) -> dict[str, pd.Series]:
    return {
        "query_heads": rows["num_heads"],
        "kv_heads": rows["num_key_value_heads"],
        "head_dim": rows["head_dim"],
        "value_dim": rows["head_dim"],
    }


def mla_prefill(path: Path, precision: str) -> pd.DataFrame:
    """Latent attention over prompts, expanded to heads."""
    rows = _mla_rows(path, precision)
    rows = rows[rows["isl"] >= SHORTEST_PROMPT]
    tokens = rows["batch_size"] * rows["isl"]
    shape = {"tokens": tokens, "pairs": tokens * (rows["isl"] + 1) / 2, "query_heads": rows["num_heads"]}
    widths = {"key_dim": MLA_KEY_DIM, "value_dim": MLA_VALUE_DIM}
    return _with_seconds(pd.DataFrame({**shape, **widths, "latency": rows["latency"]}))


def mla_decode(path: Path, precision: str) -> pd.DataFrame:
    """Latent attention of one token a sequence, absorbed."""
    rows = _mla_rows(path, precision)
    context = rows["batch_size"] * (rows["step"] + rows["isl"])
    shape = {"sequences": rows["batch_size"], "context": context, "query_heads": rows["num_heads"]}
    widths = {"latent_dim": MLA_LATENT_DIM, "rope_dim": MLA_ROPE_DIM}
    return _with_seconds(pd.DataFrame({**shape, **widths, "latency": rows["latency"]}))


def _mla_rows(path: Path, precision: str) -> pd.DataFrame:
    columns = ("kv_cache_dtype", "num_heads", "batch_size", "isl", "step", "latency")
    frame = read_table(path, columns)
    return _of_precision(frame, "kv_cache_dtype", precision)


def batched_gemm(path: Path, precision: str) -> pd.DataFrame:
    """The absorbed products before (nope → latent) and after (latent → value) latent attention, one matrix
    a head.
    """
    frame = read_table(path, ("op_name", "bmm_dtype", "num_tokens", "num_heads", "latency"))
    rows = _of_precision(frame, "bmm_dtype", precision)
    before = rows["op_name"] == "mla_gen_pre"
    columns = {
        "tokens": rows["num_tokens"],
        "matrices": rows["num_heads"],
        "output_width": np.where(before, MLA_LATENT_DIM, MLA_VALUE_DIM),
        "input_width": np.where(before, MLA_NOPE_DIM, MLA_LATENT_DIM),
        "latency": rows["latency"],
    }
    return _with_seconds(pd.DataFrame(columns))


def moe(path: Path, precision: str) -> pd.DataFrame:
    """Gated routed experts with skewed routing, by the kernels that the engine chooses."""
    columns = ("kernel_source", "moe_dtype", "num_tokens", "hidden_size", "inter_size", "topk", "num_experts")
    frame = read_table(path, (*columns, "moe_tp_size", "moe_ep_size", "distribution", "latency"))
    rows = _of_precision(frame[frame["distribution"] == ROUTING], "moe_dtype", precision)
    rows = rows[~rows["kernel_source"].isin(OTHER_BACKENDS)]
    rows = _chosen_kernels(rows, [*columns[2:], "moe_tp_size", "moe_ep_size"])
    shape = {
        "tokens": rows["num_tokens"],
        "hidden": rows["hidden_size"],
        "intermediate": rows["inter_size"] / rows["moe_tp_size"],
        "experts": rows["num_experts"],
        "local_experts": rows["num_experts"] / rows["moe_ep_size"],
        "experts_per_token": rows["topk"],
    }
    return _with_seconds(pd.DataFrame({**shape, "matrices": 3, "imbalance": 1, "latency": rows["latency"]}))


def nccl(operation: str) -> Callable[[Path, str], pd.DataFrame]:
    """A reader of one operation of the NCCL table, 16-bit elements, one node."""

    def read(path: Path, precision: str) -> pd.DataFrame:
        frame = read_table(path, ("op_name", "nccl_dtype", "num_gpus", "message_size", "latency"))
        rows = _of_precision(frame[frame["op_name"] == operation], "nccl_dtype", precision)
        return _collective(rows)

    return read


def custom_all_reduce(path: Path, precision: str) -> pd.DataFrame:
    """The engine's own all-reduce inside a CUDA graph, 16-bit elements, one node."""
    frame = read_table(path, ("kernel_source", "allreduce_dtype", "num_gpus", "message_size", "latency"))
    rows = _of_precision(frame, "allreduce_dtype", precision)
    return _collective(rows[~rows["kernel_source"].str.endswith("_eager")])


def _collective(rows: pd.DataFrame) -> pd.DataFrame:
    shape = {"message_bytes": 2 * rows["message_size"], "ranks": rows["num_gpus"], "nodes": 1}
    return _with_seconds(pd.DataFrame({**shape, "latency": rows["latency"]}))


def _with_seconds(rows: pd.DataFrame) -> pd.DataFrame:
    """The frame with its `latency` in milliseconds replaced by `seconds`."""
    return rows.drop(columns="latency").assign(seconds=rows["latency"] * 1e-3).reset_index(drop=True)
