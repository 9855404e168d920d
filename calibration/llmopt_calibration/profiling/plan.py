"""Which operators are measured at which shapes: a grid a family, in three sizes.

A `Case` is one row of the table to be: a law's family and its shape. `full` spans what serving meets on a
data-centre GPU, `quick` is a tenth of it, `tiny` is for a processor and for tests of the way itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal

Size = Literal["tiny", "quick", "full"]
SIZES: tuple[Size, ...] = ("tiny", "quick", "full")
BF16_BYTES = 2


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement to make."""

    family: str
    shape: Mapping[str, int]

    @property
    def key(self) -> tuple[str, tuple[tuple[str, int], ...]]:
        """What tells cases apart."""
        return self.family, tuple(sorted(self.shape.items()))


@dataclass(frozen=True, slots=True)
class Grid:
    """The sizes that shapes are made of."""

    tokens: tuple[int, ...]
    widths: tuple[int, ...]
    heads: tuple[tuple[int, int, int], ...]
    """Query heads, KV heads, head width."""
    prompts: tuple[int, ...]
    batches: tuple[int, ...]
    contexts: tuple[int, ...]
    experts: tuple[tuple[int, int, int, int], ...]
    """Hidden width, expert width, experts, experts a token."""
    copied_bytes: tuple[int, ...]
    reduced_bytes: tuple[int, ...]
    most_cached_tokens: int
    """Largest batch times context: what fits on the device beside the rest."""


def _powers(low: int, high: int, step: int = 1) -> tuple[int, ...]:
    return tuple(2**exponent for exponent in range(low, high + 1, step))


GRIDS: Mapping[Size, Grid] = {
    "tiny": Grid(
        tokens=(1, 3, 8, 20, 48, 100),
        widths=(64, 160, 384),
        heads=((4, 1, 32), (4, 4, 32)),
        prompts=(32, 64, 96, 128, 160, 192, 256),
        batches=(1, 3, 8),
        contexts=(64, 200, 512),
        experts=((64, 96, 4, 2), (96, 64, 8, 2), (128, 160, 8, 4)),
        copied_bytes=_powers(12, 23),
        reduced_bytes=_powers(10, 20),
        most_cached_tokens=4096,
    ),
    "quick": Grid(
        tokens=(1, 16, 64, 256, 1024, 8192),
        widths=(2048, 4096, 14336),
        heads=((32, 8, 128), (8, 1, 128)),
        prompts=(128, 512, 2048, 8192),
        batches=(1, 16, 64),
        contexts=(512, 2048, 8192),
        experts=((4096, 14336, 8, 2), (2048, 768, 128, 8)),
        copied_bytes=_powers(16, 30, 2),
        reduced_bytes=_powers(12, 28, 2),
        most_cached_tokens=2**18,
    ),
    "full": Grid(
        tokens=_powers(0, 14),
        widths=(1024, 2048, 4096, 8192, 14336, 28672),
        heads=((32, 8, 128), (8, 1, 128), (64, 8, 128), (32, 32, 64), (16, 4, 256)),
        prompts=_powers(7, 14),
        batches=_powers(0, 8),
        contexts=_powers(7, 15),
        experts=((4096, 14336, 8, 2), (2048, 768, 128, 8), (4096, 1536, 128, 8), (2880, 2880, 32, 4)),
        copied_bytes=_powers(12, 31),
        reduced_bytes=_powers(10, 29),
        most_cached_tokens=2**20,
    ),
}


def plan(size: Size, *, fp8: bool, ranks: int) -> tuple[Case, ...]:
    """All cases of one size; `fp8` where the device multiplies in it, collectives from two `ranks` on."""
    grid = GRIDS[size]
    products = [
        case for family in ("gemm_bf16", *(["gemm_fp8"] if fp8 else [])) for case in _gemms(family, grid)
    ]
    cases = [*_copies(grid), *products, *_prefills(grid), *_decodes(grid), *_experts(grid)]
    return (*cases, *_reductions(grid, ranks))


def _copies(grid: Grid) -> Iterator[Case]:
    for size in grid.copied_bytes:
        yield Case("elementwise", {"bytes_moved": 2 * size})


def _gemms(family: str, grid: Grid) -> Iterator[Case]:
    for tokens, width, inner in product(grid.tokens, grid.widths, grid.widths):
        yield Case(family, {"tokens": tokens, "output_width": width, "input_width": inner})


def _heads(query_heads: int, kv_heads: int, width: int) -> dict[str, int]:
    return {"query_heads": query_heads, "kv_heads": kv_heads, "head_dim": width, "value_dim": width}


def _prefills(grid: Grid) -> Iterator[Case]:
    """One causal prompt behind nothing: its pairs are the triangle with the diagonal."""
    for prompt, heads in product(grid.prompts, grid.heads):
        shape = {"tokens": prompt, "pairs": prompt * (prompt + 1) // 2} | _heads(*heads)
        yield Case("attention_prefill_bf16", shape)


def _decodes(grid: Grid) -> Iterator[Case]:
    for batch, context, heads in product(grid.batches, grid.contexts, grid.heads):
        if batch * context <= grid.most_cached_tokens:
            shape = {"sequences": batch, "context": batch * context} | _heads(*heads)
            yield Case("attention_decode_bf16", shape)


def _experts(grid: Grid) -> Iterator[Case]:
    """All experts on one device, gated, tokens routed evenly at random."""
    for tokens, (hidden, width, experts, chosen) in product(grid.tokens, grid.experts):
        shape = {"tokens": tokens, "hidden": hidden, "intermediate": width, "experts": experts}
        shape |= {"local_experts": experts, "experts_per_token": chosen, "matrices": 3, "imbalance": 1}
        yield Case("moe_bf16", shape)


def _reductions(grid: Grid, ranks: int) -> Iterator[Case]:
    """All-reduces over 2, 4, 8 … devices, as many as there are."""
    degrees = [degree for degree in _powers(1, 6) if degree <= ranks]
    for degree, size in product(degrees, grid.reduced_bytes):
        yield Case("all_reduce", {"message_bytes": size, "ranks": degree, "nodes": 1})
