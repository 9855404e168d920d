"""A step law: the operators that one forward pass of an engine runs one after the other, and their sums.

Every operator says which part of the step's state it sees, so that whoever evaluates many steps can
tabulate what depends on a token count and leave only attention to be computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import sympy as sp

from llmopt_calibration.coefficients import Basis
from llmopt_calibration.step.symbols import StepSymbols

Sees = Literal["rank_tokens", "engine_tokens", "heads", "decode", "prefill", "step"]


@dataclass(frozen=True, slots=True)
class Operator:
    """One fused operator of a step, all layers of its kind together, on one accelerator of each stage."""

    name: str
    family: str
    seconds: sp.Expr
    flops: sp.Expr
    hbm_bytes: sp.Expr
    network_bytes: sp.Expr
    sees: Sees
    """b + p | N | h | (b, K) | (p, A) | nothing: it is the same in every step."""
    basis: Basis
    shape: Mapping[str, sp.Expr] = field(default_factory=dict, hash=False)
    """The law's shape symbols by name, of one of the equal operators."""

    def quantities(self) -> tuple[sp.Expr, sp.Expr, sp.Expr, sp.Expr]:
        """Seconds, FLOP, HBM bytes, network bytes."""
        return (self.seconds, self.flops, self.hbm_bytes, self.network_bytes)


@dataclass(frozen=True, slots=True)
class StepLaw:
    """The operators of one step through all pipeline stages.

    The sums take `decode=False` for a step without decode sequences (b = K = 0) and `prefill=False` for one
    without prefill tokens (p = A = 0): an attention kernel that does not run costs nothing, not its overhead.
    """

    operators: tuple[Operator, ...]
    symbols: StepSymbols

    def seconds(self, *, decode: bool = True, prefill: bool = True) -> sp.Expr:
        """Seconds of a step, from its start to its tokens, through all pipeline stages."""
        return self._sum(lambda operator: operator.seconds, decode, prefill)

    def flops(self, *, decode: bool = True, prefill: bool = True) -> sp.Expr:
        """FLOP of one accelerator of each stage, summed over the stages."""
        return self._sum(lambda operator: operator.flops, decode, prefill)

    def hbm_bytes(self, *, decode: bool = True, prefill: bool = True) -> sp.Expr:
        """Bytes that one accelerator of each stage reads and writes, summed over the stages."""
        return self._sum(lambda operator: operator.hbm_bytes, decode, prefill)

    def network_bytes(self, *, decode: bool = True, prefill: bool = True) -> sp.Expr:
        """Bytes that one accelerator of each stage sends, summed over the stages."""
        return self._sum(lambda operator: operator.network_bytes, decode, prefill)

    def seconds_by_basis(self) -> dict[Basis, sp.Expr]:
        """Seconds of the operators with both kinds of tokens, by where their coefficients come from."""
        bases = dict.fromkeys(operator.basis for operator in self.operators)
        return {
            basis: sp.Add(*(operator.seconds for operator in self.operators if operator.basis == basis))
            for basis in bases
        }

    def _sum(self, quantity: Callable[[Operator], sp.Expr], decode: bool, prefill: bool) -> sp.Expr:
        absent = {"decode": decode, "prefill": prefill}
        total = sp.Add(*(quantity(op) for op in self.operators if absent.get(op.sees, True)))
        gone = ([] if decode else [self.symbols.b, self.symbols.K]) + (
            [] if prefill else [self.symbols.p, self.symbols.A]
        )
        return total.subs(dict.fromkeys(gone, sp.S.Zero))
