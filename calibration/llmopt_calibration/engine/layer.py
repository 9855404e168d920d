"""The few numbers that turn a sum of kernels into a served request, one file an engine.

An engine layer has two parts. Its *constants* are fitted to measured serving points by cross-validation over
whole (model, accelerator) pairs: what a step costs beside its kernels, how long a new request waits for the
scheduler, and what the front end spends on its input. Its *settings* are not
fitted: they are the engine's own defaults, each with its source. A constant that cross-validation found no
use for is at its neutral value and says so in its interval.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from llmopt_calibration.engine.error_bars import ErrorDistribution, summarised
from llmopt_problems.models.spec import KvPrecision, ModelSpec, WeightPrecision

ENGINES = ("sglang", "vllm", "trtllm")
MemoryRule = Literal["static", "peak", "free"]
CONSTANTS: Mapping[str, tuple[str, float, str]] = {
    "step_s": (
        "s",
        0.0,
        "time of a step beside its kernels: scheduling, input preparation, sampling, output",
    ),
    "layer_s": ("s", 0.0, "gaps between the kernels of a layer"),
    "delay_steps": (
        "steps",
        0.0,
        "steps that a first token is under way beside queueing: steps in flight, sampling, streaming",
    ),
    "delay_polls": ("polls", 0.0, "looks of a scheduler that does not look every step, waited for"),
    "handoff_steps": (
        "steps",
        0.0,
        "decode steps from prefill to the first token that a decode instance streams, beside the transfer",
    ),
    "input_token_s": ("s/token", 0.0, "front-end time of an input token: HTTP, tokenizer, copies"),
    "admission_s": ("s/request", 0.0, "time of the front end in which it admits no other request"),
}
"""Unit, neutral value and meaning of every constant."""


@dataclass(frozen=True, slots=True)
class EngineConstant:
    """One fitted number with its interval: the smallest and largest value over the folds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What the engine does when nobody says otherwise."""

    chunk_tokens: int
    """Token budget of a step."""
    memory_fraction: float
    largest_memory_fraction: float
    """What operators raise it to when weights would leave no room."""
    memory_rule: MemoryRule
    """What the fraction is of: `static` weights and cache, `peak` all but half the reserve, `free` memory
    beside weights, activations and reserve."""
    mixing: Literal["decode_first", "prefill_first"]
    """Whether a step holds decodes and prefill together, or prefill alone while there is any."""
    growth: Mapping[str, float] | None
    """How pages are taken as tokens come (fields of `KvGrowth`); None: a request's output is reserved."""
    poll_steps: Mapping[str, int]
    """Decode steps between two looks at new requests, by the fewest users from which it holds."""
    kv_by_weights: Mapping[str, KvPrecision]
    """Cache precision by that of the weights served."""
    sources: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EngineLayer:
    """Constants and settings of one engine."""

    engine: str
    constants: Mapping[str, EngineConstant]
    settings: EngineSettings
    held_out_tpot: float
    held_out_ttft: float
    """Mean absolute relative errors on pairs not fitted, macro-averaged."""
    tpot_errors: ErrorDistribution
    """Measured over predicted TPOT of pairs not fitted."""
    source: str
    date: str

    def value(self, name: str) -> float:
        """The number of a constant."""
        return self.constants[name].value

    def poll_steps(self, users: int) -> int:
        """Decode steps between two looks of the scheduler at new requests, with so many users."""
        intervals = {int(fewest): steps for fewest, steps in self.settings.poll_steps.items()}
        return intervals[max(fewest for fewest in intervals if fewest <= users)]

    def kv_precision(self, model: ModelSpec, weights: WeightPrecision) -> KvPrecision:
        """Precision of the cache: a checkpoint published in 4 bits carries no cache scales."""
        own = "fp4_native" if weights == "fp4" and model.native_weights == "fp4" else weights
        return self.settings.kv_by_weights[own]


@cache
def engine_layer(engine: str) -> EngineLayer:
    """The shipped layer of `engine`; `ValueError` names the known ones."""
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is unknown; known: {', '.join(ENGINES)}")
    file = resources.files(__package__).joinpath("data", f"{engine}.json")
    return parse_layer(json.loads(file.read_text(encoding="utf-8")))


def parse_layer(content: Mapping[str, Any]) -> EngineLayer:
    """A layer from the content of its file; `ValueError` when the constants are not those of `CONSTANTS`."""
    numbers = content["constants"]
    if set(numbers) != set(CONSTANTS):
        raise ValueError(f"engine constants {sorted(numbers)}, but {sorted(CONSTANTS)} are known; refit")
    constants = {
        name: EngineConstant(float(item["value"]), *(float(end) for end in item["interval"]))
        for name, item in numbers.items()
    }
    return EngineLayer(
        content["engine"],
        constants,
        EngineSettings(**content["settings"]),
        float(content["held_out_mape"]["tpot"]),
        float(content["held_out_mape"]["ttft"]),
        summarised(content["tpot_measured_over_predicted"]),
        content["source"]["points"],
        content["date"],
    )
