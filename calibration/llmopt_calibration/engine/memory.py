"""How many tokens an engine's KV cache holds: the memory law under the engine's own rule.

The three engines understand their memory fraction differently. SGLang's is of the whole memory for weights
and cache (activations live in the rest); vLLM's is of the whole memory for all that it measures at start-up;
TensorRT-LLM's is of what is free once weights, buffers and the largest step are in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

import sympy as sp

from llmopt_calibration.engine.layer import EngineSettings
from llmopt_calibration.memory import MemoryLaw

VISIBLE_RESERVE = 0.5
"""Part of the runtime reserve that vLLM counts into its fraction: contexts and graphs come on top of it."""


@dataclass(frozen=True, slots=True)
class MemoryTerms:
    """The terms of a memory law as numbers, bytes on the fullest accelerator."""

    weights: float
    activations: float
    reserve: float
    state_per_sequence: float
    kv_per_token: float


def memory_terms(law: MemoryLaw) -> tuple[sp.Expr, ...]:
    """The expressions of `MemoryTerms`, in its order."""
    return (
        law.weight_bytes,
        law.activations,
        law.reserve,
        law.state_bytes_per_sequence,
        law.kv_bytes_per_token,
    )


def cache_tokens(
    terms: MemoryTerms, settings: EngineSettings, hbm_bytes: float, fraction: float, batch_cap: int
) -> int:
    """Tokens that a rank's cache holds beside the states of `batch_cap` sequences; negative: no room."""
    match settings.memory_rule:
        case "static":
            pool = fraction * hbm_bytes - terms.weights
        case "peak":
            pool = fraction * hbm_bytes - terms.weights - terms.activations - VISIBLE_RESERVE * terms.reserve
        case "free":
            pool = fraction * (hbm_bytes - terms.weights - terms.activations - terms.reserve)
    return floor((pool - batch_cap * terms.state_per_sequence) / terms.kv_per_token)
