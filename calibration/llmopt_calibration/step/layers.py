"""A step law taken apart by layer: what one layer of each kind runs, and what runs outside the layers."""

from __future__ import annotations

from dataclasses import dataclass

from llmopt_calibration.step.assemble import running
from llmopt_calibration.step.attention import attention_operators
from llmopt_calibration.step.context import StepContext
from llmopt_calibration.step.ends import (
    embedding_operators,
    engine_operators,
    head_operators,
    norm_operators,
    pipeline_operators,
)
from llmopt_calibration.step.feed_forward import feed_forward_operators
from llmopt_calibration.step.law import Operator


@dataclass(frozen=True, slots=True)
class LayerOperators:
    """`count` equal layers, and the operators of one of them."""

    name: str
    """`layers 4-61`, counted from 1; `ends` for what surrounds the layers."""
    count: int
    operators: tuple[Operator, ...]


def layer_operators(context: StepContext) -> tuple[LayerOperators, ...]:
    """The groups of equal layers in order, then the ends; counts times operators sum to the step law."""
    found, first = [], 1
    for group in context.model.layers:
        last = first + group.count - 1
        name = f"layers {first}-{last}" if last > first else f"layer {first}"
        operators = (
            *norm_operators(context, context.model.norms_per_layer),
            *attention_operators(context, group.attention, 1),
            *feed_forward_operators(context, group.ffn, 1),
        )
        found.append(LayerOperators(name, group.count, running(operators)))
        first = last + 1
    return (*found, LayerOperators("ends", 1, running(_ends(context))))


def _ends(context: StepContext) -> tuple[Operator, ...]:
    return (
        *engine_operators(context),
        *embedding_operators(context),
        *pipeline_operators(context),
        *norm_operators(context, 1),
        *head_operators(context),
    )
