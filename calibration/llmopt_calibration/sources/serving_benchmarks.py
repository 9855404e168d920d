"""Results of SGLang's bench_serving (JSON lines) and vLLM's bench serve (JSON) as serving points.

Such a file holds the traffic and the mean latencies of each run, but not what was served on what: that is
told by a `Server`. A run is a point when it was a closed loop (`max_concurrency` users, no arrival rate) of
random lengths; any other is refused with the reason. The rows have the columns of serving-points tables, so
that one set of checks serves both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from llmopt_calibration.sources.errors import SourceError
from llmopt_calibration.sources.measurements import sha256_of
from llmopt_calibration.sources.serving_layouts import POOL_SIZES
from llmopt_calibration.sources.serving_points import (
    PointError,
    ServingPoint,
    ServingRows,
    checked_rows,
)

MEANS = {"ttft_ms": "mean_ttft_ms", "tpot_ms": "mean_tpot_ms"}
BACKENDS = {
    **dict.fromkeys(("sglang", "sglang-oai", "sglang-native"), "sglang"),
    **dict.fromkeys(("vllm", "openai", "openai-chat"), "vllm"),
    **dict.fromkeys(("trt", "tensorrt-llm"), "trtllm"),
}
RANDOM_DATASETS = ("random", "random-ids", "")
AGGREGATED_COLUMNS = ("gpus", "tp", "pp", "attn_dp", "moe_tp", "moe_ep")
POOL_COLUMNS = tuple(
    f"{role}_{size}" for role in ("prefill", "decode") for size in (*POOL_SIZES, "num_workers")
)
SERVER_COLUMNS = (
    *("system", "backend", "model_path", "backend_version", "precision"),
    *AGGREGATED_COLUMNS,
    *POOL_COLUMNS,
)


@dataclass(frozen=True, slots=True)
class Server:
    """What the benchmark files leave out, by the columns of a serving-points table: `system`, `tp`, …"""

    columns: Mapping[str, str]


def parse_server(text: str) -> Server:
    """A server from text such as `system=H200-SXM,tp=8,precision=fp8`; `ValueError` names what is wrong."""
    columns: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or name.strip() not in SERVER_COLUMNS:
            raise ValueError(
                f"{part!r} is no server column: write NAME=VALUE with {', '.join(SERVER_COLUMNS)}"
            )
        columns[name.strip()] = value.strip()
    if "system" not in columns:
        raise ValueError("the server needs its accelerator: write system=H200-SXM,tp=8")
    return Server(columns)


def is_serving_benchmark(text: str) -> bool:
    """Whether a text is the result of one of the benchmarks."""
    return text.lstrip().startswith("{") and '"mean_ttft_ms"' in text


def read_serving_benchmarks(path: Path, server: Server) -> ServingRows:
    """Every run in the file as a point or as the reason why it is none.

    Raises `SourceError` when the file holds something else than runs.
    """
    rows, errors = [], []
    for number, run in enumerate(_runs(path), 1):
        row = _row(run, server, f"{path.name}:{number}")
        rows.append(row)
        errors.append(_unfit(run))
    frame = pd.DataFrame(rows).fillna("")
    points: Sequence[ServingPoint | PointError] = checked_rows(rows)
    results = tuple(error or point for error, point in zip(errors, points, strict=True))
    return ServingRows(frame, results, sha256_of(path))


def _runs(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON or JSON-lines file."""
    text = path.read_text(encoding="utf-8")
    decoder, position = json.JSONDecoder(), 0
    while position < len(text) and (rest := text[position:].lstrip()):
        position = len(text) - len(rest)
        try:
            run, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise SourceError(path, f"is no JSON ({error})", "give the benchmark's output file") from error
        if not isinstance(run, dict) or "mean_ttft_ms" not in run:
            raise SourceError(path, "holds something else than runs", "give the benchmark's output file")
        yield run


def _row(run: Mapping[str, Any], server: Server, name: str) -> dict[str, str]:
    completed = float(run.get("completed") or 0)
    row = {"id": name, "mode": "disagg" if "decode_num_workers" in server.columns else "agg"}
    row["model_path"] = str(run.get("model_id") or run.get("model") or "")
    row["backend"] = BACKENDS.get(str(run.get("backend") or run.get("endpoint_type") or ""), "")
    row["concurrency"] = str(run.get("max_concurrency") or "")
    for column, total, longest in (
        ("isl", "total_input_tokens", "random_input_len"),
        ("osl", "total_output_tokens", "random_output_len"),
    ):
        row |= _length(column, run.get(longest), float(run.get(total) or 0), completed)
    row |= {column: str(run.get(mean, "")) for column, mean in MEANS.items()}
    return row | dict(server.columns)


def _length(column: str, longest: object, tokens: float, requests: float) -> dict[str, str]:
    """Longest and mean length; constant lengths where the file names no longest one."""
    if not tokens or not requests:
        return {column: "", f"{column}_mean": ""}
    mean = tokens / requests
    most = int(str(longest)) if longest else math.ceil(mean)
    # Lengths drawn from [1, L] average L / 2 but for the luck of the draw.
    return {column: str(most), f"{column}_mean": str(min(max(mean, (most + 1) / 2), most))}


def _unfit(run: Mapping[str, Any]) -> PointError | None:
    """Why a run is no closed loop of random lengths."""
    if not run.get("max_concurrency"):
        return PointError("no max_concurrency: the run is no closed loop")
    if not math.isinf(float(run.get("request_rate") or math.inf)):
        return PointError("request_rate is finite: the run is no closed loop")
    dataset = str(run.get("dataset_name") or "")
    if dataset not in RANDOM_DATASETS:
        return PointError(f"dataset {dataset}: lengths are not random; replay it as a trace")
    if not run.get("completed"):
        return PointError("no request was completed")
    return None
