"""The operators of feed-forward blocks: dense ones, routed and shared experts, and how tokens reach them.

All see the tokens N of the engine. They arrive and leave in one of three ways:
- dp = 1: every rank has all tokens; an all-reduce over tp sums the parts, with or without expert groups;
- dp > 1, or a dense block: an all-gather over the dp ranks before, a reduce-scatter over tp after;
- dp > 1 and ep > 1: an all-to-all takes a token to the expert groups that it chose, another takes it back.
With dp > 1 the ranks of one attention replica then gather their tokens again.
"""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from llmopt_calibration.expert_load import expert_imbalance
from llmopt_calibration.laws.gemm import FORMATS
from llmopt_calibration.step.context import ACTIVATION_BYTES, StepContext
from llmopt_calibration.step.law import Operator
from llmopt_problems.models.spec import Component, DenseFfn, Ffn, MoeFfn


def feed_forward_operators(context: StepContext, ffn: Ffn, count: int) -> Iterator[Operator]:
    """`count` equal feed-forward blocks with their communication."""
    match ffn:
        case DenseFfn():
            yield from dense_operators(context, "dense_ffn", (ffn.intermediate, ffn.gated), count, sp.S.One)
            yield from _exchange(context, "dense_ffn", count, sp.S.Zero)
        case MoeFfn():
            yield from expert_operators(context, ffn, count)
            yield from _dispatch(context, ffn, count)
            yield from _exchange(context, "moe", count, context.layout.dispatched)


def dense_operators(
    context: StepContext, name: Component, shape: tuple[int, bool], count: int, spread: sp.Expr
) -> Iterator[Operator]:
    """A block of (width, gated) on N / `spread` tokens, its width divided over tp / `spread` ranks."""
    tokens, hidden = context.symbols.N / spread, context.model.hidden
    width = shape[0] * spread / context.layout.tp
    inward = width * (2 if shape[1] else 1)
    yield context.gemm(f"{name}.up", name, "engine_tokens", count, tokens, hidden, inward)
    moved = ACTIVATION_BYTES * tokens * (inward + width)
    yield context.elementwise(f"{name}.activation", "engine_tokens", count, moved)
    yield context.gemm(f"{name}.down", name, "engine_tokens", count, tokens, width, hidden)


def expert_operators(context: StepContext, ffn: MoeFfn, count: int) -> Iterator[Operator]:
    """Router, routed and shared experts of `count` equal blocks, without what brings tokens to them."""
    tokens, hidden, spread = context.symbols.N, context.model.hidden, context.layout.spread
    routed = _routed(context, ffn)
    yield context.gemm("moe.router", "router", "engine_tokens", count, tokens / spread, hidden, ffn.experts)
    yield context.operator(
        "moe.experts",
        f"moe_{context.weights['routed_experts']}",
        "engine_tokens",
        count,
        hidden=hidden,
        intermediate=ffn.expert_intermediate / context.layout.moe_tp,
        local_experts=kept_experts(context, ffn) / context.layout.ep,
        matrices=3 if ffn.gated else 2,
        imbalance=_imbalance(context, ffn, routed["experts"]),
        **routed,
    )
    if ffn.shared_intermediate:
        shape = (ffn.shared_intermediate, ffn.gated)
        yield from dense_operators(context, "shared_experts", shape, count, spread)
        # Their output is scaled by its gate where there is one, then added to that of the routed experts.
        kernels, moved = 2 if ffn.shared_gate else 1, 3 * ACTIVATION_BYTES * tokens / spread * hidden
        yield context.elementwise("shared_experts.sum", "engine_tokens", kernels * count, moved)


def kept_experts(context: StepContext, ffn: MoeFfn) -> sp.Expr:
    """Experts of a layer and their copies."""
    return sp.Integer(ffn.experts + (context.experts.redundant if context.experts is not None else 0))


def _imbalance(context: StepContext, ffn: MoeFfn, shown: sp.Expr) -> sp.Expr:
    """Load of the busiest group over that of the law at imbalance 1, which has the skew of its tables.

    One group holds a slice of every expert, so only several can be out of balance.
    """
    several, ep = sp.Min(1, context.layout.ep - 1), context.layout.ep
    if context.experts is None:
        return 1 + (context.imbalance - 1) * several
    values = context.coefficients.family(f"moe_{context.weights['routed_experts']}").values
    local = kept_experts(context, ffn) / ep
    measured = 1 + values["skew"] * (1 - local / shown) / local ** values["skew_exponent"]
    wanted = _group_load(context, ffn)
    return 1 + (wanted / measured - 1) * several


def _group_load(context: StepContext, ffn: MoeFfn) -> sp.Expr:
    """Load of the busiest expert group over the mean."""
    assert context.experts is not None
    tokens = context.symbols.N if context.expert_tokens is None else context.expert_tokens
    return expert_imbalance(context.experts, ffn, tokens, context.layout.ep)


def _routed(context: StepContext, ffn: MoeFfn) -> dict[str, sp.Expr]:
    """What a rank's experts are shown: all tokens and experts, or after an all-to-all its own alone.

    A token reaches one of ep groups with probability r = 1 - (1 - 1/ep)^k and then has k / (ep r) experts
    there.
    """
    ep, sent, chosen = context.layout.ep, context.layout.dispatched, ffn.experts_per_token
    reached = 1 - (1 - 1 / ep) ** chosen
    return {
        "tokens": context.symbols.N * (1 - sent + sent * reached),
        "experts": kept_experts(context, ffn) * (1 - sent + sent / ep),
        "experts_per_token": chosen * (1 - sent + sent / (ep * reached)),
    }


def _dispatch(context: StepContext, ffn: MoeFfn, count: int) -> Iterator[Operator]:
    """Tokens to their experts in the experts' activation precision and back in bf16: a copy to each group.

    A token with k experts chooses ep (1 - (1 - 1/ep)^k) of the ep groups in expectation. By the engine's own
    kernels where they were measured (SGLang's DeepEP), elsewhere by an all-to-all of NCCL.
    """
    ep, present = context.layout.ep, context.layout.dispatched
    copies = ep * (1 - (1 - 1 / ep) ** ffn.experts_per_token)
    if context.experts is not None:  # all wait for the group that sends and receives the most
        copies *= _group_load(context, ffn)
    values = context.symbols.N / context.layout.tp * context.model.hidden * copies
    own = context.coefficients.family("expert_dispatch").basis == "measured"
    activation_bytes = FORMATS[context.weights["routed_experts"]].activation_bytes
    for name, width in (("dispatch", activation_bytes), ("combine", ACTIVATION_BYTES)):
        family, more = (f"expert_{name}", {"experts": ffn.experts}) if own else ("all_to_all", {})
        yield context.collective(
            f"moe.{name}", family, "engine_tokens", count * present, values * width, ep, **more
        )


def _exchange(context: StepContext, name: str, count: int, dispatched: sp.Expr) -> Iterator[Operator]:
    """The collectives around a block, those of the all-to-all apart."""
    layout, parallel = context.layout, context.layout.parallel_attention
    token_bytes = context.model.hidden * ACTIVATION_BYTES
    engine, rank = context.symbols.N * token_bytes, context.symbols.rank_tokens * token_bytes
    alone, gathered = count * (1 - parallel), count * (parallel - dispatched)
    yield context.collective(f"{name}.all_reduce", "all_reduce", "engine_tokens", alone, engine, layout.tp)
    replicas = (
        layout.dp,
        layout.attention_tp,
    )  # ranks of a replica are neighbours, so replicas are that far apart
    yield context.collective(f"{name}.all_gather", "all_gather", "engine_tokens", gathered, engine, *replicas)
    yield context.collective(
        f"{name}.reduce_scatter", "reduce_scatter", "engine_tokens", gathered, engine, layout.tp
    )
    yield context.collective(
        f"{name}.regather", "all_gather", "rank_tokens", count * parallel, rank, layout.attention_tp
    )
