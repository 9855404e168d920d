"""A run as the result file of a serving benchmark: SGLang's `bench_serving` or vLLM's `bench serve`.

The fields, and how they are computed, are those of the tools' sources (`python/sglang/bench_serving.py` with
`--output-details`, one line of JSON; `vllm/benchmarks/serve.py` with `--save-detailed`, one JSON file): all
requests that were sent count, no warm-up is cut, percentiles interpolate, TPOT is of answers with more than
one token. What a simulation lacks (texts) is empty, and `simulated_by` says where the file comes from.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmopt_simulator.errors import SimulationError
from llmopt_simulator.files import write_whole
from llmopt_simulator.run import Run
from llmopt_simulator.tokens import token_times

Floats = NDArray[np.float64]
REJECTED = "rejected: the request never fits, or a queue was full"


@dataclass(frozen=True, slots=True, eq=False)
class _Sent:
    """What a client would have seen; times in seconds, 0 for requests that failed."""

    start: Floats
    ttft: Floats
    latency: Floats
    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]
    served: NDArray[np.bool_]
    tokens: list[Floats]
    concurrency: int | None

    @property
    def duration_s(self) -> float:
        """First request sent to last answer ended."""
        return float(np.max((self.start + self.latency)[self.served], initial=0.0) - self.start[0])

    @property
    def itls(self) -> list[list[float]]:
        return [np.diff(times).tolist() for times in self.tokens]

    @property
    def request_rate(self) -> float:
        """Mean rate of an open loop; infinite in a closed one, which sends as soon as it may."""
        span = float(self.start[-1] - self.start[0])
        closed = self.concurrency is not None or span == 0.0
        return math.inf if closed else (len(self.start) - 1) / span


def write_sglang(run: Run, path: str | Path, model: str) -> None:
    """Write the line that `bench_serving --output-details` would have appended; raises as `token_times`."""
    write_whole(Path(path), lambda target: _dump(target, sglang_result(run, model)))


def write_vllm(run: Run, path: str | Path, model: str) -> None:
    """Write the file that `vllm bench serve --save-detailed` would have written; raises as `token_times`."""
    write_whole(Path(path), lambda target: _dump(target, vllm_result(run, model)))


def sglang_result(run: Run, model: str) -> dict[str, Any]:
    """The object of SGLang's file."""
    sent = _sent(run)
    dur_s, total_in, total_out = _totals(sent)
    arguments = {
        "backend": "sglang",
        **_dataset(sent),
        "request_rate": sent.request_rate,
        "max_concurrency": sent.concurrency,
        "sharegpt_output_len": None,
        "model_id": model,
        "simulated_by": _program(),
    }
    results = {
        "duration": dur_s,
        "completed": int(sent.served.sum()),
        "total_input_tokens": total_in,
        "total_output_tokens": total_out,
        "total_output_tokens_retokenized": total_out,
        "request_throughput": float(sent.served.sum()) / dur_s,
        "input_throughput": total_in / dur_s,
        "output_throughput": total_out / dur_s,
        **_statistics("e2e_latency", sent.latency[sent.served], (99,)),
        **_latencies(sent, {"ttft": (99,), "tpot": (99,), "itl": (95, 99)}),
        "concurrency": float(sent.latency[sent.served].sum()) / dur_s,
        "accept_length": None,
    }
    return arguments | results | _details(sent)


def vllm_result(run: Run, model: str) -> dict[str, Any]:
    """The object of vLLM's file."""
    sent = _sent(run)
    dur_s, total_in, total_out = _totals(sent)
    arguments = {
        **{"date": "simulated", "endpoint_type": "vllm", "backend": "vllm", "label": None},
        **{"model_id": model, "tokenizer_id": model, "num_prompts": len(sent.start)},
        "simulated_by": _program(),
        **{"request_rate": sent.request_rate, "burstiness": 1.0, "max_concurrency": sent.concurrency},
    }
    results = {
        "duration": dur_s,
        "completed": int(sent.served.sum()),
        "failed": int((~sent.served).sum()),
        "total_input_tokens": total_in,
        "total_output_tokens": total_out,
        "request_throughput": float(sent.served.sum()) / dur_s,
        "request_goodput": None,
        "output_throughput": total_out / dur_s,
        "total_token_throughput": (total_in + total_out) / dur_s,
        "max_output_tokens_per_s": _most_tokens_per_s(sent),
        "max_concurrent_requests": _most_concurrent(sent),
        "rtfx": 0.0,
    }
    percents = (90, 95, 99)
    statistics = _latencies(sent, dict.fromkeys(("ttft", "tpot", "itl"), percents))
    end_to_end = _statistics("e2el", sent.latency[sent.served], percents)
    details = {
        **{"latencies": sent.latency.tolist(), "start_times": sent.start.tolist()},
        "queue_times": [0.0] * len(sent.start),
    }
    return arguments | results | _details(sent) | details | statistics | end_to_end


def _sent(run: Run) -> _Sent:
    arrival, served = run.column("arrival_s"), run.finished
    if not served.any():
        raise SimulationError("nothing was served: a benchmark of it has no results")
    order = np.argsort(arrival, kind="stable")

    def seen(values: Any) -> Any:
        return np.where(served, values, 0)[order]

    tokens = token_times(run)
    return _Sent(
        start=arrival[order],
        ttft=seen(run.column("first_token_s") - arrival),
        latency=seen(run.column("finish_s") - arrival),
        inputs=run.column("input_tokens").astype(np.int64)[order],
        outputs=seen(run.column("output_tokens")).astype(np.int64),
        served=served[order],
        tokens=[tokens[i] for i in order],
        concurrency=run.workload.concurrency,
    )


def _totals(sent: _Sent) -> tuple[float, int, int]:
    """Duration, input and output tokens of what was served."""
    return sent.duration_s, int(sent.inputs[sent.served].sum()), int(sent.outputs.sum())


def _dataset(sent: _Sent) -> dict[str, Any]:
    """Equal lengths are what `--dataset-name random --random-range-ratio 1` draws."""
    lengths = [np.unique(each) for each in (sent.inputs, sent.outputs[sent.served])]
    if any(len(each) != 1 for each in lengths):
        random = dict.fromkeys(("random_input_len", "random_output_len", "random_range_ratio"))
        return {"dataset_name": "custom", **random}
    inputs, outputs = (int(each[0]) for each in lengths)
    random_lengths = {"random_input_len": inputs, "random_output_len": outputs, "random_range_ratio": 1.0}
    return {"dataset_name": "random", **random_lengths}


def _details(sent: _Sent) -> dict[str, list[Any]]:
    return {
        "input_lens": sent.inputs.tolist(),
        "output_lens": sent.outputs.tolist(),
        "ttfts": sent.ttft.tolist(),
        "itls": sent.itls,
        "generated_texts": [""] * len(sent.start),
        "errors": ["" if served else REJECTED for served in sent.served],
    }


def _latencies(sent: _Sent, percents: dict[str, tuple[int, ...]]) -> dict[str, float]:
    several = sent.outputs > 1
    tpot = (sent.latency - sent.ttft)[several] / (sent.outputs[several] - 1)
    itl = np.concatenate([np.diff(times) for times in sent.tokens] or [np.zeros(0)])
    values = {"ttft": sent.ttft[sent.served], "tpot": tpot, "itl": itl}
    found: dict[str, float] = {}
    for name, asked in percents.items():
        found |= _statistics(name, values[name], asked)
    return found


def _statistics(name: str, seconds: Floats, percents: tuple[int, ...]) -> dict[str, float]:
    """Mean, median, standard deviation and percentiles in milliseconds; 0 of nothing, as the tools do."""
    sample = seconds * 1e3 if len(seconds) else np.zeros(1)
    named = {"mean": np.mean(sample), "median": np.median(sample), "std": np.std(sample)}
    named |= {f"p{percent}": np.percentile(sample, percent) for percent in percents}
    return {f"{statistic}_{name}_ms": float(value) for statistic, value in named.items()}


def _most_tokens_per_s(sent: _Sent) -> float:
    """Most tokens in one second, seconds counted from the first request."""
    times = np.concatenate([*sent.tokens, np.zeros(0)]) - sent.start[0]
    return float(np.bincount(times.astype(np.int64)).max()) if len(times) else 0.0


def _most_concurrent(sent: _Sent) -> int:
    """Most requests that were under way in the same second."""
    begin = (sent.start - sent.start[0])[sent.served]
    first, last = begin.astype(np.int64), (begin + sent.latency[sent.served]).astype(np.int64)
    if not len(first):
        return 0
    change = np.bincount(first, minlength=last.max() + 2) - np.bincount(last + 1, minlength=last.max() + 2)
    return int(change.cumsum().max())


def _program() -> str:
    return f"llmopt {version('llmopt')}"


def _dump(target: Path, result: dict[str, Any]) -> None:
    target.write_text(json.dumps(result) + "\n", encoding="utf-8")
