"""Constraints for a caller's own solver, as SymPy relations over the model's symbols.

`bound` takes any metric, so memory, TTFT, TPOT, E2E, throughput, cost, power, GPUs and utilisation are one
function; `ratio_bound` and `decision_bound` are for pool sizes, the P:D ratio, chunk sizes and batch caps.
"""

from __future__ import annotations

from sympy import Ge, Le, Rel

from llmopt_optimizer.symbolic.model import SymbolicModel


def bound(
    model: SymbolicModel, metric: str, *, at_most: float | None = None, at_least: float | None = None
) -> tuple[Rel, ...]:
    """The metric within the given bounds, in its SI unit; `KeyError` for a metric that the model lacks."""
    return _between(model.metrics[metric], at_most, at_least)


def decision_bound(
    model: SymbolicModel, name: str, *, at_most: float | None = None, at_least: float | None = None
) -> tuple[Rel, ...]:
    """A decision within bounds: `serve_instances`, `decode_batch_cap`, `prefill_chunk_tokens`, …"""
    return _between(model.symbol(name), at_most, at_least)


def ratio_bound(
    model: SymbolicModel, *, at_most: float | None = None, at_least: float | None = None
) -> tuple[Rel, ...]:
    """Prefill instances over decode instances within bounds; `KeyError` in an aggregated model."""
    ratio = model.symbol("prefill_instances") / model.symbol("decode_instances")
    return _between(ratio, at_most, at_least)


def engine_rules(model: SymbolicModel) -> tuple[Rel, ...]:
    """Every constraint of the model itself: what fits in memory, what carries the load, what engines
    accept.
    """
    return tuple(Le(each.expression, 0, evaluate=False) for each in model.constraints)


def _between(expression: object, at_most: float | None, at_least: float | None) -> tuple[Rel, ...]:
    upper = () if at_most is None else (Le(expression, at_most, evaluate=False),)
    lower = () if at_least is None else (Ge(expression, at_least, evaluate=False),)
    return (*upper, *lower)
