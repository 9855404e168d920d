"""The operators around the layers: embedding, norms, output head, sampling, pipeline sends, the engine."""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from llmopt_calibration.step.context import ACTIVATION_BYTES, StepContext
from llmopt_calibration.step.law import Operator

SAMPLING_BYTES = 10
"""Bytes that sampling moves for each logit: read in bf16, written and read once as float32."""


def norm_operators(context: StepContext, count: int | None = None) -> Iterator[Operator]:
    """`count` norms with residual sums, or all: each reads and writes activation and residual stream."""
    model = context.model
    moved = 4 * ACTIVATION_BYTES * context.symbols.rank_tokens * model.hidden
    every = model.layer_count * model.norms_per_layer + 1
    yield context.elementwise("norms", "rank_tokens", every if count is None else count, moved)


def embedding_operators(context: StepContext) -> Iterator[Operator]:
    """A look-up in the rank's part of the vocabulary, summed over the attention replica."""
    row = context.symbols.rank_tokens * context.model.hidden * ACTIVATION_BYTES
    yield context.elementwise("embedding", "rank_tokens", 1, 2 * row)
    ranks = context.layout.attention_tp
    yield context.collective("embedding.all_reduce", "all_reduce", "rank_tokens", 1, row, ranks)


def head_operators(context: StepContext) -> Iterator[Operator]:
    """Logits of the rank's sequences on its part of the vocabulary, gathered over the replica, then sampled.

    Data-parallel attention keeps the head within its replica (SGLang `--enable-dp-lm-head`, TensorRT-LLM
    always): gathering every rank's logits would cost more than the head.
    """
    model, rows, ranks = context.model, context.symbols.h, context.layout.attention_tp
    yield context.gemm("lm_head", "lm_head", "heads", 1, rows, model.hidden, model.vocabulary / ranks)
    message = rows * model.vocabulary * ACTIVATION_BYTES
    yield context.collective("lm_head.all_gather", "all_gather", "heads", 1, message, ranks)
    yield context.elementwise("sampling", "heads", 1, SAMPLING_BYTES * rows * model.vocabulary)


def engine_operators(context: StepContext) -> Iterator[Operator]:
    """What the engine spends beside kernels, in each pipeline stage."""
    pp = context.layout.pp
    yield context.operator("engine", "engine_step", "step", pp, layers=context.model.layer_count / pp)


def pipeline_operators(context: StepContext) -> Iterator[Operator]:
    """Pp - 1 sends of activation and residual; those that leave a scale-up domain use the network."""
    layout, message = (
        context.layout,
        2 * ACTIVATION_BYTES * context.symbols.rank_tokens * context.model.hidden,
    )
    domains = sp.Max(1, layout.tp * layout.pp / sp.Integer(context.accelerator.scale_up_gpus))
    across = sp.Min(layout.pp - 1, domains - 1)
    for name, count, nodes in (("inside", layout.pp - 1 - across, 1), ("across", across, 2)):
        shape = {"message_bytes": message, "nodes": nodes}
        yield context.operator(f"pipeline.send_{name}", "send", "rank_tokens", count, **shape)
