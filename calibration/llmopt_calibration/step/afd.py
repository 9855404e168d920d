"""A decode step with attention and feed-forward blocks on accelerators of their own (AFD).

`tp` attention accelerators hold the KV cache and run everything but the feed-forward blocks, in `dp`
replicas; `ffn` others hold the experts, each a group of whole experts, and a copy of whatever is dense
(shared experts, routers, dense blocks). In every layer each token goes to the groups of its experts and comes
back. The batch is cut into micro-batches that both kinds of accelerators work on in turn: `ping_pong` has the
time.

The law is of decode steps alone. The tokens of a step are taken as dp times those of the fullest rank, so it
reads b and K only. Work is of the mean accelerator of the instance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import sympy as sp

from llmopt_calibration.coefficients import Basis, CoefficientSet
from llmopt_calibration.laws.gemm import FORMATS
from llmopt_calibration.precision import Precision
from llmopt_calibration.step.assemble import running, step_context
from llmopt_calibration.step.attention import attention_operators
from llmopt_calibration.step.context import ACTIVATION_BYTES, StepContext
from llmopt_calibration.step.ends import (
    embedding_operators,
    engine_operators,
    head_operators,
    norm_operators,
)
from llmopt_calibration.step.feed_forward import dense_operators, expert_operators
from llmopt_calibration.step.law import Operator, StepLaw
from llmopt_calibration.step.ping_pong import Round, ping_pong_s
from llmopt_calibration.step.symbols import AfdLayout, StepSymbols
from llmopt_problems.experts import ExpertUse
from llmopt_problems.hardware.spec import AcceleratorSpec
from llmopt_problems.models.spec import DenseFfn, Ffn, LayerGroup, ModelSpec

_BASES: Final[tuple[Basis, ...]] = ("default", "transferred", "measured")
"""From the least to the most certain: a sum is worth what its least certain part is."""


@dataclass(frozen=True, slots=True)
class _Sides:
    """What the operators of both kinds of accelerators are built from, for one micro-batch."""

    attention: StepContext
    experts: StepContext
    layout: AfdLayout


def afd_step_law(
    model: ModelSpec,
    accelerator: AcceleratorSpec,
    precision: Precision,
    layout: AfdLayout,
    coefficients: CoefficientSet,
    *,
    experts: ExpertUse | None = None,
    expert_tokens: sp.Expr | None = None,
    symbols: StepSymbols | None = None,
) -> StepLaw:
    """The operators of one decode step: the ends on the attention accelerators, the ping-pong of layers."""
    symbols = symbols or StepSymbols()
    whole = step_context(model, accelerator, precision, layout.attention, coefficients, symbols=symbols)
    micro = _micro_batch(symbols, layout)
    experts_side = step_context(
        model,
        accelerator,
        precision,
        layout.experts,
        coefficients,
        symbols=micro,
        experts=experts,
        expert_tokens=expert_tokens,
    )
    sides = _Sides(replace(whole, symbols=micro), experts_side, layout)
    ends = (
        *engine_operators(whole),
        *embedding_operators(whole),
        *norm_operators(whole, 1),
        *head_operators(whole),
    )
    return StepLaw((*running(ends), _layers(sides)), symbols)


def _micro_batch(symbols: StepSymbols, layout: AfdLayout) -> StepSymbols:
    """The state of one micro-batch, as expressions in that of the step."""
    state = {
        "b": symbols.b / layout.micro_batches,
        "K": symbols.K / layout.micro_batches,
        "p": sp.S.Zero,
        "A": sp.S.Zero,
        "N": layout.dp * symbols.b / layout.micro_batches,
    }
    return replace(symbols, **state)


def _layers(sides: _Sides) -> Operator:
    """All layers as one operator that decodes see."""
    parts = [(group.count, *_layer(sides, group)) for group in sides.attention.model.layers]
    rounds = [
        Round(count, *(_seconds(part) for part in (attention, send, ffn, back)))
        for count, attention, send, ffn, back in parts
    ]
    every = [op for _, *stations in parts for station in stations for op in station]
    flops, hbm_bytes, network_bytes = (_mean_work(sides, parts, column) for column in (1, 2, 3))
    seconds = ping_pong_s(rounds, sides.layout.micro_batches)
    basis = min((op.basis for op in every), key=_BASES.index)
    return Operator(
        "afd.ping_pong", "afd_ping_pong", seconds, flops, hbm_bytes, network_bytes, "decode", basis
    )


_Stations = tuple[tuple[Operator, ...], tuple[Operator, ...], tuple[Operator, ...], tuple[Operator, ...]]


def _layer(sides: _Sides, group: LayerGroup) -> _Stations:
    """One layer of a group: what attention accelerators, links, expert accelerators and links back do."""
    model = sides.attention.model
    attention = (
        *norm_operators(sides.attention, model.norms_per_layer),
        *attention_operators(sides.attention, group.attention, 1),
    )
    decoding = tuple(op for op in running(attention) if op.sees != "prefill")
    blocks = running(_blocks(sides.experts, group.ffn))
    there, back = _exchange(sides, group.ffn)
    return decoding, (there,), blocks, (back,)


def _blocks(context: StepContext, ffn: Ffn) -> Iterable[Operator]:
    if isinstance(ffn, DenseFfn):
        shape = (ffn.intermediate, ffn.gated)
        return dense_operators(context, "dense_ffn", shape, 1, context.layout.spread)
    return expert_operators(context, ffn, 1)


def _exchange(sides: _Sides, ffn: Ffn) -> tuple[Operator, Operator]:
    """The ways of a micro-batch's tokens to the experts' accelerators and back, at the slower end's link.

    A token with k experts goes to n (1 - (1 - 1/n)^k) of n accelerators in the experts' activation
    precision, and comes back from each in bf16.
    """
    context, layout = sides.experts, sides.layout
    dense = isinstance(ffn, DenseFfn)
    copies = 1 if dense else layout.ffn * (1 - (1 - 1 / layout.ffn) ** ffn.experts_per_token)  # type: ignore[union-attr]
    part = "dense_ffn" if dense else "routed_experts"
    values = context.symbols.N * copies * context.model.hidden / sp.Min(layout.tp, layout.ffn)
    beyond = layout.tp + layout.ffn - context.accelerator.scale_up_gpus
    nodes = 1 + sp.Min(1, sp.Max(0, beyond))

    def way(name: str, bytes_a_value: float) -> Operator:
        shape = {"message_bytes": values * bytes_a_value, "nodes": nodes}
        return context.operator(name, "send", "engine_tokens", 1, **shape)

    there = FORMATS[context.weights[part]].activation_bytes  # type: ignore[index]
    return way("afd.dispatch", there), way("afd.combine", ACTIVATION_BYTES)


def _seconds(operators: Iterable[Operator]) -> sp.Expr:
    return sp.Add(*(op.seconds for op in operators))


def _mean_work(sides: _Sides, parts: Iterable[tuple[int, *_Stations]], column: int) -> sp.Expr:
    """FLOP (1), HBM bytes (2) or network bytes (3) of all micro-batches, on the mean accelerator."""
    layout, total = sides.layout, sp.S.Zero
    for count, attention, send, ffn, back in parts:
        for own, operators in ((layout.tp, attention + send), (layout.ffn, ffn + back)):
            total += count * own * sp.Add(*(op.quantities()[column] for op in operators))
    return total * layout.micro_batches / (layout.tp + layout.ffn)
