"""What metrics depend on: each metric, the states between, and the decisions and parameters behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sympy import Expr, Symbol

from llmopt_optimizer.graphs.graph import Edge, Graph, Kind, Node
from llmopt_optimizer.symbolic.model import SymbolicModel


def dependency_graph(
    model: SymbolicModel, metrics: Sequence[str], values: Mapping[Symbol, float] | None = None
) -> Graph:
    """Metric → state → decision or frozen parameter; raises `KeyError` for a metric the model lacks."""
    tops: dict[str, Expr] = {name: model.metrics[name] for name in metrics}
    states = {state.symbol: state.equation for state in model.states}
    read = _reached(tops, states)
    kinds: dict[Symbol, Kind] = dict.fromkeys(model.decisions, "decision")
    kinds |= dict.fromkeys(states, "state")
    ordered = sorted(read, key=lambda s: (s not in states, kinds.get(s, "frozen"), s.name))
    keys = {symbol: f"s{index}" for index, symbol in enumerate(ordered)}
    numbers = values or {}
    nodes = [Node(f"m{i}", name, "metric") for i, name in enumerate(tops)]
    nodes += [Node(keys[s], s.name, kinds.get(s, "frozen"), numbers.get(s)) for s in ordered]
    edges = [Edge(f"m{i}", keys[s]) for i, each in enumerate(tops.values()) for s in _sorted(each)]
    for symbol in (symbol for symbol in ordered if symbol in states):
        edges += [Edge(keys[symbol], keys[s]) for s in _sorted(states[symbol]) if s is not symbol]
    return Graph(", ".join(metrics), tuple(nodes), tuple(edges))


def shared_dependencies(model: SymbolicModel, metrics: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Every decision and frozen parameter that several of the metrics depend on, with these metrics."""
    states = {state.symbol: state.equation for state in model.states}
    users: dict[str, list[str]] = {}
    for name in metrics:
        for symbol in _reached({name: model.metrics[name]}, states) - set(states):
            users.setdefault(symbol.name, []).append(name)
    shared = {name: tuple(found) for name, found in users.items() if len(found) > 1}
    return dict(sorted(shared.items(), key=lambda item: (-len(item[1]), item[0])))


def _reached(tops: Mapping[str, Expr], states: Mapping[Symbol, Expr]) -> set[Symbol]:
    """Every symbol that the expressions read, those behind states included."""
    found: set[Symbol] = set()
    waiting = [symbol for each in tops.values() for symbol in each.free_symbols]
    while waiting:
        symbol = waiting.pop()
        if symbol not in found:
            found.add(symbol)
            waiting.extend(states[symbol].free_symbols if symbol in states else ())
    return found


def _sorted(expression: Expr) -> list[Symbol]:
    return sorted(expression.free_symbols, key=lambda symbol: str(symbol.name))
