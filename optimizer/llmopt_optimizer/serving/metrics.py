"""Prometheus metrics under vLLM's names, read off the simulator's own state when somebody asks.

Names and buckets are those of vLLM 1 (`vllm/v1/metrics/loggers.py`); times are of the simulated clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmopt_simulator.kernel import state as k
from llmopt_simulator.live import LiveRun

Floats = NDArray[np.float64]

FIRST_TOKEN_S: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0),
    *(40.0, 80.0, 160.0, 640.0, 2560.0),
)
TOKEN_S: Final = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0),
    *(40.0, 80.0),
)
REQUEST_S: Final = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0),
    *(480.0, 960.0, 1920.0, 7680.0),
)
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def exposition(runs: Sequence[LiveRun], tokens: int, model: str) -> str:
    """The text of `/metrics` for what all runs, the present one last, did so far."""
    label = model.replace("\\", "\\\\").replace('"', '\\"')
    return "\n".join(_lines(runs, tokens, f'model_name="{label}"')) + "\n"


def _lines(runs: Sequence[LiveRun], tokens: int, label: str) -> Iterator[str]:
    records = np.concatenate([run.state.requests[: run.submitted] for run in runs])
    done = records[records["status"] == k.FINISHED]
    started = records[~np.isnan(records["first_token_s"])]
    yield from _gauges(runs[-1], label)
    prompt = int(started["input_tokens"].sum())
    yield from _plain("prompt_tokens_total", "counter", "Prefill tokens processed.", prompt, label)
    yield from _plain("generation_tokens_total", "counter", "Tokens generated.", tokens, label)
    reason = f'{label},finished_reason="length"'
    yield from _plain("request_success_total", "counter", "Requests answered.", len(done), reason)
    first = started["first_token_s"] - started["arrival_s"]
    yield from _histogram("time_to_first_token_seconds", first, FIRST_TOKEN_S, label)
    yield from _gap_histogram(runs, label)
    yield from _histogram(
        "e2e_request_latency_seconds", done["finish_s"] - done["arrival_s"], REQUEST_S, label
    )
    queued = started["admitted_s"] - started["arrival_s"]
    yield from _histogram("request_queue_time_seconds", queued, REQUEST_S, label)


def _gauges(run: LiveRun, label: str) -> Iterator[str]:
    records = run.state.requests[: run.submitted]
    pending = records[(records["status"] == k.PENDING) & (records["arrival_s"] <= run.now_s)]
    running = int(np.sum(pending["admitted_s"] <= run.now_s))
    ranks = run.state.ranks
    free = ranks["free_pages"] + ranks["evictable_pages"]
    used = float(np.mean(1.0 - free / ranks["capacity_pages"]))
    yield from _plain("num_requests_running", "gauge", "Requests in batches.", running, label)
    waiting = len(pending) - running
    yield from _plain("num_requests_waiting", "gauge", "Requests that wait.", waiting, label)
    yield from _plain("kv_cache_usage_perc", "gauge", "KV cache in use, 0 to 1.", used, label)


def _gap_histogram(runs: Sequence[LiveRun], label: str) -> Iterator[str]:
    """Inter-token latencies from the simulator's bins, which are a fifth of a percent wide."""
    counts = np.sum([run.state.itl for run in runs], axis=0)
    edges = (np.arange(k.ITL_BINS + 1, dtype=np.int64) + k.ITL_FIRST_BIN << k.ITL_BIN_BITS).view(np.float64)
    below = np.concatenate([[0], np.cumsum(counts)])
    cumulative = [int(below[np.searchsorted(edges, bound, side="right") - 1]) for bound in TOKEN_S]
    total = sum(float(run.state.world["itl_s"][0]) for run in runs)
    name = "inter_token_latency_seconds"
    yield from _histogram_lines(name, zip(TOKEN_S, cumulative, strict=True), int(below[-1]), total, label)


def _plain(name: str, kind: str, meaning: str, value: float, label: str) -> Iterator[str]:
    yield f"# HELP vllm:{name} {meaning}"
    yield f"# TYPE vllm:{name} {kind}"
    yield f"vllm:{name}{{{label}}} {value}"


def _histogram(name: str, values: Floats, bounds: Sequence[float], label: str) -> Iterator[str]:
    ordered = np.sort(values)
    cumulative = np.searchsorted(ordered, bounds, side="right").tolist()
    total = float(ordered.sum())
    yield from _histogram_lines(name, zip(bounds, cumulative, strict=True), len(ordered), total, label)


def _histogram_lines(
    name: str, buckets: Iterable[tuple[float, int]], count: int, total: float, label: str
) -> Iterator[str]:
    yield f"# HELP vllm:{name} Simulated seconds."
    yield f"# TYPE vllm:{name} histogram"
    for bound, below in buckets:
        yield f'vllm:{name}_bucket{{{label},le="{bound}"}} {below}'
    yield f'vllm:{name}_bucket{{{label},le="+Inf"}} {count}'
    yield f"vllm:{name}_count{{{label}}} {count}"
    yield f"vllm:{name}_sum{{{label}}} {total}"
