"""The model that drafts for another one in speculative decoding."""

from __future__ import annotations

from dataclasses import replace

from llmopt_problems.models.spec import LayerGroup, ModelSpec


def mtp_head(model: ModelSpec) -> ModelSpec:
    """The multi-token prediction head of a model: one more layer of its last kind, run once a drafted token.

    Embedding and output head are the model's own (DeepSeek-V3 report, section 2.2), so a pass computes them
    but memory holds them once. The small projection that joins embedding and hidden state is left out.
    """
    last = model.layers[-1]
    return replace(model, name=f"{model.name} MTP", layers=(LayerGroup(1, last.attention, last.ffn),))
