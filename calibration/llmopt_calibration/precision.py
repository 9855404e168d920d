"""The precision that a model is served in."""

from __future__ import annotations

from dataclasses import dataclass

from llmopt_problems.models.spec import KvPrecision, WeightPrecision


@dataclass(frozen=True, slots=True)
class Precision:
    """Precision of the weights (as `component_precision` spreads it over the model) and of the KV cache."""

    weights: WeightPrecision
    kv: KvPrecision
