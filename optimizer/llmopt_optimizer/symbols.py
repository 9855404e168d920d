"""The letters of every metric: what the optimizer decides, and what the simulator measured and froze.

A metric is an expression over *decision symbols* (one set a pool, finite domains) and *frozen symbols*
(traffic moments and simulator measurements, numbers at solve time). Both are made here and nowhere else, so
that an expression can be read, differentiated, tabulated or handed to a solver by anyone who holds them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sympy import Expr, S, Symbol

from llmopt_problems.deployment import Mode, Role


def _integer(name: str) -> Symbol:
    return Symbol(name, integer=True, positive=True)


def _positive(name: str) -> Symbol:
    return Symbol(name, positive=True)


def _nonnegative(name: str) -> Symbol:
    return Symbol(name, nonnegative=True)


@dataclass(frozen=True, slots=True)
class PoolSymbols:
    """Decisions of one pool; the meaning of each is that of `llmopt_problems.deployment`."""

    tp: Symbol
    pp: Symbol
    ep: Symbol
    dp: Symbol
    instances: Symbol
    chunk_tokens: Symbol
    batch_cap: Symbol
    ffn: Expr = S.Zero
    micro_batches: Expr = S.One


def pool_symbols(role: Role, *, afd: bool = False) -> PoolSymbols:
    """Decision symbols of the pool that plays `role`, named `prefill_tp`, `decode_instances`, …

    Only a pool with attention–FFN disaggregation decides `ffn` and `micro_batches`.
    """
    names = ("tp", "pp", "ep", "dp", "instances", "chunk_tokens", "batch_cap")
    common = PoolSymbols(*(_integer(f"{role}_{name}") for name in names))
    if not afd:
        return common
    return replace(common, ffn=_integer(f"{role}_ffn"), micro_batches=_integer(f"{role}_micro_batches"))


@dataclass(frozen=True, slots=True)
class FrozenSymbols:
    """What the expressions of one serving mode read from traffic and from simulation."""

    request_rate_per_s: Symbol
    concurrency: Symbol
    think_s: Symbol
    """Mean pause of a closed-loop user between an answer and the next request."""
    input_tokens: Symbol
    """Mean input tokens of a request."""
    decode_tokens: Symbol
    """Mean output tokens of a request after the first, which prefill emits."""
    hit_tokens: Symbol
    """Mean input tokens a request finds in the prefix cache."""
    decode_context_tokens: Symbol
    """Mean context of a decoding sequence, averaged over its steps."""
    prefill_context_tokens: Symbol
    """Mean context that a computed prefill token attends to."""
    reserved_tokens: Symbol
    """Mean KV tokens that a request reserves: input plus output."""
    arrival_scv: Symbol
    """Squared coefficient of variation of the times between arrivals."""
    prefill_scv: Symbol
    """Squared coefficient of variation of the prefill work of a request."""
    decode_scv: Symbol
    """Squared coefficient of variation of the output length."""


def frozen_symbols() -> FrozenSymbols:
    """The frozen symbols that all modes share."""
    return FrozenSymbols(
        request_rate_per_s=_positive("request_rate_per_s"),
        concurrency=_positive("concurrency"),
        think_s=_nonnegative("think_s"),
        input_tokens=_positive("input_tokens"),
        decode_tokens=_positive("decode_tokens"),
        hit_tokens=_nonnegative("hit_tokens"),
        decode_context_tokens=_positive("decode_context_tokens"),
        prefill_context_tokens=_positive("prefill_context_tokens"),
        reserved_tokens=_positive("reserved_tokens"),
        arrival_scv=_nonnegative("arrival_scv"),
        prefill_scv=_nonnegative("prefill_scv"),
        decode_scv=_nonnegative("decode_scv"),
    )


def spread_symbol(mode: Mode, latency: str, statistic: str) -> Symbol:
    """Frozen ratio of a simulated statistic to its formula without spread, such as p95 TPOT to mean step
    time.
    """
    return _positive(f"spread_{mode}_{latency}_{statistic}")


def class_spread_symbol(mode: Mode, key: str) -> Symbol:
    """The same ratio of one class of requests, by the key of its latency, such as `chat:ttft_p95_s`."""
    return _positive(f"spread_{mode}_{key}")


def attainment_symbol(mode: Mode) -> Symbol:
    """Frozen share of requests that met every latency service level in simulation."""
    return _positive(f"attainment_{mode}")


def attribute_symbol(role: Role, name: str) -> Symbol:
    """What a pool shows to the system's metrics, such as `prefill_wait_s`."""
    return Symbol(f"{role}.{name}", nonnegative=True)
