"""Which parallel layouts an engine can run a model in, each rule an expression that is at most zero if kept.

The rules are those of SGLang (and vLLM): tensor parallelism contains attention data parallelism and
expert parallelism, heads and widths must divide, and data-parallel attention exists for mixtures of
experts and latent attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sympy as sp

from llmopt_calibration.step.symbols import AfdLayout, SymbolicLayout, afd_layout, symbolic
from llmopt_problems.deployment import Layout
from llmopt_problems.models.facts import component_precision
from llmopt_problems.models.spec import (
    DenseFfn,
    GroupedQueryAttention,
    LatentAttention,
    LinearAttention,
    ModelSpec,
    MoeFfn,
    WeightPrecision,
)

FP8_BLOCK = 128
"""DeepSeek-V3 report, section 3.3.2: scales belong to blocks of 128 x 128 weights, which are not cut."""


@dataclass(frozen=True, slots=True)
class LayoutRule:
    """One rule; `excess` is at most 0 where a layout keeps it."""

    excess: sp.Expr
    message: str
    """What is wrong when it is broken, and what to do."""


def layout_rules(
    model: ModelSpec,
    layout: Layout | SymbolicLayout,
    weights: WeightPrecision | None = None,
    redundant: int = 0,
) -> tuple[LayoutRule, ...]:
    """Every rule for `model` in `layout`; with `weights`, also those of the quantised format.

    `redundant` copies of experts are divided over the expert groups with the experts.
    """
    split = symbolic(layout)
    narrow = component_precision(model, weights) if weights else {}
    rules = [*_group_rules(split), *_family_rules(model, split)]
    for attention in {group.attention: None for group in model.layers}:
        rules += _head_rules(attention, split)
    for ffn in {group.ffn: None for group in model.layers}:
        match ffn:
            case DenseFfn():
                rules += _width_rules(
                    "intermediate width", ffn.intermediate, split.tp, narrow.get("dense_ffn")
                )
            case MoeFfn():
                rules += _expert_rules(ffn, split, narrow.get("routed_experts"), redundant)
    rules.append(
        LayoutRule(split.pp - model.layer_count, f"pp exceeds the {model.layer_count} layers: lower pp")
    )
    return tuple(rules)


def afd_rules(model: ModelSpec, layout: AfdLayout, redundant: int = 0) -> tuple[LayoutRule, ...]:
    """Every rule for `model` with attention and feed-forward blocks on accelerators of their own."""
    split, experts = layout.attention, layout.experts
    rules = [*_group_rules(split), *_family_rules(model, experts)]
    for attention in {group.attention: None for group in model.layers}:
        rules += _head_rules(attention, split)
    for ffn in {group.ffn: None for group in model.layers}:
        if isinstance(ffn, MoeFfn):
            rules += _expert_rules(ffn, experts, None, redundant)
    return tuple(rules)


def layout_violations(
    model: ModelSpec, layout: Layout, weights: WeightPrecision | None = None, redundant: int = 0
) -> tuple[str, ...]:
    """The messages of the rules that `layout` breaks; empty for a valid layout."""
    apart = layout.ffn > 0
    rules = afd_rules(model, afd_layout(layout), redundant) if apart else None
    rules = rules if rules is not None else layout_rules(model, layout, weights, redundant)
    broken = (rule for rule in rules if rule.excess > 0)
    return tuple(dict.fromkeys(rule.message for rule in broken))


def _group_rules(split: SymbolicLayout) -> Iterator[LayoutRule]:
    yield LayoutRule(sp.Mod(split.tp, split.dp), "attention_dp does not divide tp: choose a divisor of tp")
    yield LayoutRule(sp.Mod(split.tp, split.ep), "ep does not divide tp: choose a divisor of tp")
    message = "ep with attention_dp needs ep = tp (all-to-all dispatch): set ep to tp or to 1"
    yield LayoutRule(split.dispatched * (split.tp - split.ep), message)


def _family_rules(model: ModelSpec, split: SymbolicLayout) -> Iterator[LayoutRule]:
    mixture = any(isinstance(group.ffn, MoeFfn) for group in model.layers)
    latent = any(isinstance(group.attention, LatentAttention) for group in model.layers)
    if not mixture:
        yield LayoutRule(split.ep - 1, f"{model.name} has no experts: set ep to 1")
    if not mixture and not latent:
        message = (
            f"attention_dp is for mixtures of experts and latent attention, not {model.name}: set it to 1"
        )
        yield LayoutRule(split.dp - 1, message)


def _head_rules(
    attention: GroupedQueryAttention | LatentAttention | LinearAttention, split: SymbolicLayout
) -> Iterator[LayoutRule]:
    ranks = split.attention_tp
    heads = attention.key_heads if isinstance(attention, LinearAttention) else attention.query_heads
    yield LayoutRule(sp.Mod(heads, ranks), f"tp / attention_dp does not divide the {heads} heads: lower tp")
    if isinstance(attention, GroupedQueryAttention):
        uneven = sp.Min(sp.Mod(attention.kv_heads, ranks), sp.Mod(ranks, attention.kv_heads))
        message = f"the {attention.kv_heads} KV heads and tp / attention_dp do not divide: change tp"
        yield LayoutRule(uneven, message)


def _expert_rules(
    ffn: MoeFfn, split: SymbolicLayout, precision: WeightPrecision | None, redundant: int
) -> Iterator[LayoutRule]:
    kept = sp.Integer(ffn.experts + redundant)
    copies = f" and {redundant} copies" if redundant else ""
    yield LayoutRule(
        sp.Mod(kept, split.ep), f"ep does not divide the {ffn.experts} experts{copies}: change ep"
    )
    yield from _width_rules("expert width", ffn.expert_intermediate, split.moe_tp, precision)


def _width_rules(
    what: str, width: int, ranks: sp.Expr, precision: WeightPrecision | None
) -> Iterator[LayoutRule]:
    yield LayoutRule(sp.Mod(width, ranks), f"tensor parallelism does not divide the {what} {width}: lower tp")
    if precision == "fp8_block":
        message = (
            f"tensor parallelism cuts fp8 blocks of {FP8_BLOCK} of the {what} {width}: lower tp or raise ep"
        )
        yield LayoutRule(sp.Mod(width / ranks, FP8_BLOCK), message)
