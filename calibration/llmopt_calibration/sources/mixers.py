"""Readers of the tables of linear attention and of expert dispatch: several kernels or settings a row.

Same signature as the readers of `operators`, (path, precision) to the law's shape columns and `seconds`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from llmopt_calibration.laws.linear_attention import LINEAR_CHUNK_TOKENS
from llmopt_calibration.sources.aiconfigurator import read_table

STATE_ELEMENT_BYTES = 4
"""Engines keep the states of linear attention in float32."""
HEADS = ["num_k_heads", "head_k_dim", "num_v_heads", "head_v_dim"]
DISPATCHED_BYTES = {"dispatch": 1, "combine": 2}
"""DeepEP sends tokens to experts in fp8 and their sums back in bf16."""
CHOSEN_EXPERTS, FEWEST_EXPERTS = (4, 10), 64
"""What models have; with few experts a kernel has too few thread blocks."""
LOW_LATENCY, NORMAL = "wideep_deepep_ll_perf", "wideep_deepep_normal_perf"


def linear_decode(path: Path, precision: str) -> pd.DataFrame:
    """A token of each sequence: convolution and recurrence."""
    rows = _both_kernels(path, "generation")
    state = rows["num_v_heads"] * rows["head_k_dim"] * rows["head_v_dim"] * STATE_ELEMENT_BYTES
    shape = {"sequences": rows["batch_size"], "tokens": rows["batch_size"], "state_bytes": state}
    return pd.DataFrame({**shape, "seconds": rows["latency"] * 1e-3})


def linear_prefill(path: Path, precision: str) -> pd.DataFrame:
    """`batch_size` prompts of `seq_len` tokens, of a chunk or more: convolution and chunks."""
    rows = _both_kernels(path, "context")
    rows = rows[rows["seq_len"] >= LINEAR_CHUNK_TOKENS]
    tokens = rows["batch_size"] * rows["seq_len"]
    keys, values = rows["num_k_heads"] * rows["head_k_dim"], rows["num_v_heads"] * rows["head_v_dim"]
    shape = {
        "tokens": tokens,
        "pairs": tokens * (rows["seq_len"] + 1) / 2,
        "value_heads": rows["num_v_heads"],
        "channels": 2 * keys + values,
        "key_dim": rows["head_k_dim"],
        "value_dim": rows["head_v_dim"],
    }
    return pd.DataFrame({**shape, "seconds": rows["latency"] * 1e-3})


def _both_kernels(path: Path, phase: str) -> pd.DataFrame:
    """Rows of a phase with the sum of their two kernels, where both were measured."""
    shape = ["batch_size", "seq_len", *HEADS]
    frame = read_table(path, ("phase", "kernel_source", *shape, "latency"))
    frame = frame[frame["phase"] == phase]
    each = frame.groupby([*shape, "kernel_source"])["latency"].median().reset_index()
    sums = each.groupby(shape)["latency"].agg(["sum", "size"]).reset_index()
    return sums[sums["size"] == 2].rename(columns={"sum": "latency"})


def deepep(way: str, ranks: Callable[[Path], int]) -> Callable[[Path, str], pd.DataFrame]:
    """A reader of `way` (dispatch or combine) inside one node: low-latency kernels up to the tokens that they
    hold, the normal ones beyond, as SGLang chooses them (`--deepep-mode auto`).

    `ranks` says how many accelerators the node of a table has. Times are microseconds.
    """

    def read(path: Path, precision: str) -> pd.DataFrame:
        normal = _one_node(path.with_name(f"{NORMAL}.parquet"), (f"{way}_transmit_us", f"{way}_notify_us"))
        low = _one_node(path, (f"{way}_avg_t_us",))
        both = pd.concat([low, normal[normal["num_token"] > low["num_token"].max()]])
        fastest = both.groupby(["hidden_size", "num_token", "num_topk", "num_experts"])["us"].min()
        rows = fastest.reset_index()
        rows = rows[rows["num_topk"].between(*CHOSEN_EXPERTS) & (rows["num_experts"] >= FEWEST_EXPERTS)]
        groups = ranks(path) * (1 - (1 - 1 / ranks(path)) ** rows["num_topk"])
        values = rows["num_token"] * groups * rows["hidden_size"]
        shape = {
            "message_bytes": values * DISPATCHED_BYTES[way],
            "ranks": ranks(path),
            "nodes": 1,
            "experts": rows["num_experts"],
        }
        return pd.DataFrame({**shape, "seconds": rows["us"] * 1e-6})

    return read


def _one_node(path: Path, times: tuple[str, ...]) -> pd.DataFrame:
    """Sizes and the sum of `times` of the rows of one node; none where there is no such table."""
    sizes = ["hidden_size", "num_token", "num_topk", "num_experts"]
    if not path.is_file():
        return pd.DataFrame(columns=[*sizes, "us"], dtype=float)
    frame = read_table(path, ("node_num", *sizes, *times))
    rows = frame[frame["node_num"] == 1]
    return rows[sizes].assign(us=rows[list(times)].sum(axis=1))
