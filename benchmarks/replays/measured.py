"""Measured runs: vLLM serving ShareGPT requests, with the kernel profile of the same accelerator.

A run's folder (`shared/data/open_loop`, see its README) holds `requests.jsonl` (arrival on the clock of the
client; queued, scheduled, first and last token on the engine's), `meta.json` (the engine's settings) and
`kernels/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmopt_calibration.sources.llmservingsim import KernelProfile, read_kernel_profile
from llmopt_problems.traffic.requests import Requests, Workload

DATA: Final = Path(__file__).parents[2].parent / "shared" / "data" / "open_loop"
"""Where the measured runs lie, beside a checkout; a user's checkout has none."""

PAGE_TOKENS: Final = 16
UNREPORTED_KV_TOKENS: Final = 530_000
"""KV space of a run that does not report it: 0.9 × 96 GB − 16.1 GB of weights at 131,072 bytes a token. The
run uses less than half of it, so its exact size changes nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredRun:
    """What was sent to an engine, how it was set, and when tokens came."""

    name: str
    workload: Workload
    first_token_s: NDArray[np.float64]
    last_token_s: NDArray[np.float64]
    batch_cap: int
    chunk_tokens: int
    tp: int
    kv_tokens: int
    prefix_cache: bool
    capture_sizes: tuple[int, ...]
    profile: KernelProfile


def measured_runs(directory: Path = DATA, skewed: bool | None = None) -> list[MeasuredRun]:
    """Every run below `directory`, by name; none where there is no such directory.

    `skewed` says whether profiles of unequal contexts are read (`read_kernel_profile`).
    """
    return [read_run(path.parent, skewed) for path in sorted(directory.glob("*/requests.jsonl"))]


def read_run(directory: Path, skewed: bool | None = None) -> MeasuredRun:
    """One run, its moments in seconds from the first arrival."""
    rows = [json.loads(line) for line in (directory / "requests.jsonl").read_text().splitlines()]
    column = {name: np.array([row[name] for row in rows]) for name in rows[0] if name != "request_id"}
    arrival_s = column["arrival_time"] - column["arrival_time"].min()
    # No request is queued before it arrives: the closest pair of moments aligns the two clocks.
    engine_start_s = float(np.min(column["queued_ts"] - arrival_s))
    meta = json.loads((directory / "meta.json").read_text())
    settings, cache = meta["engine_kwargs"], meta.get("kv_cache", {})
    return MeasuredRun(
        directory.name.partition("_")[0],
        _workload(arrival_s, column["input_toks"], column["output_toks"]),
        column["first_token_ts"] - engine_start_s,
        column["last_token_ts"] - engine_start_s,
        settings["max_num_seqs"],
        settings["max_num_batched_tokens"],
        settings["tensor_parallel_size"],
        _kv_tokens(cache),
        cache.get("enable_prefix_caching", True),
        _capture_sizes(meta, settings["max_num_seqs"]),
        read_kernel_profile(directory / "kernels", settings["tensor_parallel_size"], skewed),
    )


def _workload(
    arrival_s: NDArray[np.float64], inputs: NDArray[np.int64], outputs: NDArray[np.int64]
) -> Workload:
    """Requests that share no prefix with one another; what a retracted one has computed is a hit again."""
    blocks = inputs // PAGE_TOKENS
    offsets = np.concatenate([[0], np.cumsum(blocks)])
    requests = Requests(arrival_s, inputs, outputs, offsets, np.arange(offsets[-1]), PAGE_TOKENS)
    return Workload(requests, None)


def _kv_tokens(cache: Mapping[str, Any]) -> int:
    """Tokens of the KV space; vLLM keeps one block of it empty for its own use."""
    if "num_gpu_blocks" not in cache:
        return UNREPORTED_KV_TOKENS
    return int((cache["num_gpu_blocks"] - 1) * cache["block_size"])


def _capture_sizes(meta: Mapping[str, Any], batch_cap: int) -> tuple[int, ...]:
    """Tokens of the captured CUDA graphs: as reported, or vLLM's default up to twice the batch."""
    compiled = meta.get("resolved_config", {}).get("compilation_config", {})
    default = [1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)]
    sizes = compiled.get("cudagraph_capture_sizes", default)
    return tuple(size for size in sorted(sizes) if size <= min(2 * batch_cap, 512))
