"""A model, an accelerator, a precision and a layout become one step law."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import sympy as sp

from llmopt_calibration.coefficients import CoefficientSet
from llmopt_calibration.laws import Number
from llmopt_calibration.precision import Precision
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
from llmopt_calibration.step.law import Operator, StepLaw
from llmopt_calibration.step.symbols import StepSymbols, SymbolicLayout, symbolic
from llmopt_problems.deployment import Layout
from llmopt_problems.experts import ExpertUse
from llmopt_problems.hardware.spec import AcceleratorSpec
from llmopt_problems.models.facts import component_precision
from llmopt_problems.models.spec import Attention, Ffn, ModelSpec


def step_law(
    model: ModelSpec,
    accelerator: AcceleratorSpec,
    precision: Precision,
    layout: Layout | SymbolicLayout,
    coefficients: CoefficientSet,
    *,
    imbalance: Number = 1,
    symbols: StepSymbols | None = None,
    verify: int = 1,
    experts: ExpertUse | None = None,
    expert_tokens: sp.Expr | None = None,
) -> StepLaw:
    """The operators of one forward pass, as expressions in the step's state and the layout's symbols.

    `imbalance` is the load of the busiest expert group over what the tables that the coefficients were fitted
    to had, a number or a frozen symbol; `experts` says instead how tokens use the experts, in a step of
    `expert_tokens` (default: its own). With
    `verify` tokens a decode sequence the law is of a pass that verifies drafts: attention reads a sequence's
    keys once for all of its queries, which share the tile of a KV head as further query heads would; all
    other operators see tokens, and get `verify` a sequence from whoever evaluates the law. The law means
    something for valid layouts only: see `layout_violations`.
    """
    context = step_context(
        model,
        accelerator,
        precision,
        layout,
        coefficients,
        imbalance=imbalance,
        symbols=symbols,
        verify=verify,
        experts=experts,
        expert_tokens=expert_tokens,
    )
    return StepLaw(running(_operators(context)), context.symbols)


def step_context(
    model: ModelSpec,
    accelerator: AcceleratorSpec,
    precision: Precision,
    layout: Layout | SymbolicLayout,
    coefficients: CoefficientSet,
    *,
    imbalance: Number = 1,
    symbols: StepSymbols | None = None,
    verify: int = 1,
    experts: ExpertUse | None = None,
    expert_tokens: sp.Expr | None = None,
) -> StepContext:
    """What the operators of a step are built from, for the arguments of `step_law`."""
    return StepContext(
        model,
        accelerator,
        component_precision(model, precision.weights),
        precision.kv,
        symbolic(layout),
        coefficients,
        sp.sympify(imbalance, strict=True),
        symbols or StepSymbols(),
        verify,
        experts,
        expert_tokens,
    )


def running(operators: Iterable[Operator]) -> tuple[Operator, ...]:
    """The operators without those that a layout of numbers has none of."""
    return tuple(operator for operator in operators if _runs(operator))


def _operators(context: StepContext) -> Iterator[Operator]:
    yield from engine_operators(context)
    yield from embedding_operators(context)
    yield from norm_operators(context)
    attentions: Counter[Attention] = Counter()
    blocks: Counter[Ffn] = Counter()
    for group in context.model.layers:
        attentions[group.attention] += group.count
        blocks[group.ffn] += group.count
    for attention, count in attentions.items():
        yield from attention_operators(context, attention, count)
    for ffn, count in blocks.items():
        yield from feed_forward_operators(context, ffn, count)
    yield from pipeline_operators(context)
    yield from head_operators(context)


def _runs(operator: Operator) -> bool:
    """False for an operator that a layout of numbers has none of."""
    return any(quantity != 0 for quantity in operator.quantities())
