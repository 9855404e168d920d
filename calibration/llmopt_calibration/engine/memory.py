"""How many tokens an engine's KV cache holds: the memory law under the engine's own rule.

The three engines understand their memory fraction differently. SGLang's is of the whole memory for weights
and cache (activations live in the rest); vLLM's is of the whole memory for all that it measures at start-up;
TensorRT-LLM's is of what is free once weights, buffers and the largest step are in place.
"""

from __future__ import annotations

from math import floor

from llmopt_calibration.engine.layer import EngineSettings
from llmopt_calibration.memory import MemoryLaw

VISIBLE_RESERVE = 0.5
"""Part of the runtime reserve that vLLM counts into its fraction: contexts and graphs come on top of it."""


def cache_tokens(
    law: MemoryLaw, settings: EngineSettings, hbm_bytes: float, fraction: float, batch_cap: int
) -> int:
    """Tokens that a rank's cache holds beside the states of `batch_cap` sequences; negative: no room.

    `law` must have numbers for all its symbols (`MemoryLaw.at`).
    """
    weights, activations = float(law.weight_bytes), float(law.activations)
    reserve, states = float(law.reserve), batch_cap * float(law.state_bytes_per_sequence)
    match settings.memory_rule:
        case "static":
            pool = fraction * hbm_bytes - weights
        case "peak":
            pool = fraction * hbm_bytes - weights - activations - VISIBLE_RESERVE * reserve
        case "free":
            pool = fraction * (hbm_bytes - weights - activations - reserve)
    return floor((pool - states) / float(law.kv_bytes_per_token))
