"""What one accelerator holds: weights, KV cache, activations of the largest step and a reserve, in bytes.

Every term is an expression in the layout, the token budget of a step and the batch cap; the optimizer
bounds their sum and the simulator's KV pool is what they leave.  Under pipeline parallelism it is the fullest
stage, and its accelerators hold the caches of all pp batches in flight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import floor
from typing import Final

import sympy as sp

from llmopt_calibration.laws import Number
from llmopt_calibration.precision import Precision
from llmopt_calibration.sharding import activation_bytes, layer_kinds, sharded_cache, sharded_weights
from llmopt_calibration.step.symbols import SymbolicLayout, symbolic
from llmopt_problems.deployment import Layout
from llmopt_problems.models.spec import Component, ModelSpec

RUNTIME_BYTES: Final = 3_758_096_384
"""CUDA context, kernels, workspaces and CUDA graphs: `other_mem` of AIConfigurator's system files (3.5 GiB),
which call it an unofficial correction from observation."""
COMMUNICATION_BYTES: Final = 411_041_792
"""NCCL buffers of 4 or 8 ranks: `nccl_mem` of the same files (392 MiB)."""


@dataclass(frozen=True, slots=True)
class MemorySymbols:
    """The caps that memory depends on beside the layout: symbols, or numbers once they are chosen."""

    chunk_tokens: sp.Expr = field(default_factory=lambda: sp.Symbol("chunk_tokens", positive=True))
    """Tokens of one rank's largest step."""
    batch_cap: sp.Expr = field(default_factory=lambda: sp.Symbol("batch_cap", positive=True))
    """Sequences that one rank runs at most."""


@dataclass(frozen=True, slots=True)
class MemoryLaw:
    """Bytes on the fullest accelerator of an instance."""

    symbols: MemorySymbols
    weights: Mapping[Component, sp.Expr]
    kv_bytes_per_token: sp.Expr
    """Bytes that a cached token of each of the pp batches takes on the accelerator; layers with a window
    are not in it."""
    state_bytes_per_sequence: sp.Expr
    """Bytes that a sequence of each of the pp batches takes whatever its length: linear-attention state and
    full windows."""
    activations: sp.Expr
    reserve: sp.Expr

    @property
    def weight_bytes(self) -> sp.Expr:
        """Bytes of all weights on the accelerator."""
        return sp.Add(*self.weights.values())

    def kv_pool_bytes(self, hbm_bytes: Number, fraction: Number) -> sp.Expr:
        """Bytes that are left for caches when `fraction` of the memory may be used; may be negative."""
        return hbm_bytes * fraction - self.weight_bytes - self.activations - self.reserve

    def kv_capacity_tokens(self, hbm_bytes: Number, fraction: Number) -> sp.Expr:
        """Tokens that one rank can cache beside the states of `batch_cap` sequences; negative: no room."""
        states = self.symbols.batch_cap * self.state_bytes_per_sequence
        return (self.kv_pool_bytes(hbm_bytes, fraction) - states) / self.kv_bytes_per_token

    def used_bytes(self, cached_tokens: Number, sequences: Number) -> sp.Expr:
        """Bytes in use when each rank caches `cached_tokens` for `sequences`."""
        cache = cached_tokens * self.kv_bytes_per_token + sequences * self.state_bytes_per_sequence
        return self.weight_bytes + self.activations + self.reserve + cache

    def missing_tokens(self, hbm_bytes: Number, fraction: Number, largest_context: Number) -> sp.Expr:
        """KV tokens that a full batch at its largest context lacks; at most 0 where it always fits."""
        return self.symbols.batch_cap * largest_context - self.kv_capacity_tokens(hbm_bytes, fraction)

    def at(self, values: Mapping[sp.Symbol, Number]) -> MemoryLaw:
        """The law with `values` for some of its symbols: the layout's and the caps."""
        numbers = {symbol: sp.sympify(value, strict=True) for symbol, value in values.items()}
        caps = MemorySymbols(self.symbols.chunk_tokens.subs(numbers), self.symbols.batch_cap.subs(numbers))
        return MemoryLaw(
            caps,
            {component: size.subs(numbers) for component, size in self.weights.items()},
            self.kv_bytes_per_token.subs(numbers),
            self.state_bytes_per_sequence.subs(numbers),
            self.activations.subs(numbers),
            self.reserve.subs(numbers),
        )


def memory_law(
    model: ModelSpec,
    precision: Precision,
    layout: Layout | SymbolicLayout,
    symbols: MemorySymbols | None = None,
    redundant: int = 0,
) -> MemoryLaw:
    """The memory of one accelerator; expressions in `symbols` and in the layout's symbols.

    `redundant` copies of experts are held by the expert groups together.
    """
    split, caps = symbolic(layout), symbols or MemorySymbols()
    kinds = layer_kinds(model, precision)
    per_token, per_sequence = sharded_cache(kinds, split, model.layer_count)
    return MemoryLaw(
        caps,
        sharded_weights(model, precision, kinds, split, redundant),
        per_token,
        per_sequence,
        activation_bytes(model, kinds, split, caps.chunk_tokens, caps.batch_cap),
        RUNTIME_BYTES + COMMUNICATION_BYTES * sp.Min(1, split.tp * split.pp - 1),
    )


def kv_pool_tokens(law: MemoryLaw, hbm_bytes: float, fraction: float) -> int:
    """Whole tokens that one rank can cache; 0 where model and caps leave no room.

    `law` must have numbers for all its symbols (`MemoryLaw.at`); raises `TypeError` otherwise.
    """
    return max(0, floor(float(law.kv_capacity_tokens(hbm_bytes, fraction))))
