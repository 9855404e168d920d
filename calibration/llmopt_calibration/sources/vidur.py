"""Vidur's published profiling CSV: `compute/<device>/<model>/{mlp,attention}.csv`, `network/<node>/*.csv`.

Layout (github.com/microsoft/vidur, `data/profiling`, MIT): columns `time_stats.<operator>.median` in
milliseconds beside the model's global sizes (`n_head` or `n_q_head`, `n_kv_head`, `n_embd`,
`n_expanded_embd`) and `num_tensor_parallel_workers`, by which heads and widths are divided. Compute is in
float16, which the bf16 laws serve; `size` of collectives is in bytes (`collectives_wrapper.py` doubles its
element count). Kernel times have a resolution of a microsecond, so times below five are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from llmopt_calibration.sources.errors import SourceError
from llmopt_calibration.sources.measurements import Measurements, Provenance, clean, merged, sha256_of

PREFIX, SUFFIX = "time_stats.", ".median"
RESOLUTION_S = 1e-6
SHORTEST_S = 5 * RESOLUTION_S
"""Shorter times are rounded by more than 10%."""
ACTIVATION_BYTES = 2
COLLECTIVES = {"all_reduce": "all_reduce", "all_gather": "all_gather", "send_recv": "send"}
MLP_COLUMNS = ("n_head", "n_kv_head", "n_embd", "n_expanded_embd", "use_gated_mlp", "num_tokens")
ATTENTION_COLUMNS = (
    "n_embd",
    "n_q_head",
    "n_kv_head",
    "batch_size",
    "prefill_chunk_size",
    "kv_cache_size",
    "is_prefill",
)
WORKERS = "num_tensor_parallel_workers"
COLLECTIVE_COLUMNS = ("collective", "size", "num_workers", "devices_per_node")

Shapes = dict[str, "pd.Series[float]"]


def is_vidur(columns: list[str]) -> bool:
    """Whether a table with these columns is one of Vidur's."""
    return any(name.startswith(PREFIX) and name.endswith(SUFFIX) for name in columns)


def read_vidur(path: Path) -> tuple[Measurements, ...]:
    """The measurements of every family in one of Vidur's tables; `SourceError` for one of another layout."""
    frame = pd.read_csv(path)
    provenance = Provenance("vidur", "", path.name, sha256_of(path))
    if "collective" in frame.columns:
        rows = _needed(path, frame, COLLECTIVE_COLUMNS)
        return tuple(_collectives(path, rows, provenance))
    if "is_prefill" in frame.columns:
        rows = _needed(path, frame, (*ATTENTION_COLUMNS, WORKERS))
        return tuple(_attention(rows, provenance))
    rows = _needed(path, frame, (*MLP_COLUMNS, WORKERS))
    return tuple(_dense(rows, provenance))


def _needed(path: Path, frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise SourceError(
            path, f"lacks the columns {', '.join(missing)}", "give mlp.csv, attention.csv or a collective's"
        )
    return frame


def _timed(
    family: str, frame: pd.DataFrame, operator: str, shape: Shapes, provenance: Provenance
) -> Measurements | None:
    """Rows of one operator; None where the table did not measure it."""
    column = f"{PREFIX}{operator}{SUFFIX}"
    if column not in frame.columns or frame[column].isna().all():
        return None
    rows = pd.DataFrame(shape).assign(seconds=frame[column] * 1e-3).dropna()
    coarse = rows["seconds"].between(0, SHORTEST_S, inclusive="neither")
    if coarse.all():
        return None
    data = clean(family, rows[~coarse], {}, provenance)
    return replace(data, dropped=dict(data.dropped) | {"below the timer's resolution": int(coarse.sum())})


def _dense(frame: pd.DataFrame, provenance: Provenance) -> Iterator[Measurements]:
    """Projections as GEMMs; norms, activation and addition as kernels that move bytes."""
    readers: dict[str, Callable[[pd.DataFrame], dict[str, Shapes]]] = {
        "gemm_bf16": _projections,
        "elementwise": _kernels,
    }
    for family, shapes in readers.items():
        parts = (
            _timed(family, frame, operator, shape, provenance) for operator, shape in shapes(frame).items()
        )
        found = [part for part in parts if part is not None]
        if found:
            yield replace(merged(found), provenance=provenance)


def _projections(frame: pd.DataFrame) -> dict[str, Shapes]:
    tokens, hidden, tp = frame["num_tokens"], frame["n_embd"], frame[WORKERS]
    head_dim = hidden / frame["n_head"]
    queries = frame["n_head"] / tp * head_dim
    keys_values = 2 * frame["n_kv_head"] / tp * head_dim
    inner = frame["n_expanded_embd"] / tp
    gates = 1 + frame["use_gated_mlp"].astype(bool).astype(float)

    def product(inputs: pd.Series[float], outputs: pd.Series[float]) -> Shapes:
        return {"tokens": tokens, "output_width": outputs, "input_width": inputs}

    return {
        "attn_pre_proj": product(hidden, queries + keys_values),
        "attn_post_proj": product(queries, hidden),
        "mlp_up_proj": product(hidden, gates * inner),
        "mlp_down_proj": product(inner, hidden),
    }


def _kernels(frame: pd.DataFrame) -> dict[str, Shapes]:
    tokens, hidden = frame["num_tokens"], frame["n_embd"]
    inner = frame["n_expanded_embd"] / frame[WORKERS]
    gates = 1 + frame["use_gated_mlp"].astype(bool).astype(float)
    norm = {"bytes_moved": 2 * ACTIVATION_BYTES * tokens * hidden}
    return {
        "input_layernorm": norm,
        "post_attention_layernorm": norm,
        "mlp_act": {"bytes_moved": ACTIVATION_BYTES * tokens * (gates + 1) * inner},
        "add": {"bytes_moved": 3 * ACTIVATION_BYTES * tokens * hidden},
    }


def _attention(frame: pd.DataFrame, provenance: Provenance) -> Iterator[Measurements]:
    """Chunks of one prompt behind `kv_cache_size` tokens, and decodes that see their own token too."""
    prefill = frame["is_prefill"].astype(str) == "True"
    for family, operator, rows in (
        ("attention_prefill_bf16", "attn_prefill", frame[prefill]),
        ("attention_decode_bf16", "attn_decode", frame[~prefill]),
    ):
        shape = (_prefill if operator == "attn_prefill" else _decode)(rows)
        data = _timed(family, rows, operator, shape | _heads(rows), provenance)
        if data is not None:
            yield data


def _prefill(rows: pd.DataFrame) -> Shapes:
    chunk, cached = rows["prefill_chunk_size"], rows["kv_cache_size"]
    return {"tokens": chunk, "pairs": chunk * cached + chunk * (chunk + 1) / 2}


def _decode(rows: pd.DataFrame) -> Shapes:
    return {"sequences": rows["batch_size"], "context": rows["batch_size"] * (rows["kv_cache_size"] + 1)}


def _heads(rows: pd.DataFrame) -> Shapes:
    width, tp = rows["n_embd"] / rows["n_q_head"], rows[WORKERS]
    return {
        "query_heads": rows["n_q_head"] / tp,
        "kv_heads": rows["n_kv_head"] / tp,
        "head_dim": width,
        "value_dim": width,
    }


def _collectives(path: Path, frame: pd.DataFrame, provenance: Provenance) -> Iterator[Measurements]:
    for operation, rows in frame.groupby("collective"):
        family = COLLECTIVES.get(str(operation))
        if family is None:
            raise SourceError(
                path, f"collective {operation!r} has no law", f"known: {', '.join(COLLECTIVES)}"
            )
        nodes = rows["num_workers"] / rows["devices_per_node"].clip(upper=rows["num_workers"])
        shape = {"message_bytes": rows["size"], "ranks": rows["num_workers"], "nodes": nodes}
        if family == "send":
            del shape["ranks"]
        data = _timed(family, rows, str(operation), shape, provenance)
        if data is not None:
            yield data
