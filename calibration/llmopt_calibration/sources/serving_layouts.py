"""The pools of a serving point: parallel sizes and worker counts of a row as layouts that engines have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from llmopt_calibration.sources.serving_cells import PointError, count
from llmopt_problems.deployment import Layout, Mode, Role
from llmopt_problems.models.spec import ModelSpec, MoeFfn

POOL_SIZES = ("tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
BLOCK = 128
"""Columns that share a scale in fp8 checkpoints."""


@dataclass(frozen=True, slots=True)
class PointPool:
    """Equal instances of one role."""

    role: Role
    layout: Layout
    instances: int


def pools(row: Mapping[str, str], mode: Mode, model: ModelSpec) -> tuple[PointPool, ...]:
    """The pools of a row; `PointError` where its sizes are those of no layout."""
    if mode == "disaggregated":
        return _dispatching((_named_pool(row, "prefill"), _named_pool(row, "decode")), row["backend"], model)
    sizes = [_size(row, name) for name in ("tp", "pp", "attn_dp", "moe_tp", "moe_ep")]
    layout = _layout(*sizes)
    gpus = _size(row, "gpus") if row.get("gpus") else layout.world
    if gpus % layout.world:
        raise PointError("gpus is no multiple of the instance's world size")
    return (PointPool("serve", layout, gpus // layout.world),)


def _named_pool(row: Mapping[str, str], role: Role) -> PointPool:
    layout = _layout(*(_size(row, f"{role}_{size}") for size in POOL_SIZES))
    return PointPool(role, layout, count(row, f"{role}_num_workers", 10_000))


def _dispatching(pools: tuple[PointPool, ...], engine: str, model: ModelSpec) -> tuple[PointPool, ...]:
    """The pools with the expert groups that SGLang must have run with.

    A row that gives one of its pools a moe_tp which cuts the fp8 blocks of 128 does not know expert groups:
    its pools with data-parallel attention send tokens to experts with DeepEP, which makes every accelerator
    a group (`--moe-a2a-backend deepep` sets the EP size to the TP size). Other rows mean what they say.
    """
    if engine != "sglang" or not any(_cut(pool.layout, model) for pool in pools):
        return pools
    return tuple(
        replace(pool, layout=replace(pool.layout, ep=pool.layout.tp)) if pool.layout.dp > 1 else pool
        for pool in pools
    )


def _cut(layout: Layout, model: ModelSpec) -> bool:
    """Whether an expert's slice is no whole number of blocks."""
    widths = {group.ffn.expert_intermediate for group in model.layers if isinstance(group.ffn, MoeFfn)}
    return any(width * layout.ep % (layout.tp * BLOCK) for width in widths)


def _layout(tp: int, pp: int, dp: int, moe_tp: int, moe_ep: int) -> Layout:
    world = tp * dp
    if moe_tp * moe_ep not in (1, world):
        raise PointError("moe_tp x moe_ep is not tp x attention dp: the layout is not one that engines have")
    return Layout(tp=world, pp=pp, ep=moe_ep, dp=dp)


def _size(row: Mapping[str, str], column: str) -> int:
    """A parallel size; an empty cell is 1."""
    return count(row, column, 4096) if row.get(column) else 1
