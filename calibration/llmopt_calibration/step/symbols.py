"""The state of one step and the layout of an instance, as SymPy symbols."""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy as sp

from llmopt_problems.deployment import Layout


def _state(name: str) -> sp.Symbol:
    return sp.Symbol(name, real=True, nonnegative=True)


def _count(name: str) -> sp.Symbol:
    return sp.Symbol(name, integer=True, positive=True)


@dataclass(frozen=True, slots=True)
class StepSymbols:
    """What a step carries, seen by its slowest rank."""

    b: sp.Symbol = field(default_factory=lambda: _state("b"))
    """Decode sequences."""
    K: sp.Symbol = field(default_factory=lambda: _state("K"))
    """Tokens of context of all decode sequences together."""
    p: sp.Symbol = field(default_factory=lambda: _state("p"))
    """Prefill tokens."""
    A: sp.Symbol = field(default_factory=lambda: _state("A"))
    """Prefill attention work: context attended to, summed over the prefill tokens (query-context pairs)."""
    N: sp.Symbol = field(default_factory=lambda: _state("N"))
    """Tokens of the engine's step, all its attention ranks together."""
    h: sp.Symbol = field(default_factory=lambda: _state("h"))
    """Sequences of the rank that need logits: decodes and prefill chunks."""
    C: sp.Symbol = field(default_factory=lambda: _state("C"))
    """Granules of context before every prefill chunk, each rounded up, summed: indexes measured grids."""
    Q: sp.Symbol = field(default_factory=lambda: _state("Q"))
    """Squared tokens of every prefill chunk, summed."""

    @property
    def rank_tokens(self) -> sp.Expr:
        """Tokens of the rank's step."""
        return self.b + self.p

    def all(self) -> tuple[sp.Symbol, ...]:
        """The symbols in the order b, K, p, A, N, h; C and Q are for grids alone."""
        return (self.b, self.K, self.p, self.A, self.N, self.h)


@dataclass(frozen=True, slots=True)
class SymbolicLayout:
    """A `Layout` whose entries are numbers or positive integer symbols."""

    tp: sp.Expr = field(default_factory=lambda: _count("tp"))
    pp: sp.Expr = field(default_factory=lambda: _count("pp"))
    ep: sp.Expr = field(default_factory=lambda: _count("ep"))
    dp: sp.Expr = field(default_factory=lambda: _count("dp"))

    @property
    def attention_tp(self) -> sp.Expr:
        """Tensor-parallel ranks that share one attention replica."""
        return self.tp / self.dp

    @property
    def moe_tp(self) -> sp.Expr:
        """Tensor-parallel ranks inside one expert group."""
        return self.tp / self.ep

    @property
    def parallel_attention(self) -> sp.Expr:
        """1 with attention data parallelism, else 0."""
        return sp.Min(1, self.dp - 1)

    @property
    def dispatched(self) -> sp.Expr:
        """1 where tokens go to their experts by all-to-all (dp > 1 and ep > 1), else 0."""
        return self.parallel_attention * sp.Min(1, self.ep - 1)

    @property
    def spread(self) -> sp.Expr:
        """Ranks over which the engine's tokens stay spread in router and shared experts: tp or 1."""
        return 1 + self.dispatched * (self.tp - 1)

    def symbols(self) -> tuple[sp.Symbol, ...]:
        """The entries that are symbols, in the order tp, pp, ep, dp."""
        return tuple(entry for entry in self.entries() if isinstance(entry, sp.Symbol))

    def entries(self) -> tuple[sp.Expr, ...]:
        """tp, pp, ep, dp."""
        return (self.tp, self.pp, self.ep, self.dp)


def symbolic(layout: Layout | SymbolicLayout) -> SymbolicLayout:
    """The layout as expressions."""
    if isinstance(layout, SymbolicLayout):
        return layout
    return SymbolicLayout(*(sp.Integer(entry) for entry in (layout.tp, layout.pp, layout.ep, layout.dp)))


@dataclass(frozen=True, slots=True)
class AfdLayout:
    """An instance whose attention and feed-forward blocks run on accelerators of their own."""

    tp: sp.Expr = field(default_factory=lambda: _count("tp"))
    """Attention accelerators."""
    dp: sp.Expr = field(default_factory=lambda: _count("dp"))
    """Attention replicas."""
    ffn: sp.Expr = field(default_factory=lambda: _count("ffn"))
    """Feed-forward accelerators, each an expert group of its own."""
    micro_batches: sp.Expr = field(default_factory=lambda: _count("micro_batches"))

    @property
    def attention(self) -> SymbolicLayout:
        """The attention accelerators as a layout."""
        return SymbolicLayout(self.tp, sp.S.One, sp.S.One, self.dp)

    @property
    def experts(self) -> SymbolicLayout:
        """The feed-forward accelerators as a layout: tokens stay where they come, experts are whole."""
        return SymbolicLayout(self.ffn, sp.S.One, self.ffn, self.ffn)


def afd_layout(layout: Layout) -> AfdLayout:
    """The layout as expressions; it has feed-forward accelerators."""
    return AfdLayout(*(sp.Integer(n) for n in (layout.tp, layout.dp, layout.ffn, layout.micro_batches)))
