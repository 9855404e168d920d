"""The decisions of a role: which symbols it has, over which values."""

from __future__ import annotations

from sympy import Symbol

from llmopt_optimizer.core.program import Decision
from llmopt_optimizer.symbols import PoolSymbols
from llmopt_problems.deployment import Role
from llmopt_problems.schema.afd import AfdSettings
from llmopt_problems.schema.domains import CountDomain, domain_of
from llmopt_problems.schema.search import Search


def decisions_of(role: Role, symbols: PoolSymbols, search: Search, available: int) -> tuple[Decision, ...]:
    """Decisions of one pool on `available` accelerators, from a search whose domains are filled in.

    Values that alone exceed the stock are left out: they could not be part of any deployment.
    """
    layout = _afd_layout(symbols, search.afd) if search.afd and role == "decode" else _layout(symbols, search)
    layout[symbols.instances] = search.instances
    caps = {"prefill": (symbols.chunk_tokens,), "decode": (symbols.batch_cap,)}
    kept = caps.get(role, (symbols.chunk_tokens, symbols.batch_cap))
    decisions = [
        Decision(symbol, tuple(value for value in domain.values if value <= available))
        for symbol, domain in layout.items()
        if domain is not None
    ]
    domains = {symbols.chunk_tokens: search.chunk_tokens, symbols.batch_cap: search.batch_cap}
    return (*decisions, *(Decision(symbol, domains[symbol].values) for symbol in kept))


def _layout(symbols: PoolSymbols, search: Search) -> dict[Symbol, CountDomain | None]:
    return {
        symbols.tp: search.tp,
        symbols.pp: search.pp,
        symbols.ep: search.ep,
        symbols.dp: search.attention_dp,
    }


def _afd_layout(symbols: PoolSymbols, afd: AfdSettings) -> dict[Symbol, CountDomain | None]:
    """Attention replicas may be as many as its accelerators; there are no stages."""
    assert isinstance(symbols.ffn, Symbol)
    assert isinstance(symbols.micro_batches, Symbol)
    return {
        symbols.tp: afd.attention_gpus,
        symbols.pp: domain_of(1),
        symbols.ep: domain_of(1),
        symbols.dp: domain_of(*sorted({1, *afd.attention_gpus.values})),
        symbols.ffn: afd.ffn_gpus,
        symbols.micro_batches: afd.micro_batches,
    }
